"""The kind `jsonlines`: each message is on disk once before it is acknowledged, whatever became of the file before."""

import errno
import gzip
import json
import os
import threading

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways import jsonlines, room
from relays.gateways.jsonlines import SINK, JsonLinesSettings, JsonLinesSink
from relays.gateways.kinds import Place
from relays.gateways.options import Options, checked
from tests.unit.gateways.support import Outtake, message


class Stage:
    def __init__(self, folder, **more):
        self.path, self.now_ms, self.folder = folder / "out" / "x.jsonl", 1_000_000, folder
        self.settings = JsonLinesSettings(self.path, **{
            "size_max": 10**9, "age_max_s": 10**6, "keep": 100, "gzip": True, **more,
        })

    def run(self, *groups, stop=None):
        outtake = Outtake(*groups)
        place = Place("siem", "archive", self.folder / "state", None)
        JsonLinesSink(self.settings, place, lambda: self.now_ms).run(outtake, stop or threading.Event())
        return outtake

    @property
    def rotated(self):
        return sorted(path for path in self.path.parent.iterdir() if path != self.path)

    @property
    def numbers(self):
        """Of all lines, the oldest first."""
        found = []
        for path in [*self.rotated, self.path]:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            found += [json.loads(line)["content"]["n"] for line in data.splitlines()]
        return found


def test_lines_are_as_subscribe_prints_them_with_labels_and_the_file_is_private(tmp_path):
    stage = Stage(tmp_path)
    assert stage.run([1, 2], [3]).acknowledged == [1, 2, 3]
    assert stage.numbers == [1, 2, 3] and stage.path.stat().st_mode & 0o777 == 0o600
    line = json.loads(stage.path.read_text().splitlines()[0])
    assert line == message(1).to_json() and line["labels"] == {"n": "amber"}


def test_what_comes_again_is_known_by_its_id_also_after_a_rotation(tmp_path):
    stage = Stage(tmp_path, size_max=4_096)
    for begin in range(0, 60, 10):
        stage.run(list(range(begin, begin + 15)))
    assert stage.numbers == list(range(65)) and len(stage.rotated) > 3
    assert all(path.suffix == ".gz" and path.stat().st_mode & 0o777 == 0o600 for path in stage.rotated)
    assert stage.path.stat().st_size <= 4_096


@pytest.mark.parametrize("torn", [b'{"id": "0000', b'{"id": "x"}', b"\xff"])
def test_a_last_line_that_was_torn_is_cut_and_comes_again(tmp_path, torn):
    stage = Stage(tmp_path)
    stage.run([1])
    with stage.path.open("ab") as file:
        file.write(torn)
    stage.run([1, 2])
    assert stage.numbers == [1, 2]


def test_a_file_that_is_one_torn_line_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonlines, "_CHUNK_BYTES", 8)
    stage = Stage(tmp_path)
    stage.run([1])
    whole = stage.path.read_bytes()
    stage.path.write_bytes(whole[:-1])
    stage.run([1])
    assert stage.path.read_bytes() == whole


def test_it_is_rotated_by_age_over_restarts_and_the_oldest_go(tmp_path):
    stage = Stage(tmp_path, age_max_s=60, keep=2, gzip=False)
    for number in range(8):
        stage.run([number])
        stage.now_ms += 40_000
    # Begun at 0, 80, 160 and 240 seconds; of three that were rotated two are kept.
    assert stage.numbers == [2, 3, 4, 5, 6, 7] and len(stage.rotated) == 2


def test_a_rotation_that_was_interrupted_is_finished(tmp_path):
    stage = Stage(tmp_path, size_max=1)
    stage.run([1], [2])
    (packed,) = stage.rotated
    plain = packed.with_suffix("")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))  # it was packed, and not removed
    stage.run()
    assert stage.rotated == [packed]
    packed.unlink()
    plain.write_bytes(b"{}\n")
    plain.chmod(0o600)
    (plain.parent / f".{packed.name}.{'0' * 16}.new").write_bytes(b"half")  # it was being packed
    stage.run()
    assert [path.name for path in stage.rotated] == [packed.name] and gzip.decompress(packed.read_bytes()) == b"{}\n"


def test_two_rotations_in_one_millisecond_have_two_names(tmp_path):
    stage = Stage(tmp_path, size_max=1)
    stage.run(*([number] for number in range(6)))
    assert stage.numbers == list(range(6)) and len(stage.rotated) == 5


def test_a_disk_that_is_full_is_waited_for_and_nothing_is_acknowledged_meanwhile(tmp_path, monkeypatch):
    stage, whole, tries = Stage(tmp_path), jsonlines.append_whole, []

    def append(descriptor, data, size):
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(descriptor, data, size)

    monkeypatch.setattr(jsonlines, "append_whole", append)
    monkeypatch.setattr(room, "_WAIT_S", 0.0)
    outtake = stage.run([1])
    assert stage.numbers == [1] and [why and "no space left" in why for why in outtake.waited] == [True, None]

    tries.clear()
    stop = threading.Event()
    stop.set()
    with pytest.raises(FabricError) as raised:
        stage.run([2], stop=stop)
    assert raised.value.code is Code.SINK_AWAY and stage.numbers == [1]


def test_what_a_disk_did_not_keep_is_not_acknowledged(tmp_path, monkeypatch):
    stage = Stage(tmp_path)
    stage.run([1])

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            stage.run([2])
    assert stage.run([2]).acknowledged == [2] and stage.numbers == [1, 2]


def test_a_file_that_somebody_moves_away_is_begun_anew(tmp_path):
    stage = Stage(tmp_path)

    class Moving(Outtake):
        def groups(self, records_max):
            yield [message(1)]
            stage.path.rename(tmp_path / "moved")
            yield [message(2)]

    JsonLinesSink(stage.settings, Place("s", "a", tmp_path / "state", None)).run(Moving(), threading.Event())
    assert stage.numbers == [2] and json.loads((tmp_path / "moved").read_text())["content"] == {"n": 1}


def test_what_no_json_can_hold_is_rejected_and_the_rest_written(tmp_path):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    outtake = Stage(tmp_path).run([1, message(2, {"deep": deep}), 3])
    assert outtake.rejected == [(f"{2:032x}.0", Code.BAD_BODY)]


def test_a_file_of_somebody_else_or_a_link_is_refused(tmp_path):
    stage = Stage(tmp_path)
    stage.path.parent.mkdir()
    stage.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FabricError) as raised:
        stage.run([1])
    assert raised.value.code is Code.NOT_PRIVATE


@pytest.mark.parametrize(
    ("said", "key"),
    [({}, "path"), ({"path": "x"}, "path"), ({"path": "/x/"}, "path"), ({"path": "/x", "max_size": "1B"}, "max_size"),
     ({"path": "/x", "keep": -1}, "keep"), ({"path": "/x", "gzip": "yes"}, "gzip"), ({"path": "/x", "z": 1}, "z")],
)
def test_what_cannot_be_declared_is_a_fault(said, key):
    options = Options(said)
    checked(SINK.read, options, [option.name for option in SINK.options])
    assert [fault.key for fault in options.faults] == [key]


def test_a_clock_that_was_set_back_removes_no_new_file_instead_of_an_old_one(tmp_path):
    stage = Stage(tmp_path, size_max=4_096, keep=2, gzip=False)
    big = [message(n, {"n": n, "text": "x" * 3_000}) for n in range(6)]
    stage.now_ms = 1_900_000_000_000
    stage.run([big[0]], [big[1]], [big[2]])
    stage.now_ms = 1_700_000_000_000
    stage.run([big[3]], [big[4]], [big[5]])
    kept = [json.loads(path.read_text())["content"]["n"] for path in sorted(stage.path.parent.iterdir())]
    assert sorted(kept) == [3, 4, 5] and json.loads(stage.path.read_text())["content"]["n"] == 5


def test_two_sinks_never_write_one_file(tmp_path):
    stage = Stage(tmp_path)
    stop = threading.Event()

    class Meanwhile(Outtake):
        def groups(self, records_max):
            with pytest.raises(FabricError) as raised:
                stage.run([2])
            assert raised.value.code is Code.SINK_AWAY and "another sink" in raised.value.detail
            yield [message(1)]

    JsonLinesSink(stage.settings, Place("siem", "other", tmp_path / "other", None)).run(Meanwhile(), stop)
    assert [json.loads(line)["content"]["n"] for line in stage.path.read_text().splitlines()] == [1]
    stage.run([2])
    assert len(stage.path.read_text().splitlines()) == 2


def test_a_file_that_somebody_emptied_gets_no_hole_when_the_disk_is_full_then(tmp_path, monkeypatch):
    stage, stop = Stage(tmp_path), threading.Event()

    def emptied(descriptor, data, size):
        if stage.path.stat().st_size == 0 and data:
            stop.set()
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, "No space left on device")
        append(descriptor, data, size)

    append = jsonlines.append_whole

    class Meanwhile(Outtake):
        def groups(self, records_max):
            yield [message(1)]
            os.truncate(stage.path, 0)
            monkeypatch.setattr(jsonlines, "append_whole", emptied)
            yield [message(2)]

    with pytest.raises(FabricError):
        JsonLinesSink(stage.settings, Place("siem", "archive", tmp_path / "state", None)).run(Meanwhile(), stop)
    assert stage.path.read_bytes() == b""
