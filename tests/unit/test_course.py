"""How the ends of an action are shown as OpenC2, and which format is meant."""

import json

import pytest

from fabric.edge.messages import Approvals, Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.actions.asked import Asked
from relays.cli.actions.course import JSON, OPENC2, TEXT, Course, line_of, table_of, to_format, why_of
from relays.cli.actions.unanswered import Open
from relays.responses import response_of
from relays.terminal import Screen

ASKED = Asked("deny", "ipv4_net=203.0.113.9", "all", {}, "c-1")


def test_the_format_is_one():
    assert (to_format(None, False), to_format(None, True), to_format("openc2", False)) == (TEXT, JSON, OPENC2)
    for name, as_json in (("xml", False), ("openc2", True), ("json", False), ("text", True)):
        with pytest.raises(FabricError):
            to_format(name, as_json)


@pytest.mark.parametrize(("outcome", "said"), [
    (Outcome("fw-1", End.COMPLETED, "fw-1", 200, result={"rule": 7}, label=Label.GREEN),
     {"status": 200, "results": {"x-fabric": {"target": "fw-1", "end": "completed", "label": "green",
                                              "result": {"rule": 7}}}}),
    (Outcome("fw-1", End.UNROUTABLE, "hq", 0, "E701", "unroutable"),
     {"status": 503, "status_text": "E701 unroutable",
      "results": {"x-fabric": {"target": "fw-1", "end": "unroutable", "code": "E701", "label": "clear"}}}),
    (Outcome("", End.UNKNOWN, "", 0, "E909", "timed_out"),
     {"status": 503, "status_text": "E909 timed_out",
      "results": {"x-fabric": {"target": "", "end": "unknown", "code": "E909"}}}),
    (Outcome("fw-1", End.REFUSED, "fw-1", 403, "E999", "from the future"),
     {"status": 403, "status_text": "E999 from the future",
      "results": {"x-fabric": {"target": "fw-1", "end": "refused", "code": "E999", "label": "clear"}}}),
])
def test_an_end_is_a_response(outcome, said):
    assert response_of(outcome, str(outcome.end)) == said


def test_a_response_is_from_whom_it_is_and_away_is_said_by_who_asks(capsys):
    course = Course(Screen(), OPENC2, ASKED)
    course.me = "soar-1"
    course.outcome(Outcome("fw-1", End.REFUSED, "hq", 0, "E601", "withheld"))
    course.away(["fw-2"])
    out, err = capsys.readouterr()
    first, second = map(json.loads, out.splitlines())
    headers = first["headers"]
    assert (headers["from"], headers["to"], headers["request_id"]) == ("hq", ["soar-1"], "c-1")
    assert first["body"]["openc2"]["response"]["status"] == 403
    assert second["headers"]["from"] == "soar-1"
    assert second["body"]["openc2"]["response"]["results"]["x-fabric"] == {
        "target": "fw-2", "end": "away", "code": "E927"
    }
    course.too_few(3, 1)
    assert capsys.readouterr().err.strip() == "3 targets were expected and 1 was selected" and err == ""


def test_nothing_is_answered_where_no_response_is_wanted(capsys):
    course = Course(Screen(), OPENC2, Asked("deny", "uri=a:b", "all", {"response_requested": "none"}))
    course.outcome(Outcome("fw-1", End.COMPLETED, "fw-1", 200))
    course.away(["fw-2"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("by", "reason", "line"), [
    ("fw-1", "not_reverted", "E726 not_reverted: the action has a duration, and nothing here would end its effect"),
    ("fw-1", "not_reverted: deny", "E726 not_reverted: deny"),
    ("hq", "not_reverted", "E726 not_reverted at hq"),
])
def test_a_number_that_is_all_a_target_says_is_said_in_words(by, reason, line):
    assert why_of(Outcome("fw-1", End.REFUSED, by, 501, "E726", reason)) == line


@pytest.mark.parametrize(("outcome", "line"), [
    (Outcome("fw-1", End.COMPLETED, "fw-1", 200, result={"rule": 7}, label=Label.AMBER, took_ms=41),
     'fw-1: completed {"rule": 7} (TLP:AMBER, 41 ms)'),
    (Outcome("fw-1", End.REFUSED, "hq", 0, "E419", "action_denied", label=Label.RED, took_ms=9, denied_by="ann",
             why="it runs the plant"),
     "fw-1: refused E419 action_denied at hq; ann: it runs the plant (TLP:RED, 9 ms)"),
    (Outcome("fw-1", End.UNKNOWN, "", 0, "E909", "timed_out", took_ms=5_000),
     "fw-1: unknown E909 timed_out: the given time ran out (5000 ms)"),
])
def test_an_end_is_told_with_the_label_of_what_is_said_there(outcome, line, capsys):
    assert line_of(outcome) == line
    request = Request("00")
    request.targets, request.outcomes = ("fw-1",), {"fw-1": outcome}
    Screen().table(table_of(request, "deny", 1e9))
    assert outcome.by == "" or outcome.label.short in capsys.readouterr().out.splitlines()[-1].split()


def dry_run():
    """It ended at fw-1, and not yet at fw-2."""
    request = Request("00" * 32)
    request.targets, request.approval = ("fw-1", "fw-2"), Approvals(False, 0, "ot", 2, ("lead",), within_ms=600_000)
    request.outcomes = {"fw-1": Outcome("fw-1", End.READY, "fw-1", 200)}
    return request


def test_of_a_dry_run_it_is_told_once_for_what_it_would_be_held(capsys):
    course, open_ = Course(Screen(), TEXT, ASKED), Open(dry_run(), 1e9)
    course.approvals(open_)
    course.approvals(open_)
    assert capsys.readouterr().out.splitlines() == ["would be held: rule ot, 2 of lead, within 10m"]
    assert not any("held" in line for line in open_.lines(as_json=False)), "nobody holds it"
    asked = dry_run()
    asked.approval = Approvals(False, 2_000_000_000_000, "ot", 2, ("lead",))
    course.approvals(Open(asked, 1e9))
    assert "held: waits for 2 of lead" in capsys.readouterr().out, "in steps the action itself comes after a dry run"


def test_the_table_says_how_it_is_decided_as_long_as_it_is_held(capsys):
    request = Request("4f1c09" + "00" * 29)
    request.targets, request.approval = ("fw-1",), Approvals(False, 2_000_000_000_000, "ot", 2, ("lead",))
    Screen().table(table_of(request, "deny", 1e9))
    assert "decided with: fabric approve 4f1c09000000" in capsys.readouterr().out


def test_in_json_it_stands_at_each_target_and_in_the_table_beside_each(capsys):
    Course(Screen(), JSON, ASKED).approvals(Open(dry_run(), 1e9))
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rule = {"given": False, "rule": "ot", "require": 2, "roles": ["lead"], "within_ms": 600_000}
    assert [(each["target"], each["end"], each["approval"]) for each in said] == [
        ("fw-1", "would be held", rule), ("fw-2", "would be held", rule)
    ]
    Screen().table(table_of(dry_run(), "deny", 1e9))
    out = capsys.readouterr().out
    assert out.count("would be held: rule ot, 2 of lead, within 10m") == 2
