"""`fabric actions`, `fabric action` and what `act` tells of steps: from a book that hostile words are in."""

import json
import sys
import time
from contextlib import closing

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.messages import Approvals, Outcome, Step
from fabric.edge.requesting.held import to_book
from fabric.edge.requesting.request import Progress, Request, key_for
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.spool.book import NAME, Book, Change, Entry, Word
from relays.authority import init_authority, make_identities
from relays.cli.actions import again
from relays.cli.actions.asked import Asked
from relays.cli.actions.changes import end_json, step_cell, tell_changes
from relays.cli.actions.course import table_of
from relays.cli.app import app
from relays.cli.shared import exits
from relays.terminal import Screen
from relays.topology.loader import load
from tests.ports import free_port
from tests.support import EVERYTHING, HOUR_MS, Authority, verified

TOPOLOGY = """
fabric = "small"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT" }
[roles]
soar = { request = [{ action = "deny *", to = "all" }] }
[points]
soar-1 = { relay = "hq", role = "soar", clearance = "red" }
"""
ME = Authority("recorded").issue("soar-1", grants=EVERYTHING)
ESCAPE = "\x1b[2J"
NOW = time.time_ns() // 1_000_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "small.toml"
    file.write_text(TOPOLOGY.replace("PORT", str(free_port())))
    make_identities(load(file), init_authority("small", tmp_path), tmp_path)
    return ids_folder("small", tmp_path) / "soar-1"


def asked(folder, value, key="", *, words=(), **change):
    """An action in the book, and its id."""
    message = verified(
        ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN, severity=Severity.HIGH, ttl_ms=60_000,
        records=[{"action": "deny", "target": {"ipv4_net": value}, "args": {}}],
    )
    with closing(Book(folder / NAME)) as book:
        book.keep(b"s" * 16, is_kept=True)
        book.add(Entry(0, message.leaf, key, NOW, NOW + HOUR_MS, message.raw, b""), NOW)
        book.record([Change(message.leaf, list(words), **change)], NOW)
    return message.leaf.hex()


def word(target, state, by=None, **said):
    return Word(0, target, state, target if by is None else by, NOW, NOW, said)


def run(monkeypatch, capsys, *args):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["fabric", *args, "--as", "soar-1"])
        for name in ("stdout", "stderr"):
            patched.setattr(sys, name, getattr(sys, name))
        with pytest.raises(SystemExit) as ended:
            exits.run(app)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_what_is_shown_of_an_action_and_of_its_ends_has_its_label(folder, monkeypatch, capsys):
    said = {"status": 200, "code": "", "reason": "", "result": {"rule": 7}, "label": int(Label.AMBER), "took_ms": 1}
    id_ = asked(folder, "192.0.2.1", words=[word("fw-1", State.COMPLETED, **said)], targets=("fw-1",), closed=True)
    _, out, _ = run(monkeypatch, capsys, "actions")
    assert [line.split()[5] for line in out.splitlines() if id_[:12] in line] == ["green"]
    _, out, _ = run(monkeypatch, capsys, "action", id_)
    assert "terms    high, green" in out
    assert [line.split()[-3:] for line in out.splitlines() if "fw-1" in line] == [["amber", '{"rule":', "7}"]]


def test_a_list_of_what_was_asked_for(folder, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "actions")[:2] == (0, "soar-1 has asked for no action on this machine\n")
    first = asked(folder, "192.0.2.1", "K", words=[word("fw-1", State.RUNNING, progress=0.5)], targets=("fw-1", "fw-2"))
    last = asked(folder, "192.0.2.2", words=[word("fw-1", State.COMPLETED)], targets=("fw-1",), closed=True)
    code, out, _ = run(monkeypatch, capsys, "actions")
    lines = [line for line in out.splitlines() if "192.0.2" in line]
    assert code == 0 and [line.split()[0] for line in lines] == [last[:12], first[:12]]
    assert "1 running, 1 without a word" in lines[1] and "K" in lines[1] and "last word came" in out
    _, out, _ = run(monkeypatch, capsys, "actions", "--open", "--json")
    (said,) = map(json.loads, out.splitlines())
    assert (said["id"], said["states"], said["open"]) == (first, {"fw-1": "running"}, True) and "words" not in said
    assert len(run(monkeypatch, capsys, "actions", "--last", "1", "--json")[1].splitlines()) == 1


def test_a_key_that_nobody_gave_is_not_shown_as_one(folder, monkeypatch, capsys):
    key = key_for(None, {"duration": 1}, dry_run=False)
    id_ = asked(folder, "192.0.2.1", key, targets=("fw-1",))
    assert key not in run(monkeypatch, capsys, "actions")[1]
    out = run(monkeypatch, capsys, "action", id_[:12])[1]
    assert key not in out and "key      none given" in out
    assert json.loads(run(monkeypatch, capsys, "actions", "--json")[1])["key"] == key


def test_a_log_without_an_entry_is_not_taken_for_whole(folder, monkeypatch, capsys):
    audit = folder / "audit"
    make_private(audit)
    for data in (b"", b"\0\0"):
        (audit / f"{1:016}.log").write_bytes(data)
        code, out, err = run(monkeypatch, capsys, "audit", "verify")
        assert (code, out) == (1, "") and "E946" in err and "no entry" in err


@pytest.mark.parametrize(
    ("words", "change", "code"),
    [
        ([word("fw-1", State.COMPLETED)], {"targets": ("fw-1",)}, 0),
        ([word("fw-1", State.READY)], {"targets": ("fw-1",)}, 0),
        ([word("fw-1", State.FAILED)], {"targets": ("fw-1",)}, 1),
        ([word("fw-1", State.COMPLETED), word("fw-2", State.FAILED)], {"targets": ("fw-1", "fw-2")}, 3),
        ([], {"nobody": True}, 4),
        ([], {"refused": Code.REQUEST_DENIED.number}, 5),
        ([], {"refused": Code.TOO_LARGE.number}, 1),
        ([word("fw-1", State.UNKNOWN, "")], {"targets": ("fw-1",)}, 6),
        ([word("fw-1", State.RUNNING)], {"targets": ("fw-1",)}, 6),
        ([], {}, 6),
    ],
)
def test_all_of_one_ends_as_asking_for_it_would(folder, monkeypatch, capsys, words, change, code):
    id_ = asked(folder, "192.0.2.1", words=words, **change)
    for options in ((), ("--json",)):
        ended, out, err = run(monkeypatch, capsys, "action", id_[:10], *options)
        assert (ended, err) == (code, "") and id_ in out


def test_who_said_what_when_and_no_word_moves_the_terminal(folder, monkeypatch, capsys):
    id_ = asked(folder, "192.0.2.1", f"key{ESCAPE}", targets=("fw-1", "fw-2", "fw-3"), resolution="partly", words=[
        word("fw-1", State.HELD, "hq"), word("fw-1", State.RUNNING, progress=0.25, note=f"half{ESCAPE}"),
        word("fw-1", State.FAILED, code="E709", reason=ESCAPE, result={"x": ESCAPE}),
        word("fw-2", State.UNKNOWN, "", code="E909"), word("fw-2", State.COMPLETED, result={}, cut=True),
    ])
    code, out, _ = run(monkeypatch, capsys, "action", id_)
    assert code == 3 and "\x1b" not in out
    for part in ("running 25%", "E709", "(this requester)", "left out: the book", "no word of it yet", "partly"):
        assert part in out
    assert "\x1b" not in run(monkeypatch, capsys, "actions")[1]
    assert json.loads(run(monkeypatch, capsys, "action", id_, "--json")[1])["words"][1]["progress"] == 0.25


def test_what_is_not_there_is_said(folder, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "action", "feed", "--json")
    assert code == 1 and json.loads(err)["error"]["code"] == "E939"
    (folder / NAME).mkdir()
    code, _, err = run(monkeypatch, capsys, "actions", "--json")
    assert code == 1 and json.loads(err)["error"]["code"] == "E938"


def before(folder, key="K", value="192.0.2.1"):
    return again.told_before(
        "soar-1", key, Asked("deny", f"ipv4_net={value}", "all", {}), severity="high", label=None, ttl=60_000,
        require_all=False, dry_run=False,
    )


def test_only_what_is_over_is_told_without_a_relay(folder):
    assert before(folder) is None and before(folder, None) is None
    asked(folder, "192.0.2.1", "K", words=[word("fw-1", State.ACCEPTED)], targets=("fw-1",))
    assert not again.is_over(before(folder)) and again.ends_s(before(folder)) == NOW / 1000 + 60
    with pytest.raises(FabricError, match="E730"):
        before(folder, value="192.0.2.2")
    asked(folder, "192.0.2.3", "L", words=[word("fw-1", State.COMPLETED)], targets=("fw-1",))
    found = before(folder, "L", "192.0.2.3")
    assert again.is_over(found) and [outcome.end for outcome in found.outcomes] == [End.COMPLETED]
    asked(folder, "192.0.2.4", "M", words=[word("fw-1", State.UNKNOWN, "hq")], targets=("fw-1",))
    assert not again.is_over(before(folder, "M", "192.0.2.4"))


@pytest.mark.parametrize(
    ("change", "code"), [({"nobody": True}, Code.NOBODY), ({"refused": 403, "closed": True}, Code.REQUEST_DENIED)]
)
def test_what_was_selected_by_nobody_or_refused_is_told_as_then(folder, change, code):
    asked(folder, "192.0.2.1", "K", **change)
    with pytest.raises(FabricError) as raised:
        before(folder)
    assert raised.value.code is code


def request_at(*steps):
    request = Request("00")
    request.learn(Progress(("fw-1",), (), False, [], False, steps), None)
    return request


def test_each_step_is_a_line_or_an_object(capsys):
    steps = Step("fw-1", State.ACCEPTED, "fw-1"), Step("fw-1", State.RUNNING, "fw-1", 0.5, f"half{ESCAPE}")
    request = request_at(*steps)
    tell_changes(request, as_json=False)
    tell_changes(request, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["fw-1: accepted", "fw-1: running 50% half\\u001b[2J"]
    assert [json.loads(line) for line in lines[2:]] == [
        {"target": "fw-1", "state": "accepted", "by": "fw-1"},
        {"target": "fw-1", "state": "running", "by": "fw-1", "progress": 0.5, "note": f"half{ESCAPE}"},
    ]
    assert step_cell(request, "fw-1").text.startswith("running 50%") and step_cell(request, "fw-2").text == "..."
    request.learn(Progress(("fw-1",), (), False, [], False), None)
    tell_changes(request, as_json=False)
    assert capsys.readouterr().out == "" and step_cell(request, "fw-1").text.startswith("running")


def test_what_was_approved_and_waits_for_who_is_away_is_both(folder, monkeypatch, capsys):
    approval = Approvals(True, NOW + HOUR_MS, approved_by=("anna",))
    request = Request("00")
    for step, shown in (
        (Step("fw-1", State.APPROVED, "hq", approval=approval, away=True), "away"),
        (Step("fw-1", State.RUNNING, "fw-1", 0.5), "running 50%"),
    ):
        request.learn(Progress(("fw-1",), ("fw-1",), False, [], False, (step,)), None)
        tell_changes(request, as_json=False)
        Screen().table(table_of(request, "", 0))
        line, row = [line for line in capsys.readouterr().out.splitlines() if "fw-1" in line]
        assert line.startswith("fw-1: ") and row.split("fw-1")[1].strip().startswith(shown)
    asked(folder, "192.0.2.1", targets=("fw-1", "fw-2"), turned_at="hq", words=[
        word("fw-1", State.APPROVED, "hq", approval=to_book(approval), away=True), word("fw-2", State.HELD, "hq"),
    ])
    assert "1 approved and away, 1 held" in run(monkeypatch, capsys, "actions")[1]
    assert json.loads(run(monkeypatch, capsys, "actions", "--json")[1])["away"] == ["fw-1", "fw-2"]


@pytest.mark.parametrize(("given", "end", "shown"), [
    (False, State.REFUSED, "approval not given: 2 of lead were asked, by the rule names"),
    (True, State.COMPLETED, "approval approved by anna, ben"),
])
def test_of_an_action_that_ended_nobody_is_said_to_wait(folder, monkeypatch, capsys, given, end, shown):
    approvals = Approvals(given, NOW + HOUR_MS, "names", 2, ("lead",), ("anna", "ben") if given else ())
    words = [word("fw-1", State.APPROVED if given else State.HELD, "hq", approval=to_book(approvals))]
    id_ = asked(folder, "192.0.2.1", targets=("fw-1",), words=words)
    _, out, _ = run(monkeypatch, capsys, "action", id_)
    assert ("may be executed until" if given else "held until") in out
    id_ = asked(folder, "192.0.2.2", targets=("fw-1",), words=[*words, word("fw-1", end, "hq")], closed=True)
    _, out, _ = run(monkeypatch, capsys, "action", id_)
    assert shown in out.splitlines()


def test_steps_that_nobody_looked_at_yet_are_kept_in_their_order():
    first, later = (Step("fw-1", State.RUNNING, "fw-1", n / 4) for n in (1, 2))
    end = Progress(("fw-1",), (), False, [], True, (later,))
    joined = Progress(None, (), False, [], False, (first,)).followed_by(end)
    assert joined.steps == (first, later) and joined.done and joined.targets == ("fw-1",)


def test_an_end_is_a_change_of_state_where_these_are_shown():
    outcome = Outcome("fw-1", End.COMPLETED, "fw-1")
    assert end_json(outcome, watched=False) == outcome.to_json()
    assert end_json(outcome, watched=True) == outcome.to_json() | {"state": "completed"}
