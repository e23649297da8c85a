"""Version 1 on the wire, frozen: what peers in the field send is read, and refused, as it always was."""

import json
from pathlib import Path

import pytest

from fabric.protocol.envelope import decode_envelope, decode_header, encode_envelope, encode_header
from fabric.protocol.errors import Reject
from fabric.protocol.wire import decode_frame, encode_frame
from tests.vectors.make import GOOD, HOSTILE, meaning, read

FROZEN = json.loads((Path(__file__).parent / "v1.json").read_text())
# What is not sealed by today's code as it was: zlib's output differs between its versions.
VARIES = {"a compressed part"}


def name_of(vector):
    return vector["name"]


@pytest.mark.parametrize("vector", FROZEN["good"], ids=name_of)
def test_it_means_what_it_meant(vector):
    assert meaning(read(vector["what"], bytes.fromhex(vector["hex"]))) == vector["means"]


@pytest.mark.parametrize("vector", FROZEN["hostile"], ids=name_of)
def test_it_is_refused_as_it_was(vector):
    refused = read(vector["what"], bytes.fromhex(vector["hex"]))
    assert isinstance(refused, Reject), refused
    assert refused.code.number == vector["refused"]


@pytest.mark.parametrize(
    ("made", "vector"), list(zip(GOOD, FROZEN["good"], strict=True)), ids=[name for name, _, _ in GOOD]
)
def test_the_same_is_written_in_the_same_bytes(made, vector):
    name, what, raw = made
    assert (name, what) == (vector["name"], vector["what"])
    if name not in VARIES:
        assert raw.hex() == vector["hex"]


def test_hostile_ones_are_all_frozen():
    assert [name for name, _, _ in HOSTILE] == [vector["name"] for vector in FROZEN["hostile"]]


@pytest.mark.parametrize("vector", [v for v in FROZEN["good"] if v["what"] in ("envelope", "frame")], ids=name_of)
def test_what_was_read_is_written_back_byte_for_byte(vector):
    raw = bytes.fromhex(vector["hex"])
    if vector["what"] == "frame":
        frame = decode_frame(raw)
        assert not isinstance(frame, Reject)
        # What a later version appended is for later versions; everything else comes back.
        assert raw == encode_frame(frame) or "more than this version" in vector["name"]
        return
    envelope = decode_envelope(raw)
    assert not isinstance(envelope, Reject)
    assert encode_envelope(envelope) == raw, "forwarded as it came, unknown fields included"
    header = decode_header(envelope.header)
    assert not isinstance(header, Reject)
    assert encode_header(header) == envelope.header or "future" in vector["name"]
