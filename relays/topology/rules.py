"""What two places of a topology file must agree on: the tree and its addresses; `uses` has the names that are used.

Works on the file as it was read, wrong shapes and all: a relay with a bad label still is somebody's parent,
so one mistake hides no other and causes no second. Every rule adds to one list; none stops at its first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fabric.protocol.base.limits import HOPS_MAX
from fabric.protocol.trust.credentials import name_ok
from relays.topology.addresses import PORT_MAX, Address, BadAddress, clash, parse_address
from relays.topology.problems import Problem
from relays.topology.rulebook import Raw, Rulebook, strings, tables_in
from relays.topology.toml_lines import dotted
from relays.topology.uses import UseRules
from relays.wording import shown

# An action climbs to the root and descends again, so a tree may be half as deep as a message may travel.
LEVELS_MAX: Final = HOPS_MAX // 2
NAME_RULE: Final = "use lower case letters, digits and -, at most 63, not beginning with -"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_rules(raw: Raw) -> list[Problem]:
    """Every problem that the file has with itself, in the order of the rules."""
    return [*TreeRules(raw).run(), *UseRules(raw).run()]


@dataclass(frozen=True, slots=True)
class _Served:
    relay: str
    index: int
    place: int
    net: Network


def _holds(outer: Network, inner: Network) -> bool:
    return (
        outer.version == inner.version
        and inner.network_address in outer
        and inner.prefixlen >= outer.prefixlen
    )


class TreeRules(Rulebook):
    """The rules of names, parents, backups, addresses and networks."""

    def run(self) -> list[Problem]:
        self._names()
        if self.relays:
            self._roots()
            self._parents()
            self._cycles()
            self._backups()
            self._addresses()
            self._serves()
        elif isinstance(self.raw.get("relays"), Mapping):
            self._add(
                "relays",
                "there is no relay",
                'write e.g. hq = { clearance = "red", listen = "127.0.0.1:7700" }',
            )
        return self.problems

    # names

    def _names(self) -> None:
        sections = ("organisations", self.organisations), ("relays", self.relays), ("roles", self.roles)
        for section, tables in (*sections, ("points", self.points)):
            for name in tables:
                self._name(section, name)
        for point, table in self.points.items():
            for part in ("sources", "sinks"):
                for name in tables_in(table, part):
                    self._name(f"points.{point}.{part}", name)
            if point in self.relays:
                self._add(
                    dotted(("points", point)),
                    f"a relay is named '{point}' too, and relays and points share one name space",
                    f"rename one of them, e.g. {point}-1",
                )

    def _name(self, section: str, name: str) -> None:
        if not name_ok(name):
            self._add(f"{section}.{dotted((name,))}", f"{shown(name)} is not a name", NAME_RULE)

    # the tree

    def _roots(self) -> None:
        roots = [name for name, parent in self.parents.items() if parent is None]
        if not roots:
            self._add(
                "relays",
                "every relay has a parent, so there is no root",
                "remove `parent` from the topmost relay",
            )
        for name in roots[1:]:
            self._add(
                f"relays.{name}",
                f"'{name}' has no parent, and neither has '{roots[0]}': a fabric has one root",
                f'write parent = "{roots[0]}", or the relay between them',
            )
        for name in roots:
            table = self.relays[name]
            if table.get("dial") == "child":
                self._add(
                    f"relays.{name}.dial", f"'{name}' is a root: no parent could dial it", "remove `dial`"
                )
            if table.get("backups"):
                self._add(
                    f"relays.{name}.backups",
                    f"'{name}' is a root: it has no parent to back up",
                    "remove `backups`",
                )

    def _parents(self) -> None:
        for name, parent in self.parents.items():
            if isinstance(parent, str) and parent not in self.relays:
                others = [other for other in self.relays if other != name]
                self._add(
                    f"relays.{name}.parent", f"there is no relay {shown(parent)}", self._known(parent, others)
                )
            depth = len(self._climb(name))
            if depth == LEVELS_MAX + 1:
                self._add(
                    f"relays.{name}.parent",
                    f"'{name}' is on level {depth} of the tree, and messages travel {HOPS_MAX} hops",
                    f"use at most {LEVELS_MAX} levels",
                )

    def _climb(self, name: str) -> list[str]:
        """The relay and what is above it, as far as that is known; stops where it would repeat."""
        path = {name: None}
        while True:
            parent = self.parents.get(name)
            if not isinstance(parent, str) or parent not in self.relays or parent in path:
                return list(path)
            path[parent] = None
            name = parent

    def _cycles(self) -> None:
        told: dict[str, None] = {}
        for name in self.relays:
            path = self._climb(name)
            back = self.parents.get(path[-1])
            if back not in path:
                continue
            cycle = path[path.index(str(back)) :]
            if any(member in told for member in cycle):
                continue
            told.update(dict.fromkeys(cycle))
            drawn = " -> ".join([*cycle, cycle[0]])
            self._add(
                f"relays.{cycle[0]}.parent",
                f"the parents go in a circle: {drawn}",
                "give one of them a parent above",
            )

    def _backups(self) -> None:
        heights = self._heights()
        for name in self.relays:
            for key, backup in self._backups_of("relays", name, "parent"):
                above = self._climb(backup)
                levels = len(above) + heights[name]
                if name in above:
                    self._add(
                        key,
                        f"'{backup}' is below '{name}', or '{name}' itself",
                        "name a relay beside or above it",
                    )
                # Where its parent leads as deep, that has been said already.
                elif levels > max(LEVELS_MAX, len(self._climb(name)) - 1 + heights[name]):
                    self._add(
                        key,
                        f"while '{name}' is at its backup '{backup}', the tree has {levels} levels, "
                        f"and messages travel {HOPS_MAX} hops",
                        f"name a relay nearer to the root: use at most {LEVELS_MAX} levels",
                    )

    def _heights(self) -> dict[str, int]:
        """Of each relay: the levels of the tree that it and what is below it take."""
        heights = dict.fromkeys(self.relays, 1)
        for name in self.relays:
            for below, above in enumerate(self._climb(name)):
                heights[above] = max(heights[above], below + 1)
        return heights

    # addresses

    def _addresses(self) -> None:
        by_port: dict[int, list[tuple[str, Address, Address]]] = {}
        by_dialled: dict[str, list[tuple[str, Address, Address]]] = {}
        for name, table in self.relays.items():
            listen = parse_address(table.get("listen"), listen=True)
            if isinstance(listen, BadAddress):
                continue
            advertise = table.get("advertise")
            if listen.wildcard and advertise is None:
                self._add(
                    f"relays.{name}.listen",
                    f"{listen.host} is every address of the machine, and none that others could dial",
                    f'add advertise = "192.0.2.1:{listen.port}", with the address that others reach',
                )
            dialled = listen if advertise is None else parse_address(advertise, listen=False)
            if isinstance(dialled, BadAddress):
                dialled = listen
            rivals = [*by_port.get(listen.port, ()), *by_dialled.get(str(dialled), ())]
            for other, other_listen, other_dialled in rivals:
                if clash(listen, dialled, other_listen, other_dialled):
                    own_clash = listen.port == other_listen.port
                    self._add(
                        f"relays.{name}.{'listen' if own_clash else 'advertise'}",
                        f"{listen if own_clash else dialled} is taken by '{other}' "
                        f"({other_listen if own_clash else other_dialled})",
                        f'write e.g. "{listen.at(self._free_port(listen.port))}"',
                    )
                    break
            by_port.setdefault(listen.port, []).append((name, listen, dialled))
            by_dialled.setdefault(str(dialled), []).append((name, listen, dialled))

    def _free_port(self, port: int) -> int:
        """The next tens above that no relay of the file uses, as a hand would choose it."""
        taken = [
            address.port
            for table in self.relays.values()
            if isinstance(address := parse_address(table.get("listen"), listen=True), Address)
        ]
        candidates = range(port - port % 10 + 10, PORT_MAX, 10)
        return next((p for p in candidates if p not in taken), port)

    def _serves(self) -> None:
        served: list[_Served] = []
        for name, table in self.relays.items():
            for index, text in enumerate(strings(table.get("serves"))):
                try:
                    served.append(_Served(name, index, len(served), ipaddress.ip_network(text)))
                except ValueError:
                    continue
        # Networks nest or are apart, so in this order those around one are the last ones that still hold it.
        around: list[_Served] = []
        for one in sorted(served, key=lambda s: (s.net.version, int(s.net.network_address), s.net.prefixlen)):
            while around and not _holds(around[-1].net, one.net):
                around.pop()
            if around and around[-1].relay != one.relay:
                first, second = sorted((around[-1], one), key=lambda s: s.place)
                alike = first.net == second.net
                self._add(
                    f"relays.{second.relay}.serves.{second.index}",
                    f"{second.net} overlaps {first.net} of '{first.relay}': "
                    + ("neither is nearer" if alike else "the narrower is nearer"),
                    "write networks that do not overlap",
                    "warning",
                )
            around.append(one)
