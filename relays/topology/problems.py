"""What is wrong with a topology file: where, why, and what to write instead.

All of a file's problems come at once, in the order of its lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fabric.protocol.base.errors import Code, FabricError

_NAMES_SHOWN = 3
_NUMBER = re.compile(r"\.(\d{1,9})(?=\.|$)")

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` is dotted as in the file ("relays.ot-1.parent"; "" is the file itself), `line` counts from 1."""

    code: Code
    key: str
    cause: str
    write: str
    severity: Severity = "error"
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        subject = f"{_counted_from_one(self.key)}: " if self.key else ""
        return f"{self.severity} {self.code.label} {where}{subject}{self.cause}. {_sentence(self.write)}"


class TopologyErrors(FabricError):  # noqa: N818 - it carries many
    """The file cannot be used. `problems` holds everything that was found, warnings too."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        errors = self.errors
        first = errors[0].code if errors else Code.TOPOLOGY_INVALID
        code = Code.TOPOLOGY_UNREADABLE if first is Code.TOPOLOGY_UNREADABLE else Code.TOPOLOGY_INVALID
        count = f"{len(errors)} error{'' if len(errors) == 1 else 's'}"
        super().__init__(code, "\n  ".join([f"{path}: {count}", *map(str, errors)]))

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")


def warning(key: str, cause: str, write: str, code: Code = Code.TOPOLOGY_INVALID) -> Problem:
    """A problem that stops nothing."""
    return Problem(code, key, cause, write, "warning")


def listed(names: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def in_order(problems: list[Problem]) -> list[Problem]:
    """By line, those without one last; each once."""
    unique = list(dict.fromkeys(problems))
    return sorted(unique, key=lambda p: (p.line is None, p.line or 0))


def _counted_from_one(key: str) -> str:
    """`roles.soar.request.2` is the third one, as people count; for programs the key stays as it is."""
    return _NUMBER.sub(lambda found: f" #{int(found[1]) + 1}", key)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
