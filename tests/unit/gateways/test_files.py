"""The kind `file`: which files a path stands for, and that each line of them is taken once."""

import gzip
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.files import SOURCE
from relays.gateways.files.finding import Files, bases_of, why_not
from relays.gateways.files.owners import Owners
from relays.gateways.files.reader import FileReader, record_of
from relays.gateways.files.source import OPEN_MAX, QUIET_S, FileSettings, FileSource
from relays.gateways.kinds import Place
from relays.gateways.options import Options, checked
from tests.unit.gateways.support import TestIntake


class Clock:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


class Stage:
    """A source that is looked at turn by turn; its clock goes on by as much as is said."""

    def __init__(self, folder, path, text=False):
        self.folder, self.intake, self.clock = folder, TestIntake(), Clock()
        self.settings = FileSettings(path, text)
        self.begin()

    def begin(self):
        """As after kill -9: nothing is known but what the intake has."""
        self.source = FileSource(self.settings, Place("z", "logs", self.folder / "state", None), self.clock)

    def turns(self, seconds=2.5):
        self.clock.s += seconds
        for _ in range(20):
            self.source.turn(self.intake)

    @property
    def numbers(self):
        return [record["n"] for record in self.intake.records]


class Nobody:
    """A reader that read other files."""

    since_ns = None
    inodes = ()

    def recognises(self, entry):
        return False

    def passed(self, entry):
        return True


def write(path, numbers):
    with path.open("a") as file:
        file.writelines(f'{{"n": {n}}}\n' for n in numbers)


def found(path, known=()):
    if Files(path).is_single:
        return [Path(path).name]
    owners = Owners(lambda each: Nobody() if each.name in known else None)
    return [each.name for each in owners.own(Files(path).found(lambda each: each.name in known))]


def test_a_pattern_and_a_folder_stand_for_files_and_not_for_what_they_were_before(tmp_path):
    for name in ("b.log", "a.log", "a.log.1", "a-26-11-28_05.00.00.log", "a.log-20261128.gz", ".b.log.swp", "c.txt"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "sub.log").mkdir()
    os.utime(tmp_path / "b.log", (0, 0))
    assert found(f"{tmp_path}/") == ["b.log", "a.log", "c.txt"], "the oldest first"
    assert found(f"{tmp_path}/*.log") == ["b.log", "a.log"]
    (tmp_path / "a.log").unlink()
    assert found(f"{tmp_path}/a*", known={"a.log"}) == [], "it is between two names"
    assert found(f"{tmp_path}/app.log") == ["app.log"], "one file is itself, also before it is there"


@pytest.mark.parametrize(
    ("name", "base"),
    [("conn.log.1", "conn.log"), ("conn.log.2.gz", "conn.log"), ("conn.log-20261128", "conn.log"),
     ("conn-26-11-28_05.00.00.log", "conn.log"), ("conn.log.gz", "conn.log"), ("conn.log.old", "conn.log")],
)
def test_names_of_rotated_files_lead_to_what_they_were(name, base):
    assert base in bases_of(name)
    assert not [each for each in bases_of(base) if each == name]


@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=30))
def test_whatever_a_file_is_called_its_bases_are_others(name):
    assert name not in bases_of(name)


def test_why_a_file_cannot_be_read_is_said_with_what_to_do(tmp_path):
    assert "no such file" in why_not(tmp_path / "x").detail
    assert f'path = "{tmp_path}/"' in why_not(tmp_path).next_step
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file" in why_not(tmp_path / "fifo").detail
    (tmp_path / "file").touch()
    assert why_not(tmp_path / "file") is None and why_not(tmp_path / "file" / "x").code is Code.SOURCE_AWAY
    assert Files(f"{tmp_path}/*.log").why_not() is None
    assert "no such folder" in Files(f"{tmp_path}/none/*.log").why_not().detail


def test_lines_become_records_with_where_they_stand_and_bad_ones_are_rejected(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b'{"n": 1}\n\nbad\n[1]\n{"n": 2}\n{"n": NaN}\n\xff\n{"n": 3}')
    stage = Stage(tmp_path, str(log))
    stage.turns()
    assert stage.numbers == [1, 2] and stage.intake.wheres == [f"{log}:1", f"{log}:5"]
    assert [(raw, where.rpartition(":")[2]) for raw, _, where in stage.intake.rejected] == [
        (b"bad", "3"), (b"[1]", "4"), (b'{"n": NaN}', "6"), (b"\xff", "7"),
    ]
    log.write_bytes(log.read_bytes() + b"\n")
    stage.begin()
    stage.turns()
    assert stage.numbers == [1, 2, 3] and len(stage.intake.rejected) == 4, "nothing is read again, bad lines neither"


def test_lines_of_text_become_messages_whatever_is_in_them(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b'one\r\n{"n": 1}\n\xff\x00\n')
    stage = Stage(tmp_path, str(log), text=True)
    stage.turns()
    assert [record["message"] for record in stage.intake.records][1:] == ['{"n": 1}', "\\xff\0"]
    assert record_of(b"x", True) == {"message": "x"}
    with pytest.raises(FabricError):
        record_of(b"x", False)


@pytest.mark.parametrize("killed", [False, True])
def test_each_line_is_taken_once_over_rotations_by_rename_copy_and_gzip(tmp_path, killed):
    log = tmp_path / "x.log"
    stage = Stage(tmp_path, str(log))
    stage.turns()
    assert stage.intake.waited == [f"{log}: there is no such file"]
    write(log, range(10))
    stage.turns()
    assert stage.intake.waited[-1] is None
    log.rename(tmp_path / "x.log.1")
    write(log, range(10, 20))
    if killed:
        stage.begin()
    stage.turns()
    stage.turns()
    (tmp_path / "x.log.2.gz").write_bytes(gzip.compress((tmp_path / "x.log.1").read_bytes()))
    (tmp_path / "x.log.1").write_bytes(log.read_bytes())
    log.write_bytes(b"")
    write(log, range(20, 30))
    if killed:
        stage.begin()
    for _ in range(4):
        stage.turns()
    assert stage.numbers == list(range(30)) and stage.intake.gone == [] and stage.intake.rejected == []


def test_each_file_of_a_folder_has_a_place_of_its_own_and_new_ones_are_found(tmp_path):
    stage = Stage(tmp_path, f"{tmp_path}/logs/")
    stage.turns()
    assert "no such folder" in stage.intake.waited[-1]
    (tmp_path / "logs").mkdir()
    write(tmp_path / "logs" / "a.log", [1])
    stage.turns()
    write(tmp_path / "logs" / "b.log", [2])
    write(tmp_path / "logs" / "a.log", [3])
    stage.turns()
    stage.begin()
    write(tmp_path / "logs" / "b.log", [4])
    stage.turns()
    assert sorted(stage.numbers) == [1, 2, 3, 4] and len(stage.intake.positions) == 2


def test_of_many_files_those_that_are_quiet_make_way_and_are_read_on_later(tmp_path):
    stage = Stage(tmp_path, f"{tmp_path}/*.log")
    names = [tmp_path / f"{n:03}.log" for n in range(OPEN_MAX + 10)]
    for number, name in enumerate(names):
        write(name, [number])
    for _ in range(4):
        stage.turns(QUIET_S)
    assert sorted(stage.numbers) == list(range(len(names)))
    assert sum(reader.is_open for reader in stage.source._by_path.values()) <= OPEN_MAX
    write(names[0], [1_000])
    stage.turns()
    assert stage.numbers[-1] == 1_000


def test_a_file_that_is_replaced_by_a_folder_or_may_not_be_read_is_waited_for(tmp_path, monkeypatch):
    log = tmp_path / "x.log"
    write(log, [1])
    stage = Stage(tmp_path, str(log))
    stage.turns()
    log.rename(tmp_path / "kept")
    log.mkdir()
    stage.turns()
    assert "is a folder" in stage.intake.waited[-1]
    log.rmdir()
    (tmp_path / "kept").rename(log)
    write(log, [2])
    some = FileReader.some

    def denied(self, intake):
        self.close()
        raise PermissionError(13, "Permission denied", str(self.path))

    monkeypatch.setattr(FileReader, "some", denied)
    stage.turns()
    monkeypatch.setattr(FileReader, "some", some)
    stage.turns()
    stage.turns()
    assert stage.numbers == [1, 2]


def test_it_ends_when_it_is_told_and_where_nothing_is_taken_any_more(tmp_path):
    write(tmp_path / "x.log", range(3))
    stage, stop = Stage(tmp_path, str(tmp_path / "x.log")), threading.Event()
    stop.set()
    stage.source.run(stage.intake, stop)
    stage.intake.taken_max = 1
    with pytest.raises(FabricError):
        stage.source.run(stage.intake, threading.Event())
    assert stage.numbers == [0] and not any(reader.is_open for reader in stage.source._by_path.values())


@pytest.mark.parametrize(
    ("said", "key", "words"),
    [({}, "path", "missing"), ({"path": "x.log"}, "path", "depends on where"), ({"path": 7}, "path", "text"),
     ({"path": "/x", "format": "xml"}, "format", "not known"), ({"path": "/x", "pth": 1}, "pth", "no key")],
)
def test_what_cannot_be_declared_is_a_fault(said, key, words):
    options = Options(said)
    checked(SOURCE.read, options, [option.name for option in SOURCE.options])
    assert [fault.key for fault in options.faults] == [key] and words in options.faults[0].cause


def test_what_is_declared_is_read_as_it_is_written():
    settings = SOURCE.read(Options({"path": "/var/log/app/", "format": "text"}))
    assert settings == FileSettings("/var/log/app/", True) and SOURCE.claims(settings) == ("path /var/log/app/",)
    assert SOURCE.parse(settings, b"a") == {"message": "a"} and isinstance(Path(settings.path), Path)


def test_a_pattern_finds_folders_in_folders_and_a_name_with_brackets_and_each_file_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.log", "a/y.log", "a/b/x.log", "a/w[1].log"):
        write(tmp_path / name, [1])
        os.utime(tmp_path / name, (1, 1))
    assert sorted(found(f"{tmp_path}/**/*.log")) == ["w[1].log", "x.log", "y.log", "z.log"]
    assert found(f"{tmp_path}/a/w[1].log") == ["w[1].log"]
    (tmp_path / "first.log").symlink_to(tmp_path / "z.log")
    assert found(f"{tmp_path}/") == ["z.log"], "a link is no other file"
    assert found(f"{tmp_path}/", known={"first.log"}) == ["first.log"], "the name under which its place is kept stays"


def test_text_of_other_systems_has_no_end_of_line_in_it():
    assert record_of(b"a\rb\r", True) == {"message": "a\rb"}


def test_from_the_end_only_what_comes_is_read_also_by_the_next_run(tmp_path):
    write(tmp_path / "a.log", [1, 2])
    with (tmp_path / "a.log").open("a") as file:
        file.write('{"n": ')
    stage = Stage(tmp_path, f"{tmp_path}/*.log")
    stage.settings = stage.settings._replace(from_end=True)
    stage.begin()
    stage.turns()
    assert stage.numbers == []
    with (tmp_path / "a.log").open("a") as file:
        file.write("3}\n")
    write(tmp_path / "b.log", [4])
    stage.turns()
    assert sorted(stage.numbers) == [3, 4] and sorted(stage.intake.wheres)[0].endswith("a.log:3")
    write(tmp_path / "c.log", [5])
    stage.begin()
    stage.turns()
    assert sorted(stage.numbers) == [3, 4, 5], "what came while it was away is read"


def test_from_the_end_of_a_file_that_cannot_be_read_yet(tmp_path, monkeypatch):
    for name in ("a.log", "b.log"):
        write(tmp_path / name, [1])
    stage = Stage(tmp_path, f"{tmp_path}/*.log")
    stage.settings = stage.settings._replace(from_end=True)
    stage.begin()
    skip, locked = FileReader.skip, {"a.log"}

    def locked_skip(self, intake):
        if self.path.name in locked:
            raise PermissionError(13, "Permission denied")
        skip(self, intake)

    monkeypatch.setattr(FileReader, "skip", locked_skip)
    stage.turns()
    write(tmp_path / "b.log", [2])
    write(tmp_path / "c.log", [3])
    stage.turns()
    assert sorted(stage.numbers) == [2, 3], "it hinders no other, and what comes meanwhile is read"
    locked.clear()
    stage.turns()
    write(tmp_path / "a.log", [4])
    stage.turns()
    assert sorted(stage.numbers) == [2, 3, 4]


def test_what_another_program_writes_under_the_name_of_a_rotation_is_read(tmp_path):
    """Both are written to; or the other one came while the log was not rotated."""
    for name in ("worker.log", "worker-1.log"):
        write(tmp_path / name, [1 if name == "worker.log" else 2])
    os.utime(tmp_path / "worker-1.log", (1, 1))
    stage = Stage(tmp_path, f"{tmp_path}/*.log")
    stage.turns()
    assert stage.numbers == [1] and stage.intake.files_left_out == 1
    assert "worker-1.log" in stage.intake.notes[0] and len(stage.intake.notes) == 1
    write(tmp_path / "worker-1.log", [3])
    write(tmp_path / "worker-2.log", [4])
    stage.turns()
    stage.turns()
    assert sorted(stage.numbers) == [1, 2, 3, 4] and stage.intake.files_left_out == 0
    for number in (5, 10):
        for name in ("worker.log", "worker-1.log", "worker-2.log"):
            (tmp_path / name).rename(tmp_path / f"{name}.{number}")
            write(tmp_path / name, [number])
            number += 1
            write(tmp_path / name, [number])
            number += 1
        stage.turns()
        stage.turns()
        stage.begin()
        stage.turns()
    assert sorted(stage.numbers) == [1, 2, 3, 4, *range(5, 11), *range(10, 16)] and stage.intake.gone == []


def test_a_file_that_is_newer_than_the_log_is_not_from_before_it(tmp_path):
    write(tmp_path / "app.log", [1])
    os.utime(tmp_path / "app.log", (1, 1))
    write(tmp_path / "app-1.log", [2])
    stage = Stage(tmp_path, f"{tmp_path}/")
    stage.turns()
    assert sorted(stage.numbers) == [1, 2] and stage.intake.notes == []


@pytest.mark.parametrize("killed", [False, True])
def test_a_log_that_comes_after_what_bears_the_name_of_its_rotation_does_not_read_that(tmp_path, killed):
    write(tmp_path / "app-1.log", [1])
    stage = Stage(tmp_path, f"{tmp_path}/*.log")
    stage.turns()
    write(tmp_path / "app.log", [2])
    stage.turns()
    write(tmp_path / "app-1.log", [3])
    (tmp_path / "app.log").rename(tmp_path / "app-2.log")
    write(tmp_path / "app.log", [4])
    if killed:
        stage.begin()
    for _ in range(3):
        stage.turns()
    write(tmp_path / "app-1.log", [5])
    write(tmp_path / "app-2.log", [6])
    (tmp_path / "app.log").rename(tmp_path / "app-3.log")
    write(tmp_path / "app.log", [7])
    for _ in range(40):
        stage.turns()
    assert sorted(stage.numbers) == [1, 2, 3, 4, 5, 6, 7]


def test_a_name_that_a_rotation_takes_over_is_not_read_twice(tmp_path):
    write(tmp_path / "app.log.1", [1])
    stage = Stage(tmp_path, f"{tmp_path}/")
    stage.turns()
    write(tmp_path / "app.log", [2])
    stage.turns()
    (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    write(tmp_path / "app.log", [3])
    for _ in range(10):
        stage.turns()
    stage.begin()
    for _ in range(10):
        stage.turns()
    assert sorted(stage.numbers) == [1, 2, 3]


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_of_a_folder_that_is_given_another_name_is_not_read_again(tmp_path, killed):
    write(tmp_path / "app.log", [1])
    stage = Stage(tmp_path, f"{tmp_path}/")
    stage.turns()
    (tmp_path / "app.log").rename(tmp_path / "saved.log")
    if killed:
        stage.begin()
    else:
        stage.turns()
    write(tmp_path / "app.log", [2])
    for _ in range(3):
        stage.turns()
    assert stage.numbers == [1, 2]
