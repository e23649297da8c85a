"""The kind `stix` of sinks: bundles in a folder, whole ones, each object as its reader may see it."""

import errno
import json
import threading
from dataclasses import replace

import pytest
import stix2

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways import room
from relays.gateways.kinds import Place
from relays.gateways.options import Options
from relays.gateways.stix import sink as sinks
from relays.gateways.stix.sink import SINK, StixSink, _name
from tests.unit.gateways.stix_support import published, sdo, seen
from tests.unit.gateways.support import Outtake, message


def messages(*numbers, **more):
    return [seen(each) for each in published([sdo("malware", number, is_family=False, **more) for number in numbers])]


class Stage:
    def __init__(self, folder, **more):
        self.path = folder / "out"
        options = Options({"path": f"{self.path}/", **more})
        self.settings = SINK.read(options)
        assert not options.faults

    def run(self, *groups, stop=None):
        outtake = Outtake(*groups)
        StixSink(self.settings, Place("reader", "out", self.path / "state", None)).run(outtake,
            stop or threading.Event())
        return outtake

    @property
    def bundles(self):
        return [json.loads(path.read_text()) for path in sorted(self.path.iterdir())]

    @property
    def ids(self):
        return [[each["id"][-1] for each in bundle["objects"] if each["type"] == "malware"] for bundle in self.bundles]


def test_a_group_is_a_bundle_that_is_private_and_valid_and_the_same_group_the_same_bundle(tmp_path):
    stage = Stage(tmp_path)
    group = messages(1, 2)
    stage.run(group)
    stage.run(group)  # its messages come again
    (path,) = stage.path.iterdir()
    assert stage.ids == [["1", "2"]] and path.stat().st_mode & 0o777 == 0o600
    assert stix2.parse(stage.bundles[0])["id"] == stage.bundles[0]["id"]


def test_a_bundle_is_no_larger_than_that_and_the_oldest_go(tmp_path):
    stage = Stage(tmp_path, max_size="64KB", keep=3)
    outtake = stage.run(messages(1, 2, 3, description="x" * 40_000), messages(4))
    assert sum(map(len, stage.ids)) == 3 and len(stage.ids) == 3
    assert outtake.notes == ["1 bundles were removed: 3 are kept"] and outtake.counts == {"bundles removed": 1}
    outtake = stage.run(messages(5), messages(6))
    assert len(stage.ids) == 3 and len(outtake.notes) == 2


def test_what_was_being_written_when_it_was_killed_is_removed_and_nothing_else(tmp_path):
    stage = Stage(tmp_path)
    stage.path.mkdir(mode=0o700)
    torn = stage.path / f".intel-20260101T000000000Z-{'a' * 16}.json.{'b' * 16}.new"
    torn.write_text("{")
    (stage.path / "notes.txt").write_text("mine")
    stage.run(messages(1))
    assert not torn.exists() and (stage.path / "notes.txt").exists()


def test_what_is_no_stix_and_what_no_json_can_hold_is_said_and_hinders_nothing(tmp_path):
    stage = Stage(tmp_path)
    odd = messages(1)[0]
    odd.content["x"] = b"bytes"
    no_stix = messages(2)[0]
    no_stix.content.pop("id")
    outtake = stage.run([odd, no_stix, *messages(3)], [no_stix])
    assert stage.ids == [["3"]]
    assert outtake.notes == [
        "1 messages are no STIX, and in no bundle", "1 objects are in no bundle: no JSON can hold what is in them",
        "2 messages are no STIX, and in no bundle",
    ] and len(outtake.acknowledged) == 4
    assert outtake.counts == {"no STIX": 2, "no JSON": 1}


def test_an_object_that_cannot_be_without_what_is_withheld_is_counted(tmp_path):
    (whole,) = messages(1)
    content = {name: value for name, value in whole.content.items() if name != "is_family"}
    lacking = replace(whole, content=content, withheld={Label.RED: 1})
    outtake = Stage(tmp_path).run([lacking, *messages(2)])
    assert outtake.counts == {"objects withheld": 1}


def test_a_disk_that_is_full_is_waited_for(tmp_path, monkeypatch):
    stage, whole, tries = Stage(tmp_path), sinks.write_private, []

    def write(path, data):
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, data)

    monkeypatch.setattr(sinks, "write_private", write)
    monkeypatch.setattr(room, "_WAIT_S", 0.0)
    outtake = stage.run(messages(1))
    assert stage.ids == [["1"]] and [why and "no space left" in why for why in outtake.waited] == [True, None]
    tries.clear()
    stop = threading.Event()
    stop.set()
    with pytest.raises(FabricError) as raised:
        stage.run(messages(2), stop=stop)
    assert raised.value.code is Code.SINK_AWAY and len(stage.ids) == 1


def test_its_path_is_a_folder():
    options = Options({"path": "/var/lib/intel"})
    SINK.read(options)
    assert options.faults[0].write == 'write path = "/var/lib/intel/"'
    assert SINK.claims(SINK.read(Options({"path": "/var/lib/x/"}))) == ("path /var/lib/x/",)


def test_a_bundle_of_a_time_that_no_calendar_has_comes_after_all_others():
    names = [_name([replace(message(1), issued_at_ms=at_ms)], 0) for at_ms in (1, 1_795_953_486_988, 2**60)]
    assert names == sorted(names) and names[1].startswith("intel-20261129T") and names[0].startswith(
        "intel-19700101T000000001Z-"
    )
