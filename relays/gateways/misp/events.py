"""From events of MISP to records: one for the event, and one for each of its attributes, also those in its objects.

What only the whole event tells (labels, severity, phase) is in a record's field `fabric`, so that a record is whole by
itself, also among the dead letters. `read_misp` makes of it what is published: the record as it came, and

    "fabric": {"kind": "ipv4", "values": {"ipv4": ["198.51.100.7"]}}

as STIX has it: an attribute is about one of its kinds; of other types one that can be detected (`to_ids`) is an
`indicator`, and one that cannot is `observed-data`; an event is a `report`. Values are of attributes that can be
detected and are not deleted: one that is so no more comes again on the same topic, without them.

| says | label |
|---|---|
| `tlp:` tags of the event and of the attribute | the most restrictive of them |
| a `tlp:` tag that nobody knows, and a tag that is none | RED, and said |
| no such tag: a distribution of the event, the object or the attribute | the most restrictive of them: |
| 0 this organisation, 4 a sharing group | AMBER+STRICT: whose members are not known here |
| 1 this community | AMBER |
| 2 connected communities | GREEN |
| 3 all communities, 5 inherited | none: as it is declared |
| anything else | RED |

A declared audience is not for what is above GREEN by its own tags or distribution: it was given to this organisation.

Guarantees: nothing raises, whatever is in an event; no record bears less than its event says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fabric.protocol.vocabulary.severity import Phase, Severity, parse_phase
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.mapping import Said
from relays.gateways.mapping.times import believed, time_ms
from relays.gateways.misp.types import about
from relays.gateways.pulling.pages import Unreadable, unreadable
from relays.gateways.stix.reading import OURS
from relays.gateways.stix.values import OBSERVED, OTHER

# The field of a record that is ours; MISP has none of this name.
REPORT: Final = "report"
# However it is spelt: which label that is, or that nobody knows it, is looked at afterwards.
_TLP: Final = re.compile(r"\W*tlp(?![a-z])", re.IGNORECASE)
# How tags are in an answer of MISP, and in what its other parts export.
_TAGS: Final = ("Tag", "EventTag", "AttributeTag")
_NO_TAG: Final = "tlp:?"
_KILL_CHAIN: Final = "kill-chain:"
_CHAINS: Final = ("mitre-", "lockheed-martin-")
# MISP's own scale: 1 is the worst, 4 that nobody said.
_SEVERITIES: Final = {"1": Severity.HIGH, "2": Severity.MEDIUM, "3": Severity.LOW}
_DISTRIBUTIONS: Final[Mapping[str, Label | None]] = {
    "0": Label.AMBER_STRICT, "1": Label.AMBER, "2": Label.GREEN, "3": None, "4": Label.AMBER_STRICT, "5": None,
}
# Lists that have records of their own, or are about others.
_LISTS: Final = ("Attribute", "Object", "ShadowAttribute", "RelatedEvent", "RelatedAttribute", "EventReport",
                 "Sighting", "CryptographicKey", "warnings")
_CONTEXT: Final = ("uuid", "info", "threat_level_id")
_DETECTED: Final = (True, 1, "1")


class Context(NamedTuple):
    """What an event says of all in it. `tlp`: of its tags; `distribution`: its own. None where it says none."""

    tlp: Label | None
    distribution: Label | None
    unmarked: Label | None
    phase: Phase
    severity: Severity
    about: Mapping[str, Any]


def records_of(event: Any, unmarked: Label | None = None) -> Iterator[Mapping[str, Any] | Unreadable]:
    """Of one event, as `{"Event": {...}}` or what is in it. `unmarked`: the label of what nothing labels; None is the
    identity's default."""
    whole = event.get("Event", event) if isinstance(event, dict) else None
    if not isinstance(whole, dict) or not _is_text(whole.get("uuid")):
        yield _unreadable(event, "it is no event of MISP: it has no uuid")
        return
    context = _context(whole, unmarked)
    yield _record(whole, context, None, {"kind": REPORT})
    yield from _attributes(whole, context, None)
    for each in _list(whole.get("Object")):
        if isinstance(each, dict):
            inner = context._replace(distribution=_higher(context.distribution, _distribution(each)))
            named = {name: each[name] for name in ("name", "uuid", "meta-category") if name in each}
            yield from _attributes(each, inner, named, is_deleted=_is_set(each.get("deleted")))
        else:
            yield _unreadable(each, "it is no object of MISP")


def _attributes(
    holder: Mapping[str, Any], context: Context, named: Mapping[str, Any] | None, *, is_deleted: bool = False
) -> Iterator[Mapping[str, Any] | Unreadable]:
    for each in _list(holder.get("Attribute")):
        if not isinstance(each, dict) or not all(_is_text(each.get(name)) for name in ("uuid", "type", "value")):
            yield _unreadable(each, "it is no attribute of MISP: it has no uuid, type or value")
            continue
        if is_deleted:
            each = {**each, "deleted": True}
        is_detected = _is_set(each.get("to_ids"))
        kind, values = about(each["type"], each["value"])
        ours: dict[str, Any] = {"kind": OBSERVED if kind == OTHER and not is_detected else kind}
        if values and is_detected and not _is_set(each.get("deleted")):
            ours["values"] = values
        severity = context.severity if is_detected else Severity.INFORMATIONAL
        yield _record(each, context._replace(severity=severity), named, ours)


def _record(
    each: Mapping[str, Any], context: Context, named: Mapping[str, Any] | None, ours: dict[str, Any]
) -> dict[str, Any]:
    record = {name: value for name, value in each.items() if name not in _LISTS}
    if ours["kind"] != REPORT:
        record["event"] = context.about
        if named is not None:
            record["object"] = named
    own = _tags(each)
    tlp, distribution = _higher(context.tlp, _tlp(own)), _higher(context.distribution, _distribution(each))
    label = tlp if tlp is not None else distribution if distribution is not None else context.unmarked
    ours |= {"severity": int(context.severity), "phase": int(max(context.phase, _phase(own, each)))}
    if label is not None:
        ours["label"] = label.short
        if label > Label.GREEN and (tlp is not None or distribution is not None):
            ours["own"] = True
    return {**record, OURS: ours}


def _context(event: Mapping[str, Any], unmarked: Label | None) -> Context:
    tags = _tags(event)
    creator = event.get("Orgc")
    more = {"org": creator["name"]} if isinstance(creator, dict) and _is_text(creator.get("name")) else {}
    known = {name: event[name] for name in _CONTEXT if isinstance(event.get(name), str | int)}
    severity = _SEVERITIES.get(str(event.get("threat_level_id")), Severity.UNKNOWN)
    return Context(_tlp(tags), _distribution(event), unmarked, _phase(tags, event), severity, {**known, **more})


def read_misp(record: dict[str, Any], now_ms: int | None) -> Said:
    """What is published of a record of `records_of`. Of any other record: then all of it is RED."""
    ours = record.get(OURS)
    content = {name: value for name, value in record.items() if name != OURS}
    if not isinstance(ours, dict) or not isinstance(ours.get("kind"), str):
        return Said(label=Label.RED, record={**content, OURS: {"kind": OBSERVED}}, own=True,
                    notes=("it is labelled red: it was not read as MISP",))
    label = _read_label(ours["label"]) if "label" in ours else None
    said = {name: ours[name] for name in ("kind", "values") if name in ours}
    stamp = record.get("timestamp")
    at = None if stamp is None else believed(time_ms(stamp, "s"), now_ms)
    notes = ("it is labelled red: by a tlp tag, or by one or a distribution that nobody knows",)
    return Said(
        _of(Severity, ours.get("severity")), _of(Phase, ours.get("phase")), label, at, {}, {**content, OURS: said},
        notes if label is Label.RED else (), "own" in ours,
    )


def newest_s(events: list[Any], name: str, now_s: int) -> int | None:
    """The newest time of this name among events, no later than ours; None where no event has one."""
    found = [int(whole[name]) for each in events if isinstance(each, dict)
             and isinstance(whole := each.get("Event", each), dict)
             and str(whole.get(name)).isdecimal() and len(str(whole[name])) < 12]
    return max((min(at_s, now_s) for at_s in found), default=None)


def _read_label(text: Any) -> Label:
    found = parse_label(text) if isinstance(text, str) else None
    return Label.RED if found is None else found


def _tags(each: Mapping[str, Any]) -> list[str]:
    """Their names; of one that nobody can read a TLP that nobody knows, for it may have been one."""
    found: list[str] = []
    for name in _TAGS:
        given = each.get(name)
        for tag in given if isinstance(given, list) else [] if given is None else [given]:
            inner = tag.get("Tag", tag) if isinstance(tag, dict) else tag
            text = inner.get("name") if isinstance(inner, dict) else inner
            found.append(text if isinstance(text, str) else _NO_TAG)
    return found


def _tlp(tags: list[str]) -> Label | None:
    return max((_read_label(name) for name in tags if _TLP.match(name)), default=None)


def _distribution(each: Mapping[str, Any]) -> Label | None:
    value = each.get("distribution")
    return None if value is None else _DISTRIBUTIONS.get(str(value), Label.RED)


def _phase(tags: list[str], each: Mapping[str, Any]) -> Phase:
    """The furthest that tags and galaxies say."""
    found = [name[len(_KILL_CHAIN) :].strip(' "') for name in tags if name.lower().startswith(_KILL_CHAIN)]
    for galaxy in _list(each.get("Galaxy")):
        for cluster in _list(galaxy.get("GalaxyCluster")) if isinstance(galaxy, dict) else ():
            meta = cluster.get("meta") if isinstance(cluster, dict) else None
            for chain in _list(meta.get("kill_chain")) if isinstance(meta, dict) else ():
                if isinstance(chain, str) and chain.startswith(_CHAINS):
                    found.append(chain.rpartition(":")[2])
    return max((parse_phase(name) or Phase.NONE for name in found), default=Phase.NONE)


def _of(kind: Any, number: Any) -> Any:
    is_one = isinstance(number, int) and not isinstance(number, bool) and number in list(kind)
    return kind(number) if is_one else None


def _higher(one: Label | None, other: Label | None) -> Label | None:
    return max((label for label in (one, other) if label is not None), default=None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_set(value: Any) -> bool:
    return isinstance(value, bool | int | str) and value in _DETECTED


def _unreadable(value: Any, why: str) -> Unreadable:
    return unreadable(value, why, "look at it in MISP")
