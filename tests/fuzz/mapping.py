"""Declarations of sources, records that they are for, and segments of dead letters: read, refused or cut off."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import check_topic
from relays.gateways.deadletter.letter import decode, encode, letter_of
from relays.gateways.mapping import Mapped, read_mapping
from relays.gateways.options import Options
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.fuzz.files import json_near

_NOW_MS = 1_773_144_000_000
_DECLARED = tomllib.loads("""
topic = { template = "detections.{vendor}.x-{event.kind}", default = "detections.other" }
severity = { field = "sev", table = { "1" = "critical", "70..100" = "high", "*" = "low" } }
phase = { field = "tactic" }
label = { field = "tlp", default = "green" }
labels = { "id.orig_h" = "amber", hosts = "red", "hosts.0" = "green" }
time = { field = "ts" }
drop = ["secret", "hosts.password"]
rename = { "id.orig_h" = "src_ip", "event.raw" = "raw.line" }
set = { site = "plant-1" }
preset = "ocsf"
""")
_RECORD = {
    "vendor": "zeek", "event": {"kind": "conn", "raw": {"a": [1, {"b": None}]}}, "sev": 71, "tactic": "TA0011",
    "tlp": "TLP:AMBER", "id": {"orig_h": "10.0.0.1"}, "id.orig_h": "10.0.0.2",
    "hosts": [{"ip": 1, "password": "x"}, {}],
    "ts": 1_773_143_999.5, "secret": {"a": 1}, "severity_id": 5, "osint": [{"tlp": "RED"}],
    "kill_chain": [{"phase_id": 6}],
}
_LETTERS = [
    letter_of(number, _NOW_MS, raw, FabricError(Code.UNMAPPED, "sev"), "conn.log:7", Label.AMBER)
    for number, raw in enumerate([_RECORD, b"\xffraw", {}], 1)
]


def declared(dice: Dice) -> bytes:
    """A declaration and a record, one of them near what it should be."""
    both: list[Any] = [_DECLARED, _RECORD]
    at = dice.randrange(2)
    near = json_near(dice, both[at])
    other = json.dumps(both[1 - at]).encode()
    return b"\0".join([near, other] if at == 0 else [other, near])


def map_record(raw: bytes) -> None:
    texts = raw.split(b"\0", 1)
    try:
        table, record = (json.loads(text) for text in (texts if len(texts) == 2 else [b"{}", raw]))
    except (ValueError, RecursionError):
        return
    if not isinstance(table, dict) or not isinstance(record, dict):
        return
    options = Options(table)
    mapping = read_mapping(options)
    for fault in options.faults:
        assert fault.cause and fault.write, "a fault that helps nobody"
    if options.faults:
        return
    found = mapping.apply(record, now_ms=_NOW_MS)
    if isinstance(found, Mapped):
        assert check_topic(found.topic) is None
        assert all(note.isprintable() for note in found.notes)
        assert found.label is None or max([found.label, *found.labels.values()]) <= mapping.label_max(Label.AMBER)
    else:
        assert found.error.detail.isprintable()


def segment(dice: Dice) -> bytes:
    """Of dead letters, as it may be after a power failure, or after somebody else wrote to it."""
    data = b"".join(encode(dice.choice(_LETTERS)) for _ in range(dice.randrange(4)))
    return dice.damaged(data) if dice.one_in(2) else data + dice.text().encode()


def read_segment(raw: bytes) -> None:
    for end, letter in decode(raw):
        assert end <= len(raw) and letter.why
        assert encode(letter), "what was read can be written"


TARGETS = (Bytes("mapping", declared, map_record), Bytes("dead-letters", segment, read_segment))
