"""Whatever a peer sends, the answer is a frame or a refusal."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire import frames as wire
from fabric.protocol.wire.codec import decode_frame, encode_frame
from tests.vectors.make import GOOD, KNOWN

FRAMES = [raw for _, what, raw in GOOD if what == "frame"]
ENVELOPES = [raw for _, what, raw in GOOD if what == "envelope"]

INT = st.integers(0, 2**53)
NAME = st.text(st.characters(codec="ascii"), max_size=64)
DETAIL = st.text(st.characters(codec="utf-8"), max_size=100)
ID = st.binary(min_size=16, max_size=16)
BYTES = st.binary(max_size=200)
HASH = st.binary(min_size=32, max_size=32)
# What says nothing is not written, so that what a later version appends would stand in its place.
PATH = st.lists(NAME, min_size=1, max_size=16).map(tuple)
CODE = st.sampled_from(list(Code))
ITEM = st.builds(
    wire.Item, st.sampled_from(list(wire.Direction)), INT, st.lists(NAME, max_size=16), st.lists(NAME, max_size=20),
    BYTES, st.integers(0, 64),
)
ANY_FRAME = st.one_of(
    st.builds(wire.Hello, INT, INT, NAME, st.sampled_from(list(wire.Role)), BYTES, ID, ID, INT, INT, INT),
    st.builds(wire.Welcome, INT, BYTES, ID, ID, INT, INT, INT, INT, INT, PATH),
    st.builds(wire.Refused, CODE, DETAIL, st.just(b"") | ID),
    st.builds(wire.Intro, st.lists(BYTES, max_size=8)),
    st.builds(wire.Data, st.sampled_from(list(Lane)), INT, st.lists(ITEM, max_size=6)),
    st.builds(wire.Ack, st.lists(ID, max_size=20)),
    st.builds(wire.Nack, st.lists(st.tuples(ID, CODE, DETAIL), max_size=8)),
    st.builds(wire.Credit, st.lists(INT, min_size=len(Lane), max_size=len(Lane))),
    st.builds(
        wire.Routes, INT, st.booleans(), st.lists(BYTES, max_size=8), st.lists(st.tuples(NAME, ID, INT), max_size=8)
    ),
    st.builds(wire.Routed, INT, st.lists(st.tuples(INT, CODE, DETAIL), max_size=8)),
    st.builds(wire.Ping, INT),
    st.builds(wire.Pong, INT, INT, PATH, INT, INT.filter(bool)),
    st.builds(wire.Bye, CODE, DETAIL),
    st.builds(wire.Lists, BYTES),
    st.builds(wire.Directory, BYTES),
    st.builds(wire.Rules, BYTES),
    st.builds(wire.Join, ID, NAME, st.binary(max_size=32), BYTES),
    st.builds(wire.Applied, st.lists(st.tuples(NAME, INT, INT), max_size=8)),
    st.builds(wire.Joined, ID, st.none() | CODE, DETAIL, BYTES),
    st.builds(wire.Grown, BYTES, INT, st.lists(HASH, max_size=8)),
    st.builds(wire.Witnessed, INT, st.none() | CODE, BYTES),
    st.builds(wire.Denied, st.lists(st.tuples(CODE, INT), max_size=8)),
)
# What msgpack can say where a frame says something else.
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | ID,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 5) | st.text(max_size=2), inner),
    max_leaves=12,
)


def paths_into(value, at=()):
    """Where every element of a structure of lists is."""
    yield at
    for n, inner in enumerate(value if isinstance(value, list) else ()):
        yield from paths_into(inner, (*at, n))


def test_there_is_a_strategy_for_every_frame():
    made = {type(decode_frame(raw)) for raw in FRAMES}
    assert len(made) == 22 and made == set(wire.Frame.__args__)


@settings(max_examples=100, deadline=None)
@given(ANY_FRAME)
def test_any_frame_comes_back_as_it_was(frame):
    raw = encode_frame(frame)
    again = decode_frame(raw)
    assert again == frame and type(again) is type(frame)
    assert encode_frame(again) == raw
    # A later version appends; the limit on a frame's size is exact.
    assert decode_frame(msgpack.packb([*msgpack.unpackb(raw), {"later": [1]}])) == frame
    assert decode_frame(raw, len(raw)) == frame
    assert decode_frame(raw, len(raw) - 1) == Reject(Code.TOO_LARGE, "frame")


@given(st.sampled_from([wire.Welcome(1, b"", b"s" * 16, b"n" * 16, 0, 0, 0, 0, 0), wire.Pong(0, 0)]))
def test_a_path_that_says_nothing_is_absent_and_read_as_that(frame):
    raw = encode_frame(frame)
    assert decode_frame(raw) == frame
    assert encode_frame(decode_frame(raw)) == raw


@settings(max_examples=125, deadline=None)
@given(ANY_FRAME, JUNK, st.data())
def test_a_frame_with_another_value_anywhere_is_read_or_refused(frame, junk, data):
    """Bit flips seldom hit types: here the structure is whole and one element is something else."""
    fields = msgpack.unpackb(encode_frame(frame))
    *way, last = data.draw(st.sampled_from([path for path in paths_into(fields) if path]))
    inner = fields
    for step in way:
        inner = inner[step]
    inner[last] = junk
    read = decode_frame(msgpack.packb(fields))
    if not isinstance(read, Reject):
        assert decode_frame(encode_frame(read)) == read


@pytest.mark.parametrize("over", [0, 1])
def test_the_largest_frame_is_read_and_one_byte_more_is_not(over):
    raw = encode_frame(wire.Lists(bytes(FRAME_BYTES_MAX - 7 + over)))
    assert len(raw) == FRAME_BYTES_MAX + over
    assert isinstance(decode_frame(raw), Reject) == bool(over)


@st.composite
def damaged(draw, of):
    raw = bytearray(draw(st.sampled_from(of)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1)) if raw else 0
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip" if raw:
                raw[at] ^= draw(st.integers(1, 255))
            case "cut":
                del raw[at:]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=12))
            case "repeat":
                raw += raw[at : at + 64]
    return bytes(raw)


@settings(max_examples=125, deadline=None)
@given(damaged(FRAMES) | st.binary(max_size=300))
def test_a_damaged_frame_is_read_or_refused(raw):
    frame = decode_frame(raw)
    if not isinstance(frame, Reject):
        assert decode_frame(encode_frame(frame)) == frame


@settings(max_examples=125, deadline=None)
@given(damaged(ENVELOPES) | st.binary(max_size=300))
def test_a_damaged_envelope_is_refused_unless_it_says_the_same(raw):
    opened = open_envelope(raw, KNOWN, RootCache())
    if isinstance(opened, Verified):
        whole = {open_envelope(good, KNOWN, RootCache()).id for good in ENVELOPES}  # type: ignore[union-attr]
        assert opened.id in whole


@pytest.mark.parametrize("raw", FRAMES, ids=[name for name, what, _ in GOOD if what == "frame"])
def test_every_prefix_is_refused(raw):
    for cut in range(len(raw)):
        assert isinstance(decode_frame(raw[:cut]), Reject)
