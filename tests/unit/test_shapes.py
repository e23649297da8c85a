"""What is read by its shape is what the careful reader makes of the same bytes."""

from __future__ import annotations

from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.shapes import Shape
from fabric.protocol.envelope import header, layout
from fabric.protocol.envelope.header import Header, Kind, PartEntry, Relabels, Terms, decode_header, encode_header
from fabric.protocol.envelope.layout import Approved, Envelope, decode_envelope, encode_envelope
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.wire import codec
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Item

_POINT = Shape(tuple[Annotated[int, Meta(ge=0, le=9)], Annotated[bytes, Meta(max_length=4)]])


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"\x92", b"\x92\x01", b"\x92\x01\xc4\x01", b"\x93\x01\xc4\x00\x01", b"\x92\x0a\xc4\x00",
        b"\x92\x01\xc4\x05abcde", b"\x92\xc3\xc4\x00", b"\x92\x01\xa1a", b"\x92\x01\xc7\x01\x05a",
        b"\x92\x01\xc4\x00\x00", b"\xdd\xff\xff\xff\xff", b"\x82\x00\x01\x01\xc4\x00", b"\xc1",
    ],
)
def test_what_is_of_another_shape_is_none(packed: bytes) -> None:
    assert _POINT.read(packed) is None


def test_a_number_may_be_longer_than_it_must() -> None:
    assert _POINT.read(b"\x92\xcd\x00\x05\xc5\x00\x01a") == (5, b"a")


def test_text_that_is_not_utf_8_is_none() -> None:
    assert Shape(tuple[str]).read(b"\x91\xa1\xff") is None


_names = st.text("abö.-", max_size=70)
_labels = st.sampled_from(Label)
_headers = st.builds(
    Header,
    kind=st.sampled_from(Kind), topic=_names, origin=_names, stream=st.binary(min_size=8, max_size=8),
    sequence=st.integers(0, 2**54), issued_at_ms=st.integers(0, 2**53), ttl_ms=st.integers(0, 2**20),
    severity=st.sampled_from(Severity), phase=st.sampled_from(Phase), label=_labels,
    audience=st.builds(
        Audience, *[st.lists(_names, max_size=18).map(tuple)] * 3,
    ),
    to=_names, correlation=st.sampled_from([b"", bytes(32), bytes(16)]), records=st.integers(0, 1_025),
    manifest=st.lists(
        st.builds(
            PartEntry, label=_labels, content_type=st.integers(0, 2), encoding=st.integers(0, 3),
            size=st.integers(0, 2**24), digest=st.binary(min_size=31, max_size=33),
        ),
        max_size=17,
    ).map(tuple),
    traceparent=_names, terms=st.builds(Terms, st.booleans(), st.booleans()), state=st.sampled_from(State),
    relabels=st.one_of(st.none(), st.builds(
        Relabels, leaf=st.binary(min_size=31, max_size=33), record=st.integers(0, 2**11), label=_labels,
    )),
)
_items = st.builds(
    Item, direction=st.sampled_from(Direction), age_ms=st.integers(0, 2**54), hops=st.lists(_names, max_size=17),
    targets=st.lists(_names, max_size=5), envelope=st.binary(max_size=40), moved=st.sampled_from([0, 0, 1, 2**20]),
)
_frames = st.one_of(
    st.builds(Data, lane=st.sampled_from(Lane), clock_ms=st.integers(0, 2**54), items=st.lists(_items, max_size=5)),
    st.builds(Ack, ids=st.lists(st.binary(min_size=15, max_size=17), max_size=4)),
)
_envelopes = st.builds(
    Envelope, signer=st.binary(min_size=16, max_size=16), header=st.binary(max_size=40),
    signature=st.binary(min_size=63, max_size=65), path=st.lists(st.binary(min_size=32, max_size=32)).map(tuple),
    parts=st.lists(st.one_of(st.none(), st.binary(min_size=15, max_size=30)), max_size=17).map(tuple),
    approved=st.one_of(st.none(), st.builds(
        Approved, at_ms=st.integers(0, 2**54), held_at_ms=st.just(5), targets=st.lists(_names, max_size=2).map(tuple),
        approvals=st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=2).map(tuple),
    )),
)


@given(_headers, st.data())
def test_headers_are_the_same_both_ways(written: Header, data: st.DataObject) -> None:
    raw = _altered(encode_header(written), data)
    assert decode_header(raw) == header._any_header(raw)


@given(_envelopes, st.data())
def test_envelopes_are_the_same_both_ways(envelope: Envelope, data: st.DataObject) -> None:
    raw = _altered(encode_envelope(envelope), data)
    assert decode_envelope(raw) == layout._any_envelope(raw)


@given(_frames, st.data())
def test_frames_are_the_same_both_ways(frame: Data | Ack, data: st.DataObject) -> None:
    raw = _altered(encode_frame(frame), data)
    assert decode_frame(raw) == codec._any_frame(raw, 2**18)


def _altered(raw: bytes, data: st.DataObject) -> bytes:
    """The same bytes, or some of them changed, or something appended to the list that they are."""
    how = data.draw(st.sampled_from(["as it is", "a byte", "cut", "longer", "appended"]))
    at = data.draw(st.integers(0, len(raw) - 1))
    if how == "a byte":
        return raw[:at] + data.draw(st.binary(min_size=1, max_size=1)) + raw[at + 1 :]
    if how == "appended":
        fields: list[Any] = msgpack.unpackb(raw, strict_map_key=False)
        return msgpack.packb([*fields, data.draw(st.sampled_from([None, 7, "x", [[]], {1: 2}]))])
    return {"cut": raw[:at], "longer": raw + b"\x00"}.get(how, raw)


def _data(items: int, hops: int, targets: int) -> bytes:
    name = "n" * 3
    item = Item(Direction.UP, 1, [name] * hops, [name] * targets, b"e")
    return encode_frame(Data(Lane.LOW, 1, [item] * items))


@pytest.mark.parametrize(
    ("items", "hops", "targets", "refused"),
    [(256, 16, 8, False), (256, 16, 9, False), (256, 16, 10, True), (257, 0, 0, True), (1, 17, 0, True),
     (1, 0, 4_096, False), (1, 0, 4_097, True), (2, 0, 4_096, True)],
)
def test_a_frame_has_as_many_elements_as_before(items: int, hops: int, targets: int, *, refused: bool) -> None:
    raw = _data(items, hops, targets)
    found = decode_frame(raw)
    assert isinstance(found, Reject) is refused
    assert found == codec._any_frame(raw, 2**18)
