"""What the handler of an action leaves, and how its answer says so."""

import json
import os
import threading

import pytest
import structlog

from fabric.edge.acting.attachments import Attachments
from fabric.edge.artifacts.store import FREE_BYTES_MIN, Store
from fabric.edge.control import Control
from fabric.edge.handling.handlers import Answer, answer_of, failed
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ARTIFACT_BYTES, ARTIFACTS_MAX
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

SOAR = Authority("attachments").issue("soar-1", grants=EVERYTHING)
ACTION = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN)


@pytest.fixture
def begin(tmp_path):
    def one(bytes_max=1000 * ARTIFACT_BYTES, free=2 * FREE_BYTES_MIN):
        store = Store(tmp_path / "kept", structlog.get_logger(), bytes_max, free=lambda _path: free)
        return Attachments(store, ACTION, Label.AMBER, structlog.get_logger())

    return one


def names(answer):
    return [one.name for one in answer.artifacts]


def contents(tmp_path, answer):
    return [(tmp_path / "kept" / one.id).read_bytes() for one in answer.artifacts]


def test_files_and_bytes_by_name_and_label(begin, tmp_path):
    (tmp_path / "dump.pcap").write_bytes(b"packets")
    left = begin()
    control = Control(attachments=left)
    assert control.attach(str(tmp_path / "dump.pcap")) and control.attach(tmp_path / "dump.pcap", "other", "amber")
    assert control.attach(b"", "../../x") and control.attach(bytearray(b"abc"), label=Label.CLEAR)
    answer = left.close(Answer(), None)
    assert names(answer) == ["dump.pcap", "other", "x", "artifact"]
    assert contents(tmp_path, answer) == [b"packets", b"packets", b"", b"abc"]
    assert [one.label for one in answer.artifacts] == [Label.GREEN, Label.AMBER, Label.GREEN, Label.GREEN]
    assert (answer.end, answer.code, answer.reason) == (End.COMPLETED, None, "")
    said = answer.record("fw-1")["artifacts"][0]
    assert set(said) == {"id", "name", "bytes", "sha256", "label", "until"} and said["label"] == "green"


def test_a_file_of_the_kernel_that_says_it_is_empty_is_attached_with_what_is_in_it(begin, tmp_path):
    left = begin()
    assert left.attach("/proc/self/status") and left.attach("/proc/self/cmdline", "cmdline")
    (left.folder / "empty").write_bytes(b"")
    answer = left.close(Answer(), None)
    status, line, empty = contents(tmp_path, answer)
    assert status.startswith(b"Name:") and b"python" in line and empty == b""
    assert [one.bytes for one in answer.artifacts] == [len(status), len(line), 0]


def test_one_that_never_ends_is_none(begin, monkeypatch):
    monkeypatch.setattr("fabric.edge.acting.attachments._UNSIZED_BYTES_MAX", 10)
    with pytest.raises(FabricError, match="too large"):
        begin().attach("/proc/self/status")


@pytest.mark.parametrize(("source", "more", "code"), [
    (7, {}, Code.USAGE), (None, {}, Code.USAGE), (b"x", {"name": 7}, Code.USAGE),
    (b"x", {"label": "x"}, Code.BAD_LABEL), (b"x", {"label": 7}, Code.BAD_LABEL),
    (b"x", {"label": "red"}, Code.CLEARANCE_DENIED),
    ("/nowhere/at/all", {}, Code.BAD_INPUT), ("/", {}, Code.BAD_INPUT), ("/dev/null", {}, Code.BAD_INPUT),
])  # fmt: skip
def test_what_cannot_be_attached_is_the_handler_s_fault(begin, source, more, code):
    with pytest.raises(FabricError) as error:
        Control(attachments=begin()).attach(source, **more)
    assert error.value.code is code


def test_outside_of_a_handler_nothing_is_attached(begin):
    with pytest.raises(FabricError) as error:
        Control().attach(b"x")
    assert error.value.code is Code.USAGE
    left = begin()
    left.close(Answer(), None)
    for use in (lambda: left.attach(b"late"), lambda: left.folder):
        with pytest.raises(FabricError, match="the action has ended"):
            use()


def test_what_is_in_its_folder_is_attached_and_the_folder_is_gone(begin, tmp_path):
    left = begin()
    folder = left.folder
    assert left.folder == folder and folder.stat().st_mode & 0o777 == 0o700
    (folder / "b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    answer = left.close(Answer(result={"x": 1}), None)
    assert names(answer) == ["a.txt", "b.txt"] and contents(tmp_path, answer) == [b"a", b"b"]
    assert (answer.code, answer.result) == (Code.ARTIFACT_NOT_KEPT, {"x": 1})
    assert answer.reason == "fifo: no regular file, or not readable, and 2 more"
    assert not folder.exists()


@pytest.mark.parametrize("put", ["nothing", "link", "file"])
def test_what_its_handler_put_in_place_of_the_folder_is_not_looked_into(begin, tmp_path, put):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "shadow").write_text("secret")
    left = begin()
    folder = left.folder
    folder.rmdir()
    if put == "link":
        folder.symlink_to(tmp_path / "secrets")
    elif put == "file":
        folder.write_text("no folder")
    answer = left.close(Answer(), None)
    assert not answer.artifacts and (tmp_path / "secrets" / "shadow").exists() and not os.path.lexists(folder)
    assert answer.reason == ("" if put == "nothing" else "its folder is none any more")


def test_of_ten_thousand_files_the_first_are_kept_and_the_others_counted(begin):
    left = begin()
    for n in range(10_000):
        (left.folder / f"{n:05}").touch()
    assert left.attach(b"x", "first")
    answer = left.close(Answer(), None)
    assert names(answer)[:2] == ["first", "00000"] and len(answer.artifacts) == ARTIFACTS_MAX
    assert "left 9,937 more files" in answer.reason
    assert len(json.dumps(answer.record("fw-1"))) < 25_000, "beside a result at its largest"


def test_and_more_than_so_many_are_not_attached(begin):
    left = begin()
    assert [left.attach(b"", str(n)) for n in range(ARTIFACTS_MAX + 2)] == [True] * ARTIFACTS_MAX + [False] * 2
    assert left.close(Answer(), None).reason == f"{ARTIFACTS_MAX}: an action has {ARTIFACTS_MAX} at most, and 1 more"


@pytest.mark.parametrize(("options", "why"), [
    ({"bytes_max": 2 * ARTIFACT_BYTES}, "more than its requester has room for"), ({"free": 0}, "disk is short of room"),
])
def test_what_finds_no_room_is_said_and_the_end_is_what_it_was(begin, options, why):
    left = begin(**options)
    assert not left.attach(b"x" * 3 * ARTIFACT_BYTES, "dump\n" + "x" * 100)
    answer = left.close(Answer(result={"done": True}), None)
    assert (answer.end, answer.code, answer.result) == (End.COMPLETED, Code.ARTIFACT_NOT_KEPT, {"done": True})
    assert why in answer.reason and answer.reason.isprintable() and len(answer.reason) < 200
    other = begin(**options)
    other.attach(b"x" * 3 * ARTIFACT_BYTES)
    answer = other.close(failed(Code.HANDLER_FAILED), None)
    assert (answer.end, answer.code) == (End.FAILED, Code.HANDLER_FAILED) and why in answer.reason


def test_a_result_that_is_too_large_becomes_one(begin, tmp_path):
    result = {"small": 1, "large": "é" * 300_000}
    left = begin()
    answer = left.close(answer_of(result), result)
    assert (answer.code, answer.result, names(answer)) == (Code.RESULT_UNFIT, {"small": 1}, ["result.json"])
    assert answer.reason.startswith("large: with its ")
    assert answer.reason.endswith("all of it is the artifact result.json")
    assert json.loads(contents(tmp_path, answer)[0]) == result
    stated = Answer(End.FAILED, 500, result, label=Label.AMBER)
    left = begin()
    left.attach(b"", "result.json")
    answer = left.close(answer_of(stated), stated)
    assert (answer.end, names(answer), answer.artifacts[1].label) == (
        End.FAILED, ["result.json", "result-2.json"], Label.AMBER)


@pytest.mark.parametrize("wrong", [b"bytes", float("nan"), {1, 2}, object()])
def test_what_is_no_json_stays_unfit(begin, wrong):
    result = {"large": "x" * 300_000, "wrong": wrong}
    answer = begin().close(answer_of(result), result)
    assert answer.code is Code.RESULT_UNFIT and not answer.artifacts


def test_a_result_that_is_too_large_and_finds_no_room(begin):
    result = {"large": "x" * 300_000}
    answer = begin(free=0).close(answer_of(result), result)
    assert answer.code is Code.RESULT_UNFIT and answer.reason.startswith("large: ") and not answer.artifacts


def test_the_answer_is_told_whatever_the_disk_does(begin, tmp_path, monkeypatch):
    left = begin()
    left.attach(b"x", "a")
    monkeypatch.setattr(left._store, "keep", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    answer = left.close(Answer(result={"done": 1}), None)
    assert answer.result == {"done": 1} and "No space left" in answer.reason
    assert not list((tmp_path / "kept").iterdir())
    left = begin()
    assert left.folder
    monkeypatch.setattr(os, "scandir", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    answer = left.close(Answer(result={"done": 1}), None)
    assert answer.result == {"done": 1} and answer.code is Code.ARTIFACT_NOT_KEPT


def test_several_threads_of_a_handler_attach(begin):
    left = begin()
    threads = [threading.Thread(target=left.attach, args=[b"x", "same"]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(left.close(Answer(), None))) == ["same", *(f"same-{n}" for n in range(2, 9))]
