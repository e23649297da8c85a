"""Reading a log over stops, rotations and cuts: every line once, in order, or a word that a part of it is gone."""

import bz2
import gzip
import lzma
import os
import shutil
import zlib

import pytest

from fabric.protocol.base.errors import Code
from relays.reading import Gap, Lines, place_of
from relays.reading.lines import LINGER_S, QUIET_S

PAST_NS = 1_790_000_000 * 10**9


def write(path, *numbers, mode="a", end="\n"):
    with path.open(mode) as file:
        file.write("\n".join(f'{{"ts": {n}}}' for n in numbers) + end)


def age(path, seconds):
    """Last written to at this second of the story."""
    os.utime(path, ns=(PAST_NS + int(seconds * 10**9),) * 2)


class Clock:
    """Waiting does what was planned for then, and takes no time."""

    def __init__(self):
        self.now, self.plan = 0.0, []

    def at(self, seconds, *deed):
        self.plan = sorted([*self.plan, (seconds, len(self.plan), deed)])

    def now_s(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        while self.plan and self.plan[0][0] <= self.now:
            function, *arguments = self.plan.pop(0)[2]
            function(*arguments)


class Taken:
    """What was read: numbers of lines, what was no line of ours, gaps, and the place after the last line."""

    def __init__(self, path, after=None, stop=None, follow_s=None):
        self.numbers, self.other, self.gaps, self.place = [], [], [], after
        self.clock = Clock()
        self.path, self.stop, self.follow_s = path, stop, follow_s

    def read(self):
        lines = Lines(self.path, self.follow_s is not None, place_of(self.place), clock=self.clock)
        for line in lines:
            if self.follow_s is not None and self.clock.now > self.follow_s:
                break
            if isinstance(line, Gap):
                self.gaps.append(line)
            elif line.place is not None and line.data:
                text = line.data.decode()
                if text.startswith('{"ts": ') and text.endswith("}"):
                    self.numbers.append(int(text[7:-1]))
                    self.place = line.place.text()
                else:
                    self.other.append(text)
            if self.stop is not None and len(self.numbers) == self.stop:
                break
        return self


def read(path, after=None, stop=None):
    return Taken(path, after, stop).read()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "conn.log"
    write(path, *range(10))
    age(path, 10)
    return path


def test_it_goes_on_where_it_stopped(log):
    first = read(log, stop=4)
    write(log, 10)
    rest = read(log, first.place)
    assert first.numbers + rest.numbers == list(range(11)) and not rest.gaps
    assert read(log, rest.place).numbers == []


def test_a_file_that_was_rotated_is_read_to_its_end_and_then_the_new_one(log):
    place = read(log, stop=4).place
    write(log, 10)
    log.rename(log.with_name("conn.log.1"))
    write(log, 11, 12)
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_rotated_twice_while_nobody_read(log):
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.2"))
    write(log, 10)
    log.rename(log.with_name("conn.log.1"))
    age(log.with_name("conn.log.1"), 20)
    write(log, 11)
    assert Lines(log, False, place_of(place)).total() == 8
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_copy_that_was_cut_short_behind_it(log):
    """logrotate's copytruncate: another inode has the old lines, the old inode has the new ones."""
    place = read(log, stop=4).place
    shutil.copy(log, log.with_name("conn.log.1"))
    write(log, 20, mode="w")
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 20]


@pytest.mark.parametrize("grown", [1, 30])
def test_a_file_that_was_cut_short_and_grew_past_the_old_place(log, grown):
    place = read(log).place
    shutil.copy(log, log.with_name("conn.log.1"))
    write(log, *range(100, 100 + grown), mode="w")
    taken = read(log, place)
    assert taken.numbers == list(range(100, 100 + grown)) and not taken.gaps


def test_it_grew_past_the_old_place_with_the_same_beginning(tmp_path):
    """The head alone does not tell: what precedes the place does."""
    log = tmp_path / "app.log"
    log.write_text('{"format": "' + "x" * 2_000 + '"}\n')
    write(log, 1, 2, 3)
    place = read(log).place
    shutil.copy(log, tmp_path / "app.log.1")
    write(log, 4, mode="a")
    log.write_text('{"format": "' + "x" * 2_000 + '"}\n')
    write(log, 11, 12, 13, 14, 15)
    assert read(log, place).numbers == [11, 12, 13, 14, 15]


@pytest.mark.parametrize(("pack", "ending"), [(gzip, "gz"), (bz2, "bz2"), (lzma, "xz")])
def test_the_place_is_in_a_file_that_was_compressed(log, pack, ending):
    place = read(log, stop=4).place
    with pack.open(log.with_name(f"conn.log.1.{ending}"), "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()
    write(log, 30, 31, mode="w")
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 30, 31]


def test_a_file_in_between_was_compressed(log):
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.2"))
    with gzip.open(log.with_name("conn.log.1.gz"), "wb") as packed:
        packed.write(b'{"ts": 10}')
    age(log.with_name("conn.log.1.gz"), 20)
    write(log, 11)
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_file_in_between_that_cannot_be_read_is_named_with_its_size(log):
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.2"))
    log.with_name("conn.log.1.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(96))
    age(log.with_name("conn.log.1.zst"), 20)
    write(log, 11)
    taken = read(log, place)
    assert taken.numbers == [4, 5, 6, 7, 8, 9, 11]
    (gap,) = taken.gaps
    assert (gap.file, gap.bytes_known) == ("conn.log.1.zst", 100) and "zstd" in gap.reason
    assert gap.error.code is Code.LINES_LOST and "100 bytes at least" in gap.error.detail


def test_a_damaged_compressed_file_is_read_up_to_the_damage_and_said_to_be(log):
    place = read(log, stop=4).place
    data = gzip.compress(log.read_bytes() + b"".join(b'{"ts": %d}\n' % n for n in range(10, 60_000)), 0)
    log.with_name("conn.log.1.gz").write_bytes(data[: len(data) // 2])
    log.unlink()
    write(log, 99_999)
    taken = read(log, place)
    assert taken.numbers[:3] == [4, 5, 6] and taken.numbers[-1] == 99_999 and 20_000 < len(taken.numbers) < 40_000
    assert [gap.file for gap in taken.gaps] == ["conn.log.1.gz"] and "damaged" in taken.gaps[0].reason


def test_a_compressed_file_beside_its_original_is_not_read_twice(log):
    """The moment in which gzip has written all and deleted nothing yet, or has written half."""
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.2"))
    write(log, 10, 11)
    log.rename(log.with_name("conn.log.1"))
    age(log.with_name("conn.log.1"), 20)
    for name, share in (("conn.log.2", 1), ("conn.log.1", 2)):
        data = gzip.compress(log.with_name(name).read_bytes())
        log.with_name(f"{name}.gz").write_bytes(data[: len(data) // share])
    write(log, 12)
    taken = read(log, place)
    assert taken.numbers == [4, 5, 6, 7, 8, 9, 10, 11, 12] and not taken.gaps


def test_a_place_that_is_gone_is_said_with_what_is_known_of_it(log):
    place = read(log, stop=4).place
    size = log.stat().st_size
    log.unlink()
    write(log, 30, 31, mode="w")
    taken = read(log, place)
    assert taken.numbers == [30, 31]
    (gap,) = taken.gaps
    assert (gap.file, gap.line, gap.offset) == ("conn.log", 4, 40) and gap.bytes_known == size - 40
    assert str(gap.error) == (
        "E923 lines of a file could not be found again: conn.log after line 4 (byte 40), 60 bytes at least: "
        "it was not found again: what was written to it later is missing"
    )
    assert read(log, taken.place).gaps == []


def test_what_came_after_a_place_that_is_gone_is_read_all_the_same(log):
    place = read(log, stop=4).place
    log.unlink()
    for number, name in enumerate(("conn.log.2", "conn.log.1", "conn.log")):
        write(log.with_name(name), 20 + number)
        age(log.with_name(name), 20 + 5 * number)
    taken = read(log, place)
    assert taken.numbers == [20, 21, 22] and len(taken.gaps) == 1


def test_the_inode_of_the_file_that_was_deleted_is_given_to_the_next(log):
    place = read(log).place
    inode = log.stat().st_ino
    log.unlink()
    write(log, *range(100, 130))
    if log.stat().st_ino != inode:
        log.write_text(log.read_text())
        place = place.replace(str(inode), str(log.stat().st_ino))
    assert read(log, place).numbers == list(range(100, 130))


@pytest.mark.parametrize("kept_by", ["conn-26-11-28_05.00.00.log", "../2026-11-28/conn.05:00:00-06:00:00.log.gz"])
def test_zeeks_own_names(tmp_path, kept_by):
    (tmp_path / "current").mkdir()
    (tmp_path / "2026-11-28").mkdir()
    log = tmp_path / "current" / "conn.log"
    write(log, 1, 2, 3)
    write(log.with_name("conn-summary.log"), 999)
    place = read(log, stop=1).place
    old = log.parent / kept_by
    old.write_bytes(gzip.compress(log.read_bytes()) if old.suffix == ".gz" else log.read_bytes())
    log.unlink()
    assert read(log, place).numbers == [2, 3], "Zeek makes its next file when there is something to write"
    write(log, 4)
    taken = read(log, place)
    assert taken.numbers == [2, 3, 4] and not taken.gaps


def test_a_name_with_brackets(tmp_path):
    log = tmp_path / "app[prod].log"
    write(log, 1, 2, 3)
    place = read(log, stop=1).place
    log.rename(tmp_path / "app[prod].log.1")
    write(log, 4)
    write(tmp_path / "appp.log.1", 999)
    taken = read(log, place)
    assert taken.numbers == [2, 3, 4] and not taken.gaps


def test_a_link_that_moved_more_than_once_between_runs(tmp_path):
    link = tmp_path / "current.log"
    for day in (1, 2, 3):
        target = tmp_path / f"app-2026-11-0{day}.log"
        write(target, day * 10, day * 10 + 1)
        age(target, day * 100)
        if day == 1:
            link.symlink_to(target.name)
            place = read(link, stop=1).place
    link.unlink()
    link.symlink_to("app-2026-11-03.log")
    write(tmp_path / "web-2026-11-02.log", 999)
    assert read(link, place).numbers == [11, 20, 21, 30, 31]


def test_files_from_before_reading_began_are_not_taken_for_later_ones(tmp_path):
    """Zeek's archive compresses after the rotation: that makes an old file look new."""
    log = tmp_path / "conn.log"
    (tmp_path / "2026-11-28").mkdir()
    archived = tmp_path / "2026-11-28" / "conn.04:00:00-05:00:00.log"
    write(archived, 1, 2)
    write(log, 3, 4)
    age(log, 10)
    place = read(log, stop=1).place
    (tmp_path / "2026-11-28" / f"{archived.name}.gz").write_bytes(gzip.compress(archived.read_bytes()))
    archived.unlink()
    log.rename(tmp_path / "conn-26-11-28_05.00.00.log")
    write(log, 5)
    assert read(log, place).numbers == [4, 5]


def test_a_position_of_before_there_were_marks_goes_on(log):
    head = log.read_bytes()[:40]
    log.rename(log.with_name("conn.log.1"))
    write(log, 10)
    place = f"{log.with_name('conn.log.1').stat().st_ino} 40 4 40 {zlib.crc32(head)}"
    assert read(log, place).numbers == [4, 5, 6, 7, 8, 9, 10]


def test_a_last_line_without_an_end_is_a_line(log):
    write(log, 10, end="")
    assert read(log).numbers == list(range(11))


def test_a_part_of_a_last_line_is_named_and_read_again_when_it_is_whole(log):
    write(log, 10, end='\n{"ts":')
    first = read(log)
    assert first.numbers == list(range(11)) and first.other == ['{"ts":']
    with log.open("a") as file:
        file.write(" 11}\n")
    assert read(log, first.place).numbers == [11]


def test_a_line_that_was_torn_by_copytruncate_is_put_together(log):
    place = read(log, stop=4).place
    write(log, 10, end='\n{"ts":')
    shutil.copy(log, log.with_name("conn.log.1"))
    log.write_text(' 11}\n{"ts": 12}\n')
    taken = read(log, place)
    assert taken.numbers == [4, 5, 6, 7, 8, 9, 10, 11, 12] and not taken.other


# -- following ------------------------------------------------------------------------------------------


def follow(log, seconds=20, after=None):
    return Taken(log, after, follow_s=seconds)


def test_the_writer_stays_on_the_old_file_for_a_second(log):
    """logrotate's `create`: the new file is there at once, the writer's signal comes later."""
    taken, old = follow(log), log.with_name("conn.log.1")
    taken.clock.at(1.0, log.rename, old)
    taken.clock.at(1.0, log.touch)
    for tenth in range(1, 10):
        taken.clock.at(1.0 + tenth / 10, write, old, 100 + tenth)
    taken.clock.at(2.0, write, log, 200)
    assert taken.read().numbers == [*range(10), *range(101, 110), 200] and not taken.gaps


def test_a_writer_that_stays_longer_is_heard_late_and_not_lost(log):
    taken, old = follow(log, LINGER_S), log.with_name("conn.log.1")
    taken.clock.at(1.0, log.rename, old)
    taken.clock.at(1.0, write, log, 200)
    taken.clock.at(1.0 + 5 * QUIET_S, write, old, 100)
    assert taken.read().numbers == [*range(10), 200, 100]


def test_a_writer_that_comes_back_after_the_reader_was_killed(log):
    first = follow(log)
    first.clock.at(1.0, log.rename, log.with_name("conn.log.1"))
    first.clock.at(1.0, write, log, 200)
    first.read()
    write(log.with_name("conn.log.1"), 100)
    assert read(log, first.place).numbers == [100]


def test_two_writers_do_not_keep_the_new_file_waiting(log):
    taken, old = follow(log, 40), log.with_name("conn.log.1")
    taken.clock.at(1.0, log.rename, old)
    for second in range(1, 39):
        taken.clock.at(second + 0.1, write, old, 100 + second)
        taken.clock.at(second + 0.2, write, log, 200 + second)
    taken.read()
    assert sorted(taken.numbers) == [*range(10), *range(101, 139), *range(201, 239)]
    assert taken.numbers.index(201) < taken.numbers.index(120)


def test_rotated_twice_between_two_looks(log):
    taken = follow(log)
    taken.clock.at(1.0, log.rename, log.with_name("conn.log.2"))
    taken.clock.at(1.0, write, log.with_name("conn.log.1"), 20, 21)
    taken.clock.at(1.0, write, log, 30)
    assert taken.read().numbers == [*range(10), 20, 21, 30]


def test_copytruncate_under_a_follower_that_had_not_read_all(log):
    def rotate():
        write(log, 10, 11)
        shutil.copy(log, log.with_name("conn.log.1"))
        write(log, *range(100, 140), mode="w")

    taken = follow(log)
    taken.clock.at(1.0, rotate)
    assert taken.read().numbers == [*range(12), *range(100, 140)] and not taken.gaps


def test_a_file_that_was_cut_short_without_a_copy_is_said_to_be(log):
    taken = follow(log)
    taken.clock.at(1.0, log.write_text, '{"ts": 100}\n')
    taken.read()
    assert taken.numbers == [*range(10), 100]
    assert [gap.line for gap in taken.gaps] == [10] and "cut short" in taken.gaps[0].reason


def test_the_last_line_of_a_finished_file_counts(log):
    taken = follow(log)

    def rotate():
        write(log, 10, end="")
        log.rename(log.with_name("conn.log.1"))
        write(log, 11)

    taken.clock.at(1.0, rotate)
    assert sorted(taken.read().numbers) == list(range(12))


def test_a_part_of_a_line_at_the_end_of_a_finished_file_is_named(log):
    taken = follow(log, 2 * LINGER_S)

    def rotate():
        write(log, 10, end='\n{"ts": 1')
        log.rename(log.with_name("conn.log.1"))
        write(log, 12)

    taken.clock.at(1.0, rotate)
    assert taken.read().numbers == [*range(11), 12] and taken.other == ['{"ts": 1']


def test_a_file_that_is_not_there_yet_is_awaited(tmp_path):
    taken = follow(tmp_path / "conn.log")
    taken.clock.at(3.0, write, tmp_path / "conn.log", 1, 2)
    assert taken.read().numbers == [1, 2]


def test_its_name_is_given_back_to_a_file(log):
    """Somebody renames the log and thinks better of it."""
    taken, away = follow(log), log.with_name("conn.log.1")
    taken.clock.at(1.0, log.rename, away)
    taken.clock.at(4.0, away.rename, log)
    taken.clock.at(5.0, write, log, 10)
    assert taken.read().numbers == list(range(11))


def test_a_finished_file_is_not_held_open(log):
    """The disk's space of a deleted log would stay taken."""
    taken = follow(log, 2 * LINGER_S)
    taken.clock.at(1.0, log.rename, log.with_name("conn.log.1"))
    taken.clock.at(1.0, write, log, 10)
    held = []

    def look():
        fds = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        held.extend(os.readlink(fd) for fd in fds if os.path.lexists(fd))

    taken.clock.at(1.5 * LINGER_S, look)
    taken.read()
    assert str(log) in held and str(log.with_name("conn.log.1")) not in held


def test_a_file_of_somebody_else_among_them_is_said_to_be_unreadable(log):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.2"))
    write(log.with_name("conn.log.1"), 10)
    log.with_name("conn.log.1").chmod(0)
    write(log, 11)
    taken = read(log, place)
    assert taken.numbers == [4, 5, 6, 7, 8, 9, 11] and [gap.reason for gap in taken.gaps] == ["it may not be read"]


@pytest.mark.parametrize("when", ["before it is opened", "before it is read"])
def test_a_log_that_is_copied_and_cut_short_just_when_it_is_begun(log, monkeypatch, when):
    """After the look at all files: what it held is in one that was not there then, a torn line in it included."""
    place = read(log, stop=4).place
    log.rename(log.with_name("conn.log.1"))
    log.write_bytes(b"".join(b'{"ts": %d}\n' % n for n in range(10, 16)) + b'{"ts"')
    opened = Lines._opened

    def cut_short(self, entry, mark):
        if entry.path != log or log.with_name("conn.log.2").exists():
            return opened(self, entry, mark)
        reading = opened(self, entry, mark) if when == "before it is read" else None
        log.with_name("conn.log.1").rename(log.with_name("conn.log.2"))
        shutil.copyfile(log, log.with_name("conn.log.1"))
        os.truncate(log, 0)
        with log.open("ab") as file:
            file.write(b": 16}\n")
        write(log, *range(17, 21))
        return reading or opened(self, entry, mark)

    monkeypatch.setattr(Lines, "_opened", cut_short)
    taken = Taken(log, place, follow_s=QUIET_S * 4).read()
    assert (taken.numbers, taken.other, taken.gaps) == (list(range(4, 21)), [], [])
