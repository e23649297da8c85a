"""Readers as their publisher sees them: what they say, how they end, and that all of them do."""

import subprocess
import sys

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.benching import readers
from relays.benching.readers import reading

REAL = subprocess.Popen


@pytest.fixture
def says(monkeypatch):
    """Readers are such programs instead; they are in the list that it gives."""
    started = []

    def install(program):
        def popen(args, **options):
            assert args[1:3] == ["-m", "relays.benching.reader"]
            process = REAL([sys.executable, "-c", program, *args[3:]], **options)
            started.append(process)
            return process

        monkeypatch.setattr(readers.subprocess, "Popen", popen)
        return started

    return install


READER = """
import json, sys
def say(**what): print(json.dumps(what), flush=True)
say(ready=True)
say(records=2, reached=True, withheld="")
for line in sys.stdin:
    say(report={"records": int(line.split()[1]), "argv": sys.argv[1:]})
"""
BOTH = [("analyst-1", "acme/analyst-1"), ("analyst-2", "analyst-2")]


def test_each_reports_when_it_is_told_to_and_ends(says):
    started = says(READER)
    with reading(BOTH, "detections.test", "abcd", "zeek-1") as found:
        assert [each.id for each in found] == ["analyst-1", "analyst-2"]
        for each in found:
            each.end(7)
        reports = [each.report() for each in found]
        assert [each.records for each in found] == [2, 2] and all(each.reached for each in found)
    assert [report["records"] for report in reports] == [7, 7]
    assert reports[0]["argv"] == ["acme/analyst-1", "detections.test", "abcd", "zeek-1"]
    assert [process.returncode for process in started] == [0, 0]


def test_what_stands_against_a_reader_is_raised_with_its_name_and_the_others_end(says):
    error = {"error": {"code": Code.SUBSCRIBE_DENIED.number, "detail": "detections.test", "next": "ask"}}
    started = says(f"import json, sys; print({str(error)!r}.replace(chr(39), chr(34)))")
    with pytest.raises(FabricError) as raised, reading(BOTH, "detections.test", "abcd", "zeek-1"):
        pass
    assert raised.value.code is Code.SUBSCRIBE_DENIED and raised.value.detail == "analyst-1: detections.test"
    assert raised.value.next_step == "ask"
    assert all(process.returncode == 0 for process in started)


def test_a_reader_that_ends_early_is_named(says):
    """Before its report, or even before anybody looks."""
    says("print('{\"ready\": true}')")
    with (
        pytest.raises(FabricError, match="analyst-1 ended early"),
        reading(BOTH[:1], "detections.test", "abcd", "zeek-1") as (only,),
    ):
        only.report()


def test_one_that_is_not_ready_in_time_is_named_and_killed(says, monkeypatch):
    monkeypatch.setattr(readers, "READY_S", 0.1)
    monkeypatch.setattr(readers, "_END_S", 0.1)
    started = says("import threading; threading.Event().wait()")
    with pytest.raises(FabricError, match="analyst-1 was not subscribed"), reading(BOTH[:1], "t", "abcd", "zeek-1"):
        pass
    assert [process.returncode for process in started] == [-9]
