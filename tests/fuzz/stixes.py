"""STIX as others send it: documents, objects with any markings and patterns; whatever it is, labels only go up."""

from __future__ import annotations

import json
from typing import Any

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import FieldLabels, label_fields, merge
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.blocklist.entries import indicator_of
from relays.gateways.mapping import Mapped, read_mapping
from relays.gateways.options import Options
from relays.gateways.stix.document import read_document
from relays.gateways.stix.markings import Markings
from relays.gateways.stix.outgoing import Outgoing
from relays.gateways.stix.patterns import read_pattern
from relays.gateways.stix.reading import read_object, read_stix
from relays.gateways.stix.requirements import is_whole
from relays.gateways.stix.settings import StixSettings
from relays.gateways.stix.values import VALUE_KINDS, plain_value
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.fuzz.files import json_near

_NOW_MS = 1_773_144_000_000
_MAPPING = read_mapping(Options({"topic": "intel.{fabric.kind}.feed"}), read_stix)
_OWN = "marking-definition--00000001-0000-4000-8000-000000000000"
_MARKINGS = [f"marking-definition--{each}" for each in (
    "94868c89-83c2-464b-929b-a1a8aa3c8487", "55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "e828b379-4e03-4974-9ac4-e53a884c97c1",
    "613f2e26-407d-48c7-9eca-b8e91df99dc9",
)] + [_OWN]
_BUNDLE: dict[str, Any] = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": [
    {"type": "indicator", "spec_version": "2.1", "id": "indicator--00000000-0000-4000-8000-000000000002",
     "created": "2026-01-01T00:00:00Z", "modified": "2026-01-02T00:00:00Z", "pattern_type": "stix", "confidence": 70,
     "pattern": "[ipv4-addr:value = '198.51.100.7'] OR [file:hashes.'SHA-256' = 'aa' AND url:value LIKE 'x%']",
     "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2036-01-01T00:00:00Z", "revoked": False,
     "labels": ["a", "b"],
     "kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": "command-and-control"}],
     "external_references": [{"source_name": "x", "url": "u", "hashes": {"MD5": "a"}}],
     "object_marking_refs": [_MARKINGS[1]],
     "granular_markings": [{"marking_ref": _MARKINGS[2], "selectors": ["labels.[0]", "external_references.[0].url"]},
                           {"lang": "fr", "selectors": ["pattern"]}]},
    {"type": "marking-definition", "spec_version": "2.1", "id": _OWN, "created": "2026-01-01T00:00:00Z",
     "definition_type": "tlp", "definition": {"tlp": "green"}, "object_marking_refs": [_OWN]},
    {"type": "report", "spec_version": "2.1", "id": "report--00000000-0000-4000-8000-000000000003",
     "created": "2026-01-01T00:00:00Z", "modified": "2026-01-02T00:00:00Z", "name": "x",
     "published": "2026-01-01T00:00:00Z",
     "object_refs": ["indicator--00000000-0000-4000-8000-000000000002", _OWN],
     "extensions": {"x-ext": {"a_ref": _OWN}}},
]}
_PIECES = (
    "[", "]", "ipv4-addr:value", "url:value", "file:hashes.'SHA-256'", "file:hashes.MD5", " = ", " IN ", "('a', 'b')",
    "'192.0.2.1'", "'x.example'", "'\\''", "'", " OR ", " AND ", " NOT ", "\\", "domain-name:value", "(", ")", ":",
    "[*]",
    " FOLLOWEDBY ", " REPEATS 2 TIMES", "''",
)


def document(dice: Dice) -> bytes:
    """A bundle near a valid one, with other markings."""
    bundle = json.loads(json.dumps(_BUNDLE))
    for each in bundle["objects"]:
        if dice.one_in(2):
            each["object_marking_refs"] = dice.some(_MARKINGS, 2)
        if dice.one_in(2):
            each["granular_markings"] = [
                {"marking_ref": dice.choice(_MARKINGS), "selectors": dice.some([*each, "labels.[1]", "*", "a.b", ""],
                    3)}
                for _ in range(dice.randrange(3))
            ]
    return json_near(dice, bundle)


def publish(raw: bytes) -> None:
    """What a reader with each clearance gets of it."""
    try:
        items = list(read_document(raw).items())
    except FabricError as error:
        assert error.code is Code.BAD_INPUT
        return
    markings = Markings({})
    markings.learn(item.value for item in items)
    found = []
    for item in items:
        record = read_object(item.value, markings, StixSettings(Label.GREEN)) if item.fault is None else item.fault
        mapped = _MAPPING.apply(record, now_ms=_NOW_MS) if isinstance(record, dict) else None
        if isinstance(mapped, Mapped):
            assert mapped.label is not None and all(label >= mapped.label for label in mapped.labels.values())
            assert all(note.isprintable() for note in mapped.notes)
            found.append(mapped)
    for clearance in Label:
        messages = [each for mapped in found if (each := _seen(mapped, clearance)) is not None]
        for each in messages:
            indicator_of(each)
        for out in Outgoing().of(messages).objects:
            assert is_whole(out)
            refs = out.get("object_marking_refs", []) + [
                each.get("marking_ref", "") for each in out.get("granular_markings", [])
            ]
            assert all((parse_label(ref) or Label.CLEAR) <= clearance for ref in refs)
            assert not refs or parse_label(refs[0]) is not None, "it says first what it is"


def _seen(mapped: Mapped, clearance: Label) -> Message | None:
    assert mapped.label is not None
    if mapped.label > clearance:
        return None
    content: dict[str, Any] = {}
    labels: dict[str, Label] = {}
    withheld: dict[Label, int] = {}
    for label, piece in FieldLabels(mapped.labels, mapped.label).split(mapped.content).items():
        if label > clearance:
            withheld[label] = 1
        else:
            merge(content, piece)
            label_fields(piece, label, labels)
    return Message("1.0", mapped.topic, "intel", "feed", mapped.severity, mapped.phase, mapped.label, _NOW_MS, 1_000,
        0, (),
                   content, labels, withheld)


def pattern(dice: Dice) -> bytes:
    if dice.one_in(20):
        return dice.choice(_PIECES).encode() * dice.choice((100, 20_000))
    return "".join(dice.choice(_PIECES) for _ in range(dice.randrange(30))).encode()


def read_one(raw: bytes) -> None:
    """No value of any pattern can be more than one line, or a wildcard."""
    found = read_pattern(raw.decode("utf-8", "replace"))
    assert found.values.keys() <= set(VALUE_KINDS)
    for kind, values in found.values.items():
        for value in values:
            assert plain_value(kind, value) == value and value.isascii() and not set(value) & set(" \t\r\n*%'\\,")


TARGETS = (Bytes("stix", document, publish), Bytes("stix-pattern", pattern, read_one))
