"""How a flood leaves a bounded number of entries (SPEC 9.10): some of each are written, and the rest is counted.

Guarantees: of one doer the first few of a kind in a minute are written as they come, of all doers together so many;
what is not is counted by kind, doer and code, and told at the minute's end; nothing is left out of the counts. A doer
that makes up codes or kinds takes no room from others.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from fabric.protocol.audit.kinds import DAMPED, LINK_ENDED, LINK_OPENED, LOG_REPEATED, SESSION_ENDED, Audited

WINDOW_MS: Final = 60_000
# Of one kind and doer, and of one kind and all doers, in a minute. Whoever is let in is a member, and there are not
# more of those than the authority wants; who knocks is anybody.
WRITTEN_MAX: Final = 4
WRITTEN_OF_ALL_MAX: Final = 32
_MEMBERS_WRITTEN_MAX: Final = 4_096
_OF_MEMBERS: Final = frozenset({LINK_OPENED, LINK_ENDED, SESSION_ENDED})
# Doers that are counted by name in a minute, and of each so many kinds and codes.
_DOERS_MAX: Final = 16
_COUNTS_MAX: Final = 4


class Damper:
    """Counts of one minute. Doers that have no room of their own are counted together, under no name."""

    def __init__(self) -> None:
        self._since_ms = 0
        self._written: Counter[tuple[str, str]] = Counter()
        self._of_all: Counter[str] = Counter()
        self._counts: dict[str, Counter[tuple[str, str]]] = {}

    def take(self, told: Audited, now_ms: int) -> bool:
        """Whether it is to be written; else it has been counted."""
        if told.kind not in DAMPED:
            return True
        if not self._written and not self._counts:
            self._since_ms = now_ms
        key = (told.kind, told.who)
        of_all_max = _MEMBERS_WRITTEN_MAX if told.kind in _OF_MEMBERS else WRITTEN_OF_ALL_MAX
        if self._of_all[told.kind] < of_all_max and self._written[key] < WRITTEN_MAX:
            self._written[key] += 1
            self._of_all[told.kind] += 1
            return True
        who = told.who if told.who in self._counts or len(self._counts) < _DOERS_MAX else ""
        counts = self._counts.setdefault(who, Counter())
        of = (told.kind, str(told.fields.get("code", "")))
        counts[of if of in counts or len(counts) < _COUNTS_MAX else (told.kind, "")] += 1
        return False

    @property
    def due_ms(self) -> int | None:
        """When `counted` has something to say, if it will."""
        return self._since_ms + WINDOW_MS if self._counts else None

    def counted(self, now_ms: int, *, at_once: bool = False) -> list[Audited]:
        """At the end of the minute, or of everything: what was not written."""
        if not at_once and now_ms < self._since_ms + WINDOW_MS:
            return []
        told = [
            Audited(LOG_REPEATED, who, {"of": kind, "code": code, "times": times})
            for who, counts in self._counts.items() for (kind, code), times in counts.items()
        ]
        self._since_ms = now_ms
        self._written.clear()
        self._of_all.clear()
        self._counts.clear()
        return told
