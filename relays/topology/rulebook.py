"""What the rules of a topology file work on: the file as it was read, and the list that they add to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code
from relays.topology.problems import Problem, Severity
from relays.wording import closest, shown

_NAMES_SHOWN: Final = 5

Raw = Mapping[str, Any]


class Rulebook:
    """A topology file as it was read, and the problems that were found in it."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.organisations = tables_in(raw, "organisations")
        self.relays = tables_in(raw, "relays")
        self.roles = tables_in(raw, "roles")
        self.points = tables_in(raw, "points")
        self.parents = {name: relay.get("parent") for name, relay in self.relays.items()}
        self.problems: list[Problem] = []

    def _add(
        self, key: str, cause: str, write: str, severity: Severity = "error", code: Code = Code.TOPOLOGY_INVALID
    ) -> None:
        self.problems.append(Problem(code, key, cause, write, severity))

    def _known(self, name: object, known: Iterable[str]) -> str:
        names = list(known)
        near = closest(name, names)
        listed = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        return f"write one of {listed}{near}" if names else "declare it"

    def _backups_of(self, section: str, name: str, preferred: str) -> list[tuple[str, str]]:
        """The backups that name another relay, each with its key; what is wrong with the others is said.

        `preferred` is the key of what they back up: "parent" of a relay, "relay" of a point.
        """
        table = self.relays[name] if section == "relays" else self.points[name]
        backups, sound = strings(table.get("backups")), []
        for index, backup in enumerate(backups):
            key = f"{section}.{name}.backups.{index}"
            taken = (table.get(preferred), *backups[:index])
            if backup not in self.relays:
                others = [relay for relay in self.relays if relay != name and relay not in taken]
                self._add(key, f"there is no relay {shown(backup)}", self._known(backup, others))
            elif backup == taken[0]:
                self._add(key, f"'{backup}' is the {preferred} already", "name another relay, or remove it")
            elif backup in taken:
                self._add(key, f"'{backup}' is named twice", "keep the first, and remove this one")
            else:
                sound.append((key, backup))
        return sound


def tables_in(raw: Raw, key: str) -> dict[str, Raw]:
    """The tables of a section by name; what is no table in it is left out, as is a section that is none."""
    section = raw.get(key)
    return (
        {k: v for k, v in section.items() if isinstance(v, Mapping)} if isinstance(section, Mapping) else {}
    )


def as_list(value: object) -> list[Any]:
    """The list itself, or an empty one where the value is no list."""
    return value if isinstance(value, list) else []


def strings(value: object) -> list[str]:
    """The texts in a list; anything else is left out."""
    return [item for item in as_list(value) if isinstance(item, str)]
