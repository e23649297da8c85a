"""How the ends of an action are shown as OpenC2, and which format is meant."""

import json

import pytest

from fabric.edge.messages import Outcome
from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.asked import Asked
from relays.cli.course import JSON, OPENC2, TEXT, Course, response_of, to_format
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
