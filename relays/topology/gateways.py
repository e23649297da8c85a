"""What a topology says of sources and sinks: every declaration against its kind, its role and the others of its point.

Guarantees: what `load` returns of them, the machine at the edge reads the same way. The kinds that are named are
imported for it, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from fabric.protocol.access.permissions import addressed_beyond
from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import PublishGrant
from fabric.protocol.vocabulary.tlp import Audience, parse_label
from fabric.protocol.vocabulary.topics import check_pattern, covers
from relays.gateways.declared import (
    SINKS_KEY,
    SINKS_MAX,
    SOURCES_KEY,
    SOURCES_MAX,
    DeclaredSink,
    DeclaredSource,
    claims_of,
    read_sink,
    read_source,
)
from relays.gateways.options import Fault
from relays.topology.paths import Held, check_paths
from relays.topology.problems import Problem
from relays.topology.rulebook import Raw, as_list, strings, tables_in
from relays.topology.toml_lines import dotted
from relays.topology.uses import publish_patterns
from relays.wording import shown

# What a declaration may look up in a table of values.
_LOOKED_UP: Final = ("topic", "severity", "phase", "label")
_Read = Callable[[str, Mapping[str, Any]], tuple[DeclaredSource | DeclaredSink | None, list[Fault]]]


def check_gateways(raw: Raw) -> list[Problem]:
    """Every problem of them, in the order of the file."""
    roles = tables_in(raw, "roles")
    own = raw.get("organisation") or raw.get("fabric")
    held: list[Held] = []
    problems = [
        problem
        for point, table in tables_in(raw, "points").items()
        if SOURCES_KEY in table or SINKS_KEY in table
        for problem in _of_point(point, {"organisation": own, **table}, roles, held)
    ]
    return [*problems, *check_paths(held)]


def _of_point(point: str, table: Raw, roles: Mapping[str, Raw], held: list[Held]) -> list[Problem]:
    """`held` gets those that are declared as they ought to be."""
    problems: list[Problem] = []
    role = table.get("role")
    granted = roles.get(role) if isinstance(role, str) else None
    taken: dict[str, str] = {}  # name to section
    for section, read, most in ((SOURCES_KEY, read_source, SOURCES_MAX), (SINKS_KEY, read_sink, SINKS_MAX)):
        tables = tables_in(table, section)
        if len(tables) > most:
            problems.append(_problem(("points", point, section), f"there are more than {most}",
                                     "declare the rest for another control point"))
        claimed: dict[str, str] = {}
        for name, each in tables.items():
            place = ("points", point, section, name)
            if name in taken:
                problems.append(_problem(place, f"a source of {point} is named '{name}' too", "rename one of them"))
            taken[name] = section
            declared, faults = read(name, each)
            problems += [
                Problem(fault.code, dotted((*place, *_steps(fault.key))),
                        fault.cause, fault.write)
                for fault in faults
            ]
            wanted = _wanted(declared, faults)
            if granted is not None and wanted:
                problems += _granted(section, place, wanted, str(role), granted)
            if declared is None or faults:
                continue  # nothing follows from what is not as it ought to be
            if isinstance(declared, DeclaredSource):
                if granted is not None:
                    problems += _addressed(declared.mapping.audience, place, wanted, table, str(role), granted)
                problems += _reads(declared, place, table, str(role), granted)
            held.append(Held(point, place, declared))
            for claim in claims_of(declared):
                if claim in claimed:
                    problems.append(_problem(place, f"'{claimed[claim]}' has {claim} already", "leave one of them out"))
                claimed.setdefault(claim, name)
    return problems


def _wanted(declared: DeclaredSource | DeclaredSink | None, faults: Sequence[Fault]) -> tuple[str, ...]:
    """The topics that its role has to be granted; none where it cannot be known."""
    if declared is None or any(fault.key.partition(".")[0] in ("topic", "topics") for fault in faults):
        return ()
    return declared.topics if isinstance(declared, DeclaredSink) else declared.published


def _reads(
    source: DeclaredSource, place: tuple[str, ...], point: Raw, role: str, granted: Raw | None
) -> Iterator[Problem]:
    """What it hands on to others and may not read itself."""
    own = point.get("clearance")
    clearance = parse_label(own) if isinstance(own, str) else None
    for read in source.kind.reads(source.settings):
        where = (*place, *read.key)
        if granted is not None:
            yield from _not_granted("subscribe", where, read.topics, role, granted)
        if read.clearance is not None and clearance is not None and read.clearance > clearance:
            yield _problem(where[:-1], f"{read.clearance.short} is above {place[1]}'s clearance, {clearance.short}",
                           f'write clearance = "{clearance.short}" or a lower one, or leave it out')


def _granted(
    section: str, place: tuple[str, ...], wanted: Sequence[str], role: str, granted: Raw
) -> list[Problem]:
    """Topics that its role may not use."""
    if section == SOURCES_KEY:
        return _not_granted("publish", (*place, "topic"), wanted, role, granted)
    return _not_granted("subscribe", (*place, "topics"), wanted, role, granted)


def _not_granted(
    grant: str, where: tuple[str, ...], wanted: Sequence[str], role: str, granted: Raw
) -> list[Problem]:
    patterns = publish_patterns(granted) if grant == "publish" else strings(granted.get(grant))
    if patterns is None or len(patterns) != len(as_list(granted.get(grant))) or any(map(check_pattern, patterns)):
        return []  # that one is reported itself, and nothing follows from it
    return [
        _problem(where, f"the role '{role}' has no {grant} grant for {shown(topic)}",
                 f'add {grant} = ["{topic}"] to [roles.{role}], or use a granted topic')
        for topic in wanted
        if not any(covers(pattern, topic) for pattern in patterns)
    ]


def _addressed(
    audience: Audience | None, place: tuple[str, ...], wanted: Sequence[str], point: Raw, role: str, granted: Raw
) -> Iterator[Problem]:
    """Whom it names and no grant on its topics lets it address."""
    if audience is None:
        return
    own = point["organisation"]
    organisations = [name for name in audience.organisations if name != own]
    for topic in wanted:
        covering = [
            _publish_grant(pattern, grant)
            for grant, pattern in zip(as_list(granted.get("publish")), publish_patterns(granted) or (), strict=False)
            if check_pattern(pattern) is None and covers(pattern, topic)
        ]
        if covering and all(addressed_beyond(own, audience, grant) for grant in covering):
            named = [f"{part} = [{', '.join(map(_quoted, names))}]" for part, names in (
                ("organisations", organisations), ("communities", audience.communities)) if names]
            yield Problem(
                Code.AUDIENCE_DENIED, dotted((*place, "audience")),
                f"no publish grant of the role '{role}' lets {shown(topic)} address all of it",
                f'write {{ topic = "{topic}", {", ".join(named)} }} in [roles.{role}], or name fewer',
            )


def _publish_grant(pattern: str, grant: object) -> PublishGrant:
    """As far as it says whom it lets address."""
    table = grant if isinstance(grant, Mapping) else {}
    named = [tuple(strings(table.get(part))) for part in ("organisations", "communities")]
    return PublishGrant(pattern, to_organisations=named[0], to_communities=named[1])


def _steps(key: str) -> tuple[str, ...]:
    """Of a fault's key: what stands in a table of fields, or of values, is one step, whatever is in it. Gateways count
    tokens from 1, keys of a file from 0."""
    first, _, rest = key.partition(".")
    inner, _, last = rest.partition(".")
    if last and first == "tokens" and inner.isdecimal():
        return first, str(int(inner) - 1), last
    if last and inner == "table" and first in _LOOKED_UP:
        return first, inner, last
    return tuple(filter(None, (first, rest)))


def _quoted(text: str) -> str:
    """As it is written in the file."""
    return f'"{text}"'


def _problem(place: tuple[str, ...], cause: str, write: str) -> Problem:
    return Problem(Code.TOPOLOGY_INVALID, dotted(place), cause, write)
