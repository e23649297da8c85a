"""What makes a relay go: a file that can be read and is valid, and nothing else."""

import errno
import json
from pathlib import Path

import pytest

from relays.process.drain import DrainFile, Draining, end_draining, read_draining, write_draining


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "hq.drain"


def refuse(monkeypatch, number):
    def open_(self, *arguments, **named):
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "open", open_)


def test_a_file_says_that_a_relay_is_to_go_and_how_it_went(path):
    file = DrainFile(path)
    assert file.look() is None
    write_draining(path, Draining(5_000))
    assert file.look() == Draining(5_000) == read_draining(path)
    waiting = {"waits_for": {"archive-1": 2}, "actions": 2, "away": {"fw-1": 2, "fw-2": 1}}
    gone = Draining(gone=True, left=("zeek-1",), held=3, **waiting)
    write_draining(path, gone)
    assert file.look() == gone
    assert end_draining(path) and file.look() is None and file.problem == "" and not end_draining(path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ENOSPC, errno.ENOMEM])
def test_a_machine_that_cannot_read_it_drains_nobody_and_brings_nobody_back(path, monkeypatch, number):
    never, told = DrainFile(path), DrainFile(path)
    write_draining(path, Draining(5_000))
    told.look()
    refuse(monkeypatch, number)
    assert never.look() is None and read_draining(path) is None
    assert told.look() == Draining(5_000)
    assert never.problem == told.problem == errno.errorcode[number]
    monkeypatch.undo()
    assert never.look() == Draining(5_000) and never.problem == ""


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"within_ms": "soon"}', b"[" * 100_000,
    b'{"within_ms": 5, "gone": true, "left": 7, "held": 0}',
    b'{"within_ms": 5, "gone": true, "left": [], "held": 0, "waits_for": ["archive-1"]}',
    b'{"within_ms": 5, "gone": true, "left": [], "held": 0, "away": {"fw-1": []}}',
    json.dumps({"within_ms": 5}).encode(),
])
def test_a_file_that_says_nothing_valid_drains_nobody(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    file = DrainFile(path)
    assert file.look() is None and file.problem == "not valid"


def test_no_file_keeps_a_relay_going_for_ever(path):
    write_draining(path, Draining(10**15))
    assert DrainFile(path).look().within_ms == 86_400_000
