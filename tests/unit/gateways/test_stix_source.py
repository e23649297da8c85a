"""The kind `stix` of sources: files of bundles, whole ones, each object once."""

import json
import os
from pathlib import Path

import pytest
import structlog

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Place
from relays.gateways.options import Options
from relays.gateways.stix.source import SOURCE, StixSource
from tests.unit.gateways.support import TestIntake
from tests.unit.gateways.test_stix_markings import OWN, RED, definition

SHARED = Path(__file__).parents[4] / "shared" / "data" / "stix"


def identity(number, **more):
    return {"type": "identity", "id": f"identity--00000000-0000-4000-8000-{number:012}", "name": f"n{number}", **more}


def bundle(*objects):
    return json.dumps({"type": "bundle", "id": "bundle--1", "objects": list(objects)})


class _Folder:
    """A source of a folder, looked into by hand."""

    def __init__(self, path, **more):
        self.path, self._more = path, more
        self.intake = TestIntake()
        self._source = self._opened()

    def _opened(self):
        options = Options({"path": f"{self.path}/", **self._more})
        settings = SOURCE.read(options)
        assert not options.faults
        return StixSource(settings, Place("id", "intel", self.path, structlog.get_logger()))

    def again(self):
        """Another process."""
        self._source = self._opened()

    def write(self, name, text):
        path = self.path / name
        mtime_ns = path.stat().st_mtime_ns + 1 if path.exists() else 0
        path.write_text(text)
        if path.stat().st_mtime_ns < mtime_ns:
            os.utime(path, ns=(mtime_ns, mtime_ns))
        return path

    def look(self, times=2):
        for _ in range(times):
            self._source.look(self.intake)

    def names(self):
        return [record["name"] for record in self.intake.records]


@pytest.fixture
def folder(tmp_path):
    return _Folder(tmp_path)


def test_each_object_of_each_file_once_and_a_file_that_changed_again(folder):
    folder.write("a.json", bundle(identity(1), identity(2)))
    folder.look(1)
    assert folder.names() == [], "it may be being written"
    folder.look(1)
    assert folder.names() == ["n1", "n2"]
    assert folder.intake.wheres == [f"{folder.path}/a.json:1", f"{folder.path}/a.json:2"]
    folder.look(2)
    folder.again()
    folder.look(2)
    os.utime(folder.path / "a.json")  # the same content
    folder.look(2)
    assert folder.names() == ["n1", "n2"]
    folder.write("a.json", bundle(identity(1), identity(3)))
    folder.look(2)
    assert folder.names() == ["n1", "n2", "n1", "n3"]


def test_it_goes_on_behind_the_object_that_was_kept_last(folder):
    folder.write("a.json", bundle(*map(identity, range(1_200))))
    folder.intake.taken_max = 700
    with pytest.raises(FabricError) as raised:
        folder.look(2)
    assert raised.value.code is Code.CLOSED
    folder.intake.taken_max = None
    folder.again()
    folder.look(2)
    assert folder.names() == [f"n{number}" for number in range(1_200)]


def test_what_is_no_object_is_in_the_dead_letters_and_what_is_whole_is_not(folder):
    text = bundle(identity(1), {"type": "x"}, identity(2), identity(3))
    folder.write("a.json", text[: text.index('"n3"')])
    folder.look(2)
    assert folder.names() == ["n1", "n2"]
    (no_object, rest) = folder.intake.rejected
    assert no_object == (b'{"type": "x"}', Code.BAD_INPUT, f"{folder.path}/a.json:2")
    assert rest[0].startswith(b'{"type": "identity"') and rest[1:] == (Code.BAD_INPUT, f"{folder.path}/a.json:4")
    folder.again()
    folder.look(2)
    assert len(folder.intake.rejected) == 2
    folder.write("b.json", "\0")
    folder.write("c.json", bundle(identity(4)))
    folder.look(2)
    assert folder.names()[2:] == ["n4"]
    assert "2 objects" not in folder.intake.notes[0] and "2 rejected" in folder.intake.notes[0]


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[" + b" " * 2_000])
def test_a_file_that_is_no_text_or_too_large_is_one_dead_letter(tmp_path, content):
    folder = _Folder(tmp_path, max_size="1KB")
    (tmp_path / "a.json").write_bytes(content)
    folder.look(4)
    folder.again()
    folder.look(2)
    assert [(raw[:2], code) for raw, code, _ in folder.intake.rejected] == [(content[:2], Code.BAD_INPUT)]


def test_a_file_that_goes_away_or_may_not_be_read_hinders_no_other(folder):
    folder.write("a.json", bundle(identity(1))).chmod(0)
    folder.write("b.json", bundle(identity(2)))
    (folder.path / "c.json").symlink_to(folder.path / "gone.json")
    folder.look(2)
    assert "n2" in folder.names()
    if os.geteuid():
        assert "permission denied" in folder.intake.waited[-1]
        (folder.path / "a.json").chmod(0o600)
        folder.look(2)
    assert sorted(folder.names()) == ["n1", "n2"]
    (folder.path / "b.json").unlink()
    (folder.path / "c.json").unlink()
    target = folder.path.parent / "elsewhere.json"
    target.write_text(bundle(identity(3)))
    (folder.path / "d.json").symlink_to(target)
    folder.look(2)
    assert "n3" in folder.names() and folder.intake.waited[-1] is None


def test_definitions_count_for_the_file_that_they_are_in_wherever_they_stand(tmp_path):
    folder = _Folder(tmp_path, markings={RED.replace("e828", "e829"): "amber"})
    tlp = definition(definition_type="tlp", definition={"tlp": "green"})
    folder.write("a.json", bundle(identity(1, object_marking_refs=[OWN]), tlp))
    folder.look(2)
    folder.write("b.json", bundle(identity(2, object_marking_refs=[OWN])))
    folder.look(2)
    assert [record["fabric"].get("label") for record in folder.intake.records] == ["green", None, "red"]
    assert "1 red for a marking that nobody knows" in folder.intake.notes[-1]


def test_what_was_rejected_is_one_object_when_it_is_replayed():
    settings = SOURCE.read(Options({"path": "/x"}))
    tlp = definition(definition_type="tlp", definition={"tlp": "green"})
    marked = identity(1, object_marking_refs=[OWN])
    assert SOURCE.parse(settings, json.dumps(marked).encode())["fabric"] == {
        "label": "red", "own": True, "unknown": True,
    }
    assert SOURCE.parse(settings, bundle(tlp, marked).encode())["fabric"] == {"label": "green"}
    for data in (bundle(identity(1), identity(2)), bundle(), "[", '{"type": "x"}'):
        with pytest.raises(FabricError) as raised:
            SOURCE.parse(settings, data.encode())
        assert raised.value.code is Code.BAD_INPUT


def test_files_of_others_are_read_whole():
    files = sorted(SHARED.glob("*.json"))
    if not files:
        pytest.skip("there are none here")
    settings = SOURCE.read(Options({"path": "/x"}))
    for path in files:
        read = list(SOURCE.parse_all(settings, path.read_bytes()))
        whole = json.loads(path.read_text())
        assert [{name: value for name, value in each.items() if name != "fabric"} for each in read] == whole.get(
            "objects", [whole])
