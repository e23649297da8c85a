"""What the rules of a topology file work on: the file as it was read, and the list that they add to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fabric.protocol.errors import Code
from relays.topology.problems import Problem, Severity, closest

_NAMES_SHOWN: Final = 5

Raw = Mapping[str, Any]


class Rulebook:
    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.relays = tables_in(raw, "relays")
        self.roles = tables_in(raw, "roles")
        self.points = tables_in(raw, "points")
        self.parents = {name: relay.get("parent") for name, relay in self.relays.items()}
        self.problems: list[Problem] = []

    def _add(self, key: str, cause: str, write: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(Code.TOPOLOGY_INVALID, key, cause, write, severity))

    def _known(self, name: object, known: Iterable[str]) -> str:
        names = list(known)
        near = closest(name, names)
        listed = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        return f"write one of {listed}{near}" if names else "declare it"


def tables_in(raw: Raw, key: str) -> dict[str, Raw]:
    section = raw.get(key)
    return (
        {k: v for k, v in section.items() if isinstance(v, Mapping)} if isinstance(section, Mapping) else {}
    )


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def strings(value: object) -> list[str]:
    return [item for item in as_list(value) if isinstance(item, str)]
