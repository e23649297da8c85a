"""What is in libzmq and can never be read, and what is in there because nobody reads it: as the kernel counts."""

import socket
from itertools import pairwise
from pathlib import Path

import pytest

from fabric.transport.unread import (
    GROWN_MAX,
    UNREAD_MAX,
    UNSENT_MAX,
    Unread,
    Unsent,
    bytes_read,
    bytes_written,
    resident_bytes,
)

LOOK_MS = 1_000


class Read(dict):
    """What this process has read, by descriptor."""

    def __call__(self, descriptor, few=0):
        return self.get(descriptor)


def test_whose_frames_were_all_taken_is_never_found():
    read = Read()
    unread = Unread(read)
    unread.came(7)
    for turn in range(1, 2_000):
        size = 100_000 if turn % 2 else 10
        read[7] = read.get(7, 0) + size + 33 + (2 if size + 33 < 256 else 9)
        unread.look(turn * LOOK_MS)
        unread.took(7, size)
        assert unread.too_much() == []


def test_i_say_that_there_is_more_and_more():
    read = Read({7: 1_000, 8: 1_000})
    unread = Unread(read)
    for descriptor in read:
        unread.came(descriptor)
    read[7] += UNREAD_MAX
    unread.look(LOOK_MS)
    assert unread.too_much() == [7] and unread.too_much() == []
    unread.gone(7)
    unread.came(7)
    read[7] = 10
    unread.look(2 * LOOK_MS)
    assert unread.too_much() == [], "the next one with this descriptor is somebody else"


def test_what_comes_after_a_look_is_for_the_next():
    read = Read({7: 1_000})
    unread = Unread(read)
    unread.came(7)
    unread.look(LOOK_MS)
    read[7] += 2 * UNREAD_MAX
    unread.look(5 * LOOK_MS)  # the first was not compared: there was no end of what could be read
    assert unread.too_much() == []
    unread.look(6 * LOOK_MS)
    assert unread.too_much() == [7]


def test_where_nothing_is_on_its_way_in_there_is_nothing_to_look_for_until_more_comes():
    read = Read({7: 1_000, 8: 1_000})
    unread = Unread(read)
    for descriptor in read:
        unread.came(descriptor)

    def look(turn):
        unread.look(turn * LOOK_MS)
        unread.too_much()
        return [descriptor for descriptor in read if unread.is_still(descriptor)]

    assert look(1) == [], "what it brought before may be the beginning of more"
    read[8] += 1
    assert look(2) == [7]
    read[7] += 100 + 33 + 2
    unread.took(7, 100)
    assert look(3) == [7, 8], "a whole frame leaves nothing"
    unread.stirred(7)
    assert not unread.is_still(7) and unread.is_still(8)
    unread.gone(8)
    assert not unread.is_still(8)
    assert look(4) == [7]


SOON_MS = 200


class Watched:
    """Two connections of a listener, and how much memory its process has."""

    def __init__(self):
        self.read, self.resident, self.asked, self.at_ms = Read({7: 1_000, 8: 1_000}), 50_000_000, [], 0
        self.unread = Unread(self.read_of, lambda: self.resident)
        for descriptor in self.read:
            self.unread.came(descriptor)

    def read_of(self, descriptor, few):
        self.asked.append(descriptor)
        return self.read(descriptor, few)

    def look(self, after_ms=SOON_MS):
        """Who is found, and who was looked at."""
        self.at_ms += after_ms
        self.asked.clear()
        self.unread.look(self.at_ms)
        return self.unread.too_much(), sorted(self.asked)


@pytest.fixture
def watched():
    made = Watched()
    assert made.look() == ([], [7, 8]) and made.look() == ([], [7, 8]), "until nothing is on its way in there"
    assert made.look() == ([], []) and not made.unread.looked
    return made


def test_those_on_which_nothing_came_are_looked_at_now_and_then(watched):
    looks = [watched.look()[1] for _ in range(20)]
    assert [7, 8] in looks[:10] and looks.count([7, 8]) == 2 and looks.count([]) == 18


def test_of_thousands_all_are_looked_at_less_often_unless_what_they_bring_takes_memory():
    watched = Watched()
    watched.read.update(dict.fromkeys(range(9, 3_007), 1_000))
    for descriptor in watched.read:
        watched.unread.came(descriptor)
    looks = [len(watched.look()[1]) for _ in range(120)]
    every_ms = [SOON_MS * (one - before) for before, one in pairwise([n for n, many in enumerate(looks) if many])]
    assert set(looks) == {0, 3_000} and all(6_000 <= each <= 6_000 + SOON_MS for each in every_ms[2:]) and every_ms[2:]
    watched.resident += GROWN_MAX
    assert len(watched.look()[1]) == 3_000


def test_one_that_was_quiet_is_found_when_all_are_looked_at(watched):
    watched.read[8] += 2 * UNREAD_MAX
    found = [watched.look()[0] for _ in range(10)]
    assert [8] in found and [7, 8] not in found


def test_one_that_was_quiet_is_found_at_once_where_what_it_brings_takes_much_memory(watched):
    watched.read[8] += 20 * UNREAD_MAX
    watched.resident -= 1_000_000
    assert watched.look() == ([], [])
    watched.resident += GROWN_MAX - 1
    assert watched.look() == ([], [])
    watched.resident += 1
    assert watched.look() == ([8], [7, 8]), "more than when all were looked at, and less than ever since"
    watched.unread.gone(8)
    watched.resident += GROWN_MAX - 1
    assert watched.look() == ([], [])


def test_one_on_which_something_came_is_looked_at_until_nothing_more_does(watched):
    watched.look(2_000)
    watched.read[8] += 10
    assert watched.look(2_000) == ([], [7, 8])
    assert watched.look() == ([], [8]) and watched.look() == ([], [])


def test_where_nobody_knows_how_much_memory_there_is_all_are_looked_at(watched):
    watched.resident = None
    assert [watched.look() for _ in range(3)] == [([], [7, 8])] * 3


def test_how_much_memory_this_process_has():
    before = resident_bytes()
    held = bytearray(64_000_000)
    held[::4_096] = b"x" * len(held[::4_096])
    assert before is not None and 60_000_000 < resident_bytes() - before < 90_000_000
    del held


def test_where_all_that_came_was_taken_a_look_need_not_wait():
    read = Read({7: 1_000})
    unread = Unread(read)
    unread.came(7)
    at_ms = 10 * LOOK_MS

    def look():
        unread.look(at_ms)
        unread.too_much()

    look()
    read[7] += 100 + 33 + 2
    unread.took(7, 100)
    look()
    assert not unread.is_still(7), "it is too soon for another"
    unread.took_all()
    look()
    assert unread.is_still(7)
    unread.stirred(7)
    unread.took_all()
    look()
    assert not unread.is_still(7), "one look in a second comes early, whatever comes"
    at_ms += LOOK_MS // 2
    look()
    assert unread.is_still(7), "and none is later than without that"


def test_a_connection_that_ended_meanwhile_and_one_that_nobody_knows_of():
    unread = Unread(Read())
    unread.came(7)
    unread.look(LOOK_MS)
    assert unread.too_much() == []
    assert bytes_read(1_000_000) is None
    with Path(__file__).open() as file:
        assert bytes_read(file.fileno()) is None and file.read(1) == '"'


def test_the_kernel_knows_what_was_read():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        here, _ = server.accept()
        with here:
            peer.sendall(bytes(5_000))
            found = b""
            while len(found) < 3_000:
                found += here.recv(3_000 - len(found))
            assert bytes_read(here.fileno()) == bytes_read(here.fileno(), 4_999) == 3_000
            assert bytes_read(here.fileno(), 5_000) == 5_000, "no more have come, read or not"
            peer.sendall(b"x")
            assert here.recv(1) == b"\0", "and it was only looked at"


def test_i_answer_for_what_i_never_read():
    written = Read({7: 0, 8: 0})
    unsent = Unsent(written)
    for _ in range(100):
        for descriptor in written:
            unsent.gave(descriptor, UNSENT_MAX // 50)
        written[8] += UNSENT_MAX // 50
    assert unsent.too_much(1_000) == [7] and unsent.too_much(1_001) == [], "not at every turn"
    unsent.gone(7)
    assert unsent.too_much(2_000) == [], "the next one with this descriptor is somebody else"


def test_the_kernel_knows_what_was_written():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        here, _ = server.accept()
        with here:
            before = bytes_written(here.fileno())
            here.sendall(bytes(5_000))
            assert bytes_written(here.fileno()) - before == 5_000
            peer.recv(1)
