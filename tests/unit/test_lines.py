"""Reading a log over stops, rotations and cuts: every line once, in order, or a word that the place is gone."""

import gzip
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relays.lines import Lines, place_of


def write(path, *numbers, mode="a"):
    with path.open(mode) as file:
        file.writelines(f'{{"ts": {n}}}\n' for n in numbers)


def read(path, after=None, stop=None):
    """Numbers of lines, and the place after the last one that was taken."""
    lines = Lines(path, False, place_of(after))
    taken, place = [], after
    for line in lines:
        taken.append(int(line.data[7:-2]))
        place = line.place.text()
        if len(taken) == stop:
            break
    return taken, place, lines


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "conn.log"
    write(path, *range(10))
    return path


def test_it_goes_on_where_it_stopped(log):
    first, place, _ = read(log, stop=4)
    write(log, 10)
    rest, end, lines = read(log, place)
    assert first + rest == list(range(11)) and not lines.lost
    assert read(log, end)[0] == []


def test_a_file_that_was_rotated_is_read_to_its_end_and_then_the_new_one(log):
    _, place, _ = read(log, stop=4)
    write(log, 10)
    log.rename(log.with_name("conn.log.1"))
    write(log, 11, 12)
    assert read(log, place)[0] == [4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_rotated_twice_while_nobody_read(log):
    _, place, _ = read(log, stop=4)
    log.rename(log.with_name("conn.log.2"))
    os.utime(log.with_name("conn.log.2"), ns=(1, 1))
    write(log, 10)
    log.rename(log.with_name("conn.log.1"))
    os.utime(log.with_name("conn.log.1"), ns=(2, 2))
    write(log, 11)
    lines = Lines(log, False, place_of(place))
    assert lines.count() == 8
    assert read(log, place)[0] == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_copy_that_was_cut_short_behind_it(log):
    """logrotate's copytruncate: another inode has the old lines, the old inode has the new ones."""
    _, place, _ = read(log, stop=4)
    shutil.copy(log, log.with_name("conn.log.1"))
    write(log, 20, mode="w")
    assert read(log, place)[0] == [4, 5, 6, 7, 8, 9, 20]


def test_a_place_that_is_gone_is_said_to_be(log):
    _, place, _ = read(log, stop=4)
    with gzip.open(log.with_name("conn.log.1.gz"), "wb") as packed:
        packed.write(log.read_bytes())
    write(log, 30, 31, mode="w")
    numbers, _, lines = read(log, place)
    assert lines.lost and numbers == [30, 31]


def test_a_file_in_between_that_was_compressed_is_named(log):
    _, place, _ = read(log, stop=4)
    log.rename(log.with_name("conn.log.2"))
    os.utime(log.with_name("conn.log.2"), ns=(1, 1))
    with gzip.open(log.with_name("conn.log.1.gz"), "wb") as packed:
        packed.write(b'{"ts": 10}')
    write(log, 11)
    numbers, _, lines = read(log, place)
    assert numbers == [4, 5, 6, 7, 8, 9, 11] and lines.unread == ["conn.log.1.gz"] and not lines.lost


@pytest.mark.parametrize("text", [None, "", "nonsense", "1 2", "1 2 3 4 5 6", "a b c d e"])
def test_a_position_that_cannot_be_read_is_none(text):
    assert place_of(text) is None


def test_a_last_line_without_an_end_is_a_line_when_nobody_follows(log):
    with log.open("a") as file:
        file.write('{"ts": 10}')
    assert [line.data for line in Lines(log, False)][-1] == b'{"ts": 10}'


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.booleans()), max_size=8))
def test_every_line_once_whatever_happens_between_two_readings(tmp_path_factory, story):
    """Some lines are written, some read, and perhaps the file is rotated: again and again."""
    log = tmp_path_factory.mktemp("log") / "a.log"
    log.touch()
    written, taken, place, rotations = 0, [], None, 0
    for more, some, rotate in [*story, (1, 10_000, False)]:
        write(log, *range(written, written + more))
        written += more
        if some:
            numbers, place, lines = read(log, place, stop=some)
            assert not lines.lost
            taken += numbers
        if rotate and log.stat().st_size:
            rotations += 1
            log.rename(log.with_name(f"a.log.{rotations}"))
            os.utime(log.with_name(f"a.log.{rotations}"), ns=(rotations, rotations))
            log.touch()
        if place is None and rotate:
            return  # nothing was read before the rotation: there is no place to begin at
    assert taken == list(range(written))
