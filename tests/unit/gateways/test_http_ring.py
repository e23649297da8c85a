"""The ring of streams over HTTP, held against a list of all that ever came."""

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.http.events import EventId, id_line
from relays.gateways.http.readers import PART_BYTES, GoneError, Reader
from relays.gateways.http.ring import _ITEM_BYTES, _PLACE_BYTES, Item, Ring, Track


def item(number, size=1):
    return Item("a.b", {Label.GREEN: b"%d" % number + b"x" * size})


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 2)), st.integers(0, 400)), max_size=60), st.integers(1, 9),
    st.integers(1, 9),
)
def test_each_track_numbers_what_it_may_see_and_knows_what_is_gone(adds, items_max, kibibytes):
    ring, tracks = Ring(items_max, kibibytes << 10), [Track(Label.GREEN) for _ in range(3)]
    came, seen = [], [[] for _ in tracks]
    for number, (who, size) in enumerate(adds):
        one = item(number, size)
        ring.add(one, [tracks[n] for n in sorted(who)])
        if who:
            came.append((one, one.size + _PLACE_BYTES * len(who)))
        for n in who:
            seen[n].append(one)
        assert len(ring) <= items_max and (ring.bytes <= kibibytes << 10 or len(ring) == 1)
        held = came[len(came) - len(ring):]
        assert ring.bytes == sum(size for _, size in held)
        for track, whole in zip(tracks, seen, strict=True):
            left = [(count, each) for count, each in enumerate(whole, 1) if any(each is one for one, _ in held)]
            assert track.newest == len(whole) and track.first == len(whole) - len(left) + 1
            for after in range(len(whole) + 2):
                assert list(track.after(after)) == [pair for pair in left if pair[0] > after]


def test_what_several_labels_have_alike_is_one_text():
    text = b"x" * 100
    assert Item("a", dict.fromkeys(Label, text)).size == 100 + _ITEM_BYTES
    assert Item("a", {Label.GREEN: text, Label.RED: b"y" * 100}).size == 200 + _ITEM_BYTES


def test_nobody_s_is_not_kept():
    ring = Ring()
    ring.add(item(1), [])
    assert (len(ring), ring.bytes) == (0, 0)


RUN = "0" * 16


def reader_of(ring, track):
    return Reader(SimpleNamespace(changes=0), ("a.b",), RUN, track, threading.Lock(), lambda: 0.0)


@given(st.lists(st.integers(0, 3 * PART_BYTES), max_size=5))
def test_a_reader_has_no_more_than_a_part_at_a_time_and_all_of_it_in_the_end(sizes):
    ring, track = Ring(), Track(Label.GREEN)
    reader, whole, got = reader_of(ring, track), b"", b""
    for number, size in enumerate(sizes, 1):
        ring.add(item(number, size), [track])
        whole += id_line(EventId(RUN, number)) + item(number, size).texts[Label.GREEN]
    while part := reader.take():
        assert len(part) <= PART_BYTES + 100 * len(sizes)
        got += part
    assert got == whole and not reader.is_behind


def test_a_message_that_left_the_ring_when_its_reader_had_half_of_it_has_no_rest():
    ring, track = Ring(1), Track(Label.GREEN)
    reader = reader_of(ring, track)
    ring.add(item(1, PART_BYTES), [track])
    assert len(reader.take()) > PART_BYTES
    ring.add(item(2), [track])
    with pytest.raises(GoneError):
        reader.take()
