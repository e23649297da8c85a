"""What is declared of the sources and sinks of one control point: in a topology, and in its identity's folder.

    [points.zeek-1.sources.conn]          in identity.json: "sources": { "conn": { "kind": "file", ... } }
    kind = "file"

Whoever writes an identity from a topology writes these with it, so that the machine at the edge needs no topology.
Guarantees: one that cannot be used hinders no other; every fault is named at once, with its key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from fabric.edge.arguments.suggestions import near
from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import DURABLE_SESSIONS_MAX
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import advice_on, check_pattern, covers
from relays.gateways.kinds import Need, Option, SinkKind, SourceKind
from relays.gateways.mapping import KEYS, RecordMapping, read_mapping
from relays.gateways.options import Fault, Options
from relays.gateways.registry import SINKS, SOURCES
from relays.wording import shown

SOURCES_KEY: Final = "sources"
SINKS_KEY: Final = "sinks"
# A thread each, and a line on every screen that shows them.
SOURCES_MAX: Final = 64
# Each is a durable reader of its own, so that one that cannot write holds up no other.
SINKS_MAX: Final = DURABLE_SESSIONS_MAX
# What every sink has, besides its kind's own.
SINK_OPTIONS: Final = (
    Option("topics", '["detections.>"]', "What it is given.", needed=True),
    Option("max_label", '"green"', "It is given nothing above this, whatever its identity is cleared for."),
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class DeclaredSource:
    """A source as it is declared."""

    name: str
    kind: SourceKind
    settings: Any
    mapping: RecordMapping

    @property
    def published(self) -> tuple[str, ...]:
        """Patterns of all topics on which it can publish: what its role has to be granted."""
        return self.mapping.patterns if self.kind.publishes(self.settings) else ()

    def missing(self) -> list[Need]:
        """What it needs and this machine has not."""
        return [need for need in self.kind.needs(self.settings) if need.problem]


@dataclass(frozen=True)
class DeclaredSink:
    """A sink as it is declared. No topic of it covers another one. It is given nothing above `label_max`."""

    name: str
    kind: SinkKind
    settings: Any
    topics: tuple[str, ...]
    label_max: Label = Label.RED

    def missing(self) -> list[Need]:
        """What it needs and this machine has not."""
        return [need for need in self.kind.needs(self.settings) if need.problem]


class Unfit(NamedTuple):
    """One that cannot be used. `section`: "sources" or "sinks"."""

    section: str
    name: str
    error: FabricError


class Declared(NamedTuple):
    """Of one control point, in the order of its topology."""

    sources: tuple[DeclaredSource, ...] = ()
    sinks: tuple[DeclaredSink, ...] = ()
    unfit: tuple[Unfit, ...] = ()

    @property
    def names(self) -> list[str]:
        return [*(each.name for each in self.sources), *(each.name for each in self.sinks),
                *(each.name for each in self.unfit)]

    def missing(self) -> list[tuple[str, Need]]:
        """What they need and this machine has not, each with its name."""
        sources = [(each.name, need) for each in self.sources for need in each.missing()]
        return sources + [(each.name, need) for each in self.sinks for need in each.missing()]

    def only(self, names: Sequence[str]) -> Declared:
        """Those of these names."""
        return Declared(
            tuple(each for each in self.sources if each.name in names),
            tuple(each for each in self.sinks if each.name in names),
            tuple(each for each in self.unfit if each.name in names),
        )


_D = TypeVar("_D", DeclaredSource, DeclaredSink)


def one_named(name: str, usable: Sequence[_D], section: str, declared: Declared, id_: str) -> _D:
    """The one of this name, of what a control point has in a section. Raises USAGE where there is none, and what is
    wrong with one that cannot be used."""
    for each in usable:
        if each.name == name:
            return each
    for unfit in declared.unfit:
        if unfit.name == name and unfit.section == section:
            raise unfit.error
    raise none_named(name, [each.name for each in usable], section, id_)


def none_named(name: str, known: Sequence[str], section: str, id_: str) -> FabricError:
    """USAGE, with those that are meant."""
    like = near(name, known) or known
    return FabricError(
        Code.USAGE, f"no {section.removesuffix('s')} of {id_} is named {name!r}",
        f"write {' or '.join(like)}" if like else f"declare it: [points.{id_}.{section}.{name}]",
    )


def read_source(name: str, table: Mapping[str, Any]) -> tuple[DeclaredSource | None, list[Fault]]:
    """A source from its declaration; None where its kind is not known. With faults it may not be used."""
    options = Options({key: value for key, value in table.items() if key != "kind"})
    kind = _kind(SOURCES.kind, table, options)
    mapping = read_mapping(options, kind.preset if kind is not None else None)
    if kind is None:
        return None, options.faults
    options.only(("kind", *KEYS, *(option.name for option in kind.options)))
    settings = kind.read(options)
    _plain(table, options)
    found = DeclaredSource(name, kind, settings, mapping)
    is_without = not options.has("topic") and not found.published
    return found, [fault for fault in options.faults if not (is_without and fault.key == "topic")]


def read_sink(name: str, table: Mapping[str, Any]) -> tuple[DeclaredSink | None, list[Fault]]:
    """A sink from its declaration, likewise."""
    options = Options({key: value for key, value in table.items() if key != "kind"})
    kind = _kind(SINKS.kind, table, options)
    topics = _topics(options)
    label_max = options.label("max_label", Label.RED)
    if kind is None:
        return None, options.faults
    options.only(("kind", *(option.name for option in (*SINK_OPTIONS, *kind.options))))
    settings = kind.read(options)
    _plain(table, options)
    return DeclaredSink(name, kind, settings, topics, label_max), options.faults


def claims_of(each: DeclaredSource | DeclaredSink) -> Sequence[str]:
    """What no second one of its control point may use."""
    return each.kind.claims(each.settings)


def declared_for(identity: Identity) -> Declared:
    """What its folder says. Raises BAD_IDENTITY where that is no declaration at all."""
    sections = {key: identity.extra.get(key, {}) for key in (SOURCES_KEY, SINKS_KEY)}
    for section in sections.values():
        if not isinstance(section, Mapping) or not all(isinstance(table, Mapping) for table in section.values()):
            raise FabricError(Code.BAD_IDENTITY, f"{identity.folder}: its sources and sinks cannot be read")
    unfit: list[Unfit] = []
    sources = _all_usable(SOURCES_KEY, sections[SOURCES_KEY], read_source, unfit)
    sinks = _all_usable(SINKS_KEY, sections[SINKS_KEY], read_sink, unfit)
    return Declared(sources, sinks, tuple(unfit))


def _all_usable(
    section: str, tables: Mapping[str, Mapping[str, Any]],
    read: Callable[[str, Mapping[str, Any]], tuple[_T | None, list[Fault]]], unfit: list[Unfit],
) -> tuple[_T, ...]:
    """Those that can be used; the others are put into `unfit`."""
    usable: list[_T] = []
    for name, table in tables.items():
        try:
            usable.append(_usable(section, name, *read(name, table)))
        except FabricError as error:
            unfit.append(Unfit(section, str(name), error))
    return tuple(usable)


def _usable(section: str, name: str, each: _T | None, faults: Sequence[Fault]) -> _T:
    if each is None or faults:
        words = "; ".join(f"{fault.key}: {fault.cause}" for fault in faults)
        code = next((fault.code for fault in faults), Code.SOURCE_UNFIT)
        next_step = faults[0].write if faults else ""
        raise FabricError(code, f"{section}.{name}: {words}", f"in the topology, {next_step}; then `fabric up` it")
    return each


def _kind(find: Callable[[str], _T], table: Mapping[str, Any], options: Options) -> _T | None:
    name = table.get("kind")
    if name is None:
        options.missing("kind", '"file"')
        return None
    try:
        return find(name if isinstance(name, str) else "")
    except FabricError as error:
        code = Code.TOPOLOGY_INVALID if error.code is Code.USAGE else error.code
        options.wrong("kind", error.detail, error.next_step, code)
        return None


def _topics(options: Options) -> tuple[str, ...]:
    topics = options.texts("topics", needed='["detections.>"]')
    for topic in topics:
        problem = check_pattern(topic)
        if problem is not None:
            advice = advice_on(topic) or 'write e.g. "detections.>"'
            options.wrong("topics", f"{shown(topic)}: {problem.detail or problem.code.cause}", advice, problem.code)
        for other in topics:
            if problem is None and other != topic and check_pattern(other) is None and covers(other, topic):
                options.wrong("topics", f"{shown(topic)} is in {shown(other)} already", "leave it out")
    return tuple(dict.fromkeys(topics))


def _plain(table: Mapping[str, Any], options: Options) -> None:
    """What JSON has not cannot be carried to the edge."""
    for key, value in table.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            options.wrong(key, "it is no text, number, list or table", 'write it as text: "..."')
