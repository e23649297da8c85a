"""The one list of attacks, and finding some by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from scripts.attacks import children, parents, points, strangers
from scripts.attacks.flood import Attack

ATTACKS: tuple[Attack, ...] = (*strangers.ATTACKS, *points.ATTACKS, *children.ATTACKS, *parents.ATTACKS)


def name_of(attack: Attack) -> str:
    return f"{attack.who}/{attack.kind}"


def named(name: str) -> Attack:
    return next(attack for attack in ATTACKS if name_of(attack) == name)


def chosen(patterns: Sequence[str]) -> tuple[Attack, ...]:
    """Those whose "who/kind" one of these matches, `*` standing for anything; "who" alone is all of its kinds."""
    wide = [pattern if "/" in pattern else f"{pattern}/*" for pattern in patterns]
    return tuple(
        attack for attack in ATTACKS if not wide or any(fnmatchcase(name_of(attack), pattern) for pattern in wide)
    )
