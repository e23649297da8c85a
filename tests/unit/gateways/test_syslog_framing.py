"""Both framings of RFC 6587, mixed and broken, in pieces of any size; and datagrams."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.gateways.syslog.framing import Frame, Frames, of_datagram

FIRST, SECOND = b"<34>Oct 11 22:14:15 h su: one", b"<13>two\nlines"


def counted(raw):
    return b"%d %s" % (len(raw), raw)


def fed(data, step=None, message_max=65_536, **end):
    frames = Frames(message_max)
    found = []
    for at in range(0, len(data), step or max(1, len(data))):
        found += frames.feed(data[at : at + (step or len(data))])
    return found + frames.end(**end)


CASES = [
    (FIRST + b"\n<13>b\r\n\n<13>c\n", [FIRST, b"<13>b", b"<13>c"]),
    (counted(FIRST) + counted(SECOND), [FIRST, SECOND]),
    (counted(FIRST) + b"\n" + counted(SECOND) + b"\n", [FIRST, SECOND]),
    (FIRST + b"\0<13>b\0", [FIRST, b"<13>b"]),
    (FIRST + b"\0\n<13>b\n", [FIRST, b"<13>b"]),
    (b"<13>a\n" + counted(SECOND) + b"<13>c\n" + counted(FIRST), [b"<13>a", SECOND, (b"<13>c", ()), FIRST]),
    (b"54 people came\n<13>b\n", [b"54 people came", b"<13>b"]),
    (b"54 <1 minute elapsed\n<13>b\n", [b"54 <1 minute elapsed", b"<13>b"]),
    (b"9" * 40 + b"\n<13>b\n", [b"9" * 40, b"<13>b"]),
    (b"0 <13>a\n", [b"0 <13>a"]),
    (b"9999999 <13>a\n<13>b\n", [b"9999999 <13>a", b"<13>b"]),
    (counted(FIRST) + b"oops\n" + counted(SECOND), [FIRST, (b"oops", ("bad-frame",)), SECOND]),
    (b"5 <13>abc\n" + counted(FIRST), [b"<13>a", (b"bc", ("bad-frame",)), FIRST]),
    (counted(FIRST) + counted(b"no priority"), [FIRST, b"no priority"]),
    (b"<13>unended", [b"<13>unended"]),
    (b"20 <13>short", [(b"<13>short", ("cut-off",))]),
    (b"\n\0\r\n", []),
    (b"", []),
]


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_stream_whole_and_byte_by_byte(data, expected):
    wanted = [Frame(*each) if isinstance(each, tuple) else Frame(each) for each in expected]
    assert fed(data) == fed(data, 1) == fed(data, 7) == wanted


def test_a_nul_within_a_message_stays_where_what_follows_it_came_with_it():
    assert fed(b"<13>a\0b\n<13>c\n") == [Frame(b"<13>a\0b"), Frame(b"<13>c")]
    frames = Frames()
    assert frames.feed(b"<13>a\0") == [Frame(b"<13>a")]  # whoever ends messages so waits for no next one
    assert frames.feed(b"b\n") == [Frame(b"b")]


def test_what_is_too_long_is_marked_and_the_next_message_is_found():
    for long in (b"<13>" + b"x" * 100 + b"\n", b"<13>" + b"x" * 100 + b"\0", counted(b"<13>" + b"x" * 100)):
        for step in (None, 1):
            assert fed(long + b"<13>b\n", step, 50) == [
                Frame(b"<13>" + b"x" * 46, ("truncated",)), Frame(b"<13>b"),
            ]
    frames = Frames(50)
    assert [frame.marks for frame in frames.feed(b"x" * 10_000)] == [("truncated",)]
    assert frames.waiting == 0 and frames.left_out + 50 == 10_000


def test_what_is_cut_off_here_is_marked():
    assert fed(b"<13>part", cut=True) == [Frame(b"<13>part", ("cut-off",))]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=8), st.integers(1, 50))
def test_messages_survive_any_mixture_of_framings_in_any_pieces(messages, step):
    bodies = [b"<13>" + body.replace(b"\n", b"").replace(b"\0", b"").rstrip(b"\r") for _, body in messages]
    data = b"".join(
        counted(body) if by_count else body + b"\n" for (by_count, _), body in zip(messages, bodies, strict=True)
    )
    assert [frame.raw for frame in fed(data, step)] == bodies


@given(st.binary(max_size=400), st.integers(1, 60), st.integers(1, 80))
def test_of_any_bytes_nothing_is_made_up_and_nothing_comes_twice(data, step, message_max):
    for found in (fed(data, step, message_max), fed(data, 1, message_max)):
        at = 0
        for frame in found:
            assert 0 < len(frame.raw) <= message_max
            at = data.index(frame.raw, at) + len(frame.raw)


def test_a_datagram():
    assert of_datagram(FIRST + b"\n\0") == Frame(FIRST)
    assert of_datagram(counted(FIRST)) == Frame(FIRST)
    assert of_datagram(b"5 <13>longer") == Frame(b"5 <13>longer")
    assert of_datagram(b"\0\n") is None
    assert of_datagram(b"<13>abc", 5) == Frame(b"<13>a", ("truncated",))


def test_a_flood_of_what_ends_messages_is_passed_over_at_once():
    frames = Frames()
    began_s = time.process_time()
    assert [frame.raw for frame in frames.feed(b"\n\r\0" * 1_000_000 + b"<13>a\n")] == [b"<13>a"]
    assert time.process_time() - began_s < 0.2
