"""Whatever a peer sends, the answer is a frame or a refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.errors import Reject
from fabric.protocol.verify import RootCache, Verified, open_envelope
from fabric.protocol.wire import decode_frame, encode_frame
from tests.vectors.make import GOOD, KNOWN

FRAMES = [raw for _, what, raw in GOOD if what == "frame"]
ENVELOPES = [raw for _, what, raw in GOOD if what == "envelope"]


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


@settings(max_examples=1500, deadline=None)
@given(damaged(FRAMES) | st.binary(max_size=300))
def test_a_damaged_frame_is_read_or_refused(raw):
    frame = decode_frame(raw)
    if not isinstance(frame, Reject):
        assert decode_frame(encode_frame(frame)) == frame


@settings(max_examples=1500, deadline=None)
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
