"""What two places of a topology file must agree on: the tree, its addresses, and every name that is used.

Works on the file as it was read, wrong shapes and all: a relay with a bad label still is somebody's parent,
so one mistake hides no other and causes no second. Every rule adds to one list; none stops at its first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fabric.protocol.credentials import name_ok
from fabric.protocol.errors import Code
from fabric.protocol.limits import CREDENTIAL_BYTES_MAX, HOPS_MAX
from fabric.protocol.tlp import Label, parse_label
from fabric.protocol.topics import matches
from relays.topology.addresses import PORT_MAX, Address, BadAddress, clash, parse_address
from relays.topology.problems import Problem, Severity, closest, shown
from relays.topology.toml_lines import dotted

# An action climbs to the root and descends again, so a tree may be half as deep as a message may travel.
LEVELS_MAX: Final = HOPS_MAX // 2
# What is left of a credential for the texts of its grants and tags, with room for keys, names and signature.
CREDENTIAL_TEXT_BYTES_MAX: Final = CREDENTIAL_BYTES_MAX - 1_536
NAME_RULE: Final = "use lower case letters, digits and -, at most 63, not beginning with -"
_NEVER: Final = re.compile(r"\s*(?P<label>\S+)\s+from\s+(?P<source>\S+)\s+reaches\s+(?P<target>\S+)\s*")
_NAMES_SHOWN: Final = 5

Raw = Mapping[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_rules(raw: Raw) -> list[Problem]:
    return _Rules(raw).run()


def parse_never(text: str) -> tuple[Label, str, str] | None:
    """`amber from ot-1 reaches dmz`: label, source, target."""
    found = _NEVER.fullmatch(text)
    label = parse_label(found["label"]) if found else None
    return None if found is None or label is None else (label, found["source"], found["target"])


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


class _Rules:
    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.relays = _tables(raw, "relays")
        self.roles = _tables(raw, "roles")
        self.points = _tables(raw, "points")
        self.parents = {name: relay.get("parent") for name, relay in self.relays.items()}
        self.problems: list[Problem] = []

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
        self._roles_use()
        self._points_use()
        self._approvals()
        self._asserts()
        return self.problems

    def _add(self, key: str, cause: str, write: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(Code.TOPOLOGY_INVALID, key, cause, write, severity))

    def _known(self, name: object, known: Iterable[str]) -> str:
        names = list(known)
        near = closest(name, names)
        listed = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        return f"write one of {listed}{near}" if names else "declare it"

    # names

    def _names(self) -> None:
        for section, tables in (("relays", self.relays), ("roles", self.roles), ("points", self.points)):
            for name in tables:
                self._name(section, name)
        for point, table in self.points.items():
            for source in _tables(table, "sources"):
                self._name(f"points.{point}.sources", source)
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
        for name, table in self.relays.items():
            for index, backup in enumerate(_strings(table.get("backups"))):
                key = f"relays.{name}.backups.{index}"
                others = [other for other in self.relays if other not in (name, self.parents[name])]
                if backup not in self.relays:
                    self._add(key, f"there is no relay {shown(backup)}", self._known(backup, others))
                elif backup == self.parents[name]:
                    self._add(key, f"'{backup}' is the parent already", "name another relay, or remove it")
                elif name in self._climb(backup):
                    self._add(
                        key,
                        f"'{backup}' is below '{name}', or '{name}' itself",
                        "name a relay beside or above it",
                    )

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
            for index, text in enumerate(_strings(table.get("serves"))):
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

    # uses of names

    def _roles_use(self) -> None:
        for role, table in self.roles.items():
            for index, grant in enumerate(_list(table.get("request"))):
                scope = grant.get("scope") if isinstance(grant, Mapping) else None
                if isinstance(scope, str) and scope and scope not in self.relays:
                    key = f"roles.{role}.request.{index}.scope"
                    self._add(key, f"there is no relay {shown(scope)}", self._known(scope, self.relays))

    def _points_use(self) -> None:
        for point, table in self.points.items():
            role, relay = table.get("role"), table.get("relay")
            if isinstance(role, str) and role not in self.roles:
                self._add(
                    f"points.{point}.role", f"there is no role {shown(role)}", self._known(role, self.roles)
                )
            if isinstance(relay, str) and relay not in self.relays:
                self._add(
                    f"points.{point}.relay",
                    f"there is no relay {shown(relay)}",
                    self._known(relay, self.relays),
                )
            grants = self.roles.get(role, {}) if isinstance(role, str) else {}
            if _text_bytes(grants) + _text_bytes(table.get("tags")) > CREDENTIAL_TEXT_BYTES_MAX:
                self._add(
                    f"points.{point}",
                    f"the grants of role '{role}' and the tags do not fit into one credential",
                    "write fewer or wider grants, or split the role",
                )
            granted = (
                _publish_patterns(self.roles[role]) if isinstance(role, str) and role in self.roles else None
            )
            for name, source in _tables(table, "sources").items():
                topic = source.get("topic")
                key = f"points.{point}.sources.{name}"
                if (
                    granted is not None
                    and isinstance(topic, str)
                    and not any(matches(p, topic) for p in granted)
                ):
                    self._add(
                        f"{key}.topic",
                        f"the role '{role}' has no publish grant for {shown(topic)}",
                        f'add publish = ["{topic}"] to [roles.{role}], or use a granted topic',
                    )
                if source.get("kind") == "file" and not source.get("path"):
                    self._add(key, "'path' is missing", 'write path = "/var/log/zeek/conn.log"')

    def _approvals(self) -> None:
        due = False
        for index, table in enumerate(_list(self.raw.get("approval"))):
            if not isinstance(table, Mapping):
                continue
            key = f"approval.{index}"
            when, require = table.get("when"), table.get("require")
            if isinstance(when, Mapping) and not (when.get("class") or when.get("action")):
                self._add(
                    f"{key}.when", "it names no class and no action", 'write when = { class = "contain" }'
                )
            for place, role in enumerate(_strings(table.get("from"))):
                if role not in self.roles:
                    self._add(
                        f"{key}.from.{place}",
                        f"there is no role {shown(role)}",
                        self._known(role, self.roles),
                    )
            if not isinstance(require, int) or require < 1:
                continue
            due = True
            if "from" not in table or table["from"] == []:
                self._add(
                    key,
                    "nobody is named who could approve",
                    'write from = ["ot-lead"], with roles of [roles]',
                )
        if due:
            self._add(
                "approval",
                "approvals are not enforced yet: this version refuses to run actions that need them",
                "remove the table, or set require = 0 where the grant alone may decide",
                "warning",
            )

    def _asserts(self) -> None:
        for index, table in enumerate(_list(self.raw.get("assert"))):
            text = table.get("never") if isinstance(table, Mapping) else None
            if not isinstance(text, str):
                continue
            key = f"assert.{index}.never"
            parsed = parse_never(text)
            if parsed is None:
                self._add(
                    key,
                    f"{shown(text)} is not LABEL from NAME reaches NAME",
                    'write e.g. never = "amber from ot-1 reaches dmz"',
                )
                continue
            known = [*self.relays, *self.points]
            for name in parsed[1:]:
                if name not in known:
                    self._add(key, f"there is no relay or point {shown(name)}", self._known(name, known))


def _tables(raw: Raw, key: str) -> dict[str, Raw]:
    section = raw.get(key)
    return (
        {k: v for k, v in section.items() if isinstance(v, Mapping)} if isinstance(section, Mapping) else {}
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]


def _publish_patterns(role: Raw) -> list[str] | None:
    """None where a grant cannot be read: then it is reported itself, and nothing follows from it."""
    grants = role.get("publish", [])
    patterns = [g.get("topic") if isinstance(g, Mapping) else g for g in _list(grants)]
    texts = [pattern for pattern in patterns if isinstance(pattern, str)]
    return texts if isinstance(grants, list) and len(texts) == len(patterns) else None


def _text_bytes(value: object) -> int:
    """What the texts of a table take at most in a credential, with a few bytes around each."""
    if isinstance(value, Mapping):
        return sum(_text_bytes(v) + (len(k) if isinstance(v, str) else 0) for k, v in value.items())
    if isinstance(value, list):
        return sum(_text_bytes(item) for item in value)
    return len(value.encode()) + 8 if isinstance(value, str) else 8
