"""What a command says while it waits: nothing while things go on, one word when they do not, one when they do again."""

import json

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.cli.shared.holdups import PATIENCE_S, Holdups
from relays.terminal import Screen

SHORT, SILENT = FabricError(Code.DISK_SHORT, "/box"), FabricError(Code.UNREACHABLE, "127.0.0.1:1")


class Work:
    def __init__(self, as_json=False):
        self.why, self.done = None, 0
        waits = lambda: ("7 record(s) wait", 7)  # noqa: E731
        self.watch = Holdups(lambda: self.why, lambda: self.done, waits, Screen(error=True), as_json)


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().err.splitlines()


def test_what_goes_on_is_not_mentioned_however_slow_it_is(said):
    work = Work()
    for now_s in range(100):
        work.why, work.done = SILENT, now_s
        work.watch.look(now_s)
    work.why = None
    work.watch.look(1_000)
    assert said() == []


def test_what_stands_still_is_said_once_with_what_waits_and_what_to_do(said):
    work = Work()
    work.watch.look(0)
    work.why = SHORT
    for now_s in (1, 2, 2 + PATIENCE_S, 30, 300):
        work.watch.look(now_s)
    lines = said()
    assert len(lines) == 2 and "E933" in lines[0] and "7 record(s) wait" in lines[0] and lines[1].startswith("  next: ")


def test_another_reason_is_said_too_and_that_it_goes_on(said):
    work = Work()
    work.why = SHORT
    work.watch.look(0)
    work.watch.look(PATIENCE_S + 1)
    work.why = SILENT
    work.watch.look(PATIENCE_S + 2)
    work.why = None
    work.watch.look(PATIENCE_S + 3)
    work.watch.look(PATIENCE_S + 4)
    assert [line.split(":")[0] for line in said() if "next" not in line] == ["waiting", "waiting", "goes on"]


def test_as_objects(said):
    work = Work(as_json=True)
    work.why = SHORT
    work.watch.look(0)
    work.watch.look(1e9)
    work.why = None
    work.watch.look(2e9)
    short, over = (json.loads(line)["waiting"] for line in said())
    assert (short["code"], short["records"], short["detail"]) == ("E933", 7, "/box") and short["next"]
    assert (over["code"], over["records"]) == (None, 7)


def test_it_looks_by_itself_and_ends_with_its_block(said):
    work = Work()
    with work.watch:
        pass
    assert said() == []
