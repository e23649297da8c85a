"""From objects of STIX to records, and from these to what is published: pure, the same for files, TAXII and replays.

    markings = Markings(settings.markings)
    markings.learn(objects)                              # a definition may be behind what it marks
    for read in read_objects(objects, markings, settings):
        ...                                              # a record for `Intake.take_many`, or a FabricError to reject

`read_objects` puts what only the whole bundle tells, the labels, into a record as its field `fabric`. A source whose
kind has `preset=read_stix` gives it to its intake as any other. So a record is whole by itself, also among the dead
letters and when it is replayed.

What is published is the object as it came, and `fabric`: `kind`, what it is about, and `values`, what can be blocked:

    "fabric": {"kind": "ipv4", "values": {"ipv4": ["198.51.100.7"]}}

| object | kind |
|---|---|
| an indicator whose pattern is about one of these only | `ipv4` `ipv6` `domain` `url` `email` `file` |
| another indicator, or one about several of them | `indicator` |
| any other object | its type; `observed-data` for observables that are a `url` or a `file` |

Guarantees: no field is published below the label that its markings say, and nothing that follows from a field (the
kind, the values, the severity, the phase) below that field's. Values are of indicators that are not revoked, not
expired, and not of what is benign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Phase, Severity, parse_phase
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.mapping import Said
from relays.gateways.mapping.said import Labels
from relays.gateways.mapping.times import believed, time_ms
from relays.gateways.stix.markings import Markings
from relays.gateways.stix.patterns import read_pattern
from relays.gateways.stix.settings import StixSettings
from relays.gateways.stix.values import KINDS, OBSERVED, OTHER

# The field of a record that is ours; STIX has none of this name.
OURS: Final = "fabric"
_TYPE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_ID: Final = re.compile(r"([a-z][a-z0-9-]{0,63})--[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CHAINS: Final = frozenset({
    "lockheed-martin-cyber-kill-chain", "mitre-attack", "mitre-ics-attack", "mitre-mobile-attack", "mitre-pre-attack",
})
_JUDGED: Final = frozenset({"indicator", "sighting"})
# By confidence, up to and with this: before an intruder is inside (or nobody says), and from exploitation on. STIX 2.1,
# appendix A: none, low, medium, high. None is critical: what is only said of others is no incident here.
_SEVERITIES: Final = (
    (29, Severity.LOW, Severity.LOW),
    (69, Severity.MEDIUM, Severity.MEDIUM),
    (100, Severity.MEDIUM, Severity.HIGH),
)
_UNSURE: Final = (Severity.LOW, Severity.MEDIUM)
# What decides whether an indicator's values are wanted.
_DECIDING: Final = ("pattern", "pattern_type", "revoked", "valid_until", "type", "indicator_types", "labels")
# Of what it says that a pattern finds: in 2.1, and in 2.0.
_TYPES: Final = ("indicator_types", "labels")
_BENIGN: Final = "benign"
# What its severity and phase follow from.
_RATING: Final = ("confidence", "kill_chain_phases", "type")


def read_objects(
    objects: Iterable[Any], markings: Markings, settings: StixSettings
) -> Iterator[dict[str, Any] | FabricError]:
    """Of each object, in order, a record for a source whose kind has `preset=read_stix`; or why it is none: BAD_INPUT.

    Whatever the objects are. `markings` have learned the definitions by then.
    """
    for each in objects:
        yield read_object(each, markings, settings)


def read_object(each: Any, markings: Markings, settings: StixSettings) -> dict[str, Any] | FabricError:
    """The same of one."""
    fault = fault_of_object(each)
    if fault:
        return FabricError(Code.BAD_INPUT, fault, "change it where it comes from")
    marked = markings.of(each)
    label = settings.unmarked if marked.label is None else marked.label
    if marked.least is not None:  # where it is the identity's default nobody here knows which is higher
        label = Label.RED if label is None else max(label, marked.least)
    ours: dict[str, Any] = {} if label is None else {"label": label.short}
    if marked.labels:
        ours["labels"] = {name: field.short for name, field in marked.labels.items()}
    said = [each for each in (marked.label, marked.least, *marked.labels.values()) if each is not None]
    if max(said, default=Label.CLEAR) > Label.GREEN:
        ours["own"] = True
    if marked.unknown:
        ours["unknown"] = True
    return {**each, OURS: ours}


def is_unknown(record: Mapping[str, Any]) -> bool:
    """Whether what was read of an object has a marking that nobody knows, and counts as RED for it."""
    return bool(record[OURS].get("unknown"))


def fault_of_object(each: Any) -> str:
    """Why it is no object of STIX; empty where it is one."""
    if not isinstance(each, dict):
        return "it is no object"
    type_, id_ = each.get("type"), each.get("id")
    if type_ == "bundle":
        return "a bundle in a bundle"
    if not isinstance(type_, str) or not _TYPE.fullmatch(type_):
        return "type: it is none of STIX"
    found = _ID.fullmatch(id_) if isinstance(id_, str) else None
    if found is None or found[1] != type_:
        return "id: it is none of STIX: its type, --, and a UUID"
    return ""


def read_stix(record: dict[str, Any], now_ms: int | None) -> Said:
    """What is published of a record of `read_objects`. Of any other record: then all of it is RED."""
    label, labels, notes = _ours(record)
    least = label or Label.CLEAR
    rates = all(label_over(name, labels, least) <= least for name in _RATING)
    phase = _phase(record) if rates else Phase.NONE
    kind: Any = record.get("type")
    values: dict[str, list[str]] = {}
    if kind == "indicator":
        kind, values = _pattern(record, now_ms, notes)
        deciding = max(label_over(name, labels, least) for name in _DECIDING)
        if deciding > least:
            kind = OTHER
            labels = {**labels, f"{OURS}.values": deciding}
    elif kind in KINDS:  # what `intel.url.>` has is bad; this was seen
        kind = OBSERVED
    content = {name: value for name, value in record.items() if name != OURS}
    content[OURS] = {"kind": kind, "values": values} if values else {"kind": kind}
    modified = record.get("modified")
    at = None if modified is None else believed(time_ms(modified), now_ms)
    ours = record.get(OURS)
    own = not isinstance(ours, dict) or "own" in ours
    return Said(_severity(record, phase, rates), phase, label, at, labels, content, tuple(notes), own)


def label_over(name: str, labels: Labels, rest: Label) -> Label:
    """The highest that a field bears, or anything in it."""
    return max([rest, *(label for each, label in labels.items() if each == name or each.startswith(f"{name}."))])


def _ours(record: Mapping[str, Any]) -> tuple[Label | None, Labels, list[str]]:
    ours = record.get(OURS)
    if not isinstance(ours, dict):
        return Label.RED, {}, ["it is labelled red: it was not read as STIX"]
    labels = ours.get("labels", {})
    notes = ["it is labelled red: a marking that nobody knows"] if ours.get("unknown") else []
    label = _label(ours["label"]) if "label" in ours else None
    return label, {name: _label(field) for name, field in labels.items()} if isinstance(labels, dict) else {}, notes


def _label(text: Any) -> Label:
    found = parse_label(text) if isinstance(text, str) else None
    return Label.RED if found is None else found


def _pattern(record: Mapping[str, Any], now_ms: int | None, notes: list[str]) -> tuple[str, dict[str, list[str]]]:
    """What it is about, and its values if they are wanted now."""
    text = record.get("pattern")
    if not isinstance(text, str) or record.get("pattern_type", "stix") != "stix":
        notes.append("no values: its pattern is none of STIX")
        return OTHER, {}
    pattern = read_pattern(text)
    why = ""
    if not pattern.values:
        why = "its pattern says more than that one of them is there"
    elif record.get("revoked", False) is not False:
        why = "it is revoked"
    elif any(_BENIGN in found for name in _TYPES if isinstance(found := record.get(name), list)):
        why = "it says that what it finds is benign"
    elif record.get("valid_until") is not None:
        until_ms = time_ms(record["valid_until"])
        if until_ms is None or (now_ms is not None and until_ms <= now_ms):
            why = "it is valid no more"
    if why:
        notes.append(f"no values: {why}")
        return pattern.kind, {}
    return pattern.kind, {kind: list(values) for kind, values in pattern.values.items()}


def _phase(record: Mapping[str, Any]) -> Phase:
    """The furthest."""
    phases = record.get("kill_chain_phases")
    found = Phase.NONE
    for each in phases if isinstance(phases, list) else ():
        name = each.get("phase_name") if isinstance(each, dict) and _is_chain(each.get("kill_chain_name")) else None
        if isinstance(name, str):
            found = max(found, parse_phase(name) or Phase.NONE)
    return found


def _is_chain(name: Any) -> bool:
    return isinstance(name, str) and name in _CHAINS


def _severity(record: Mapping[str, Any], phase: Phase, rates: bool) -> Severity:
    if record.get("type") not in _JUDGED:
        return Severity.INFORMATIONAL
    confidence = record.get("confidence")
    row: tuple[Severity, Severity] = _UNSURE
    if rates and isinstance(confidence, int) and not isinstance(confidence, bool) and 0 <= confidence <= 100:
        row = next((early, late) for most, early, late in _SEVERITIES if confidence <= most)
    return row[1 if phase >= Phase.EXPLOITATION else 0]
