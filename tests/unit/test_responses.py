"""The response of OpenC2 to every end, and the features that a control point says it has."""

import json
from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.openc2 import ACTIONS, End, Status
from fabric.protocol.vocabulary.responses import (
    features_of,
    response,
    response_message,
    status_of,
    status_of_code,
)
from fabric.protocol.vocabulary.target_types import TARGETS

EXAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "openc2.json").read_text())


@pytest.mark.parametrize(("end", "code", "own", "status"), [
    (End.COMPLETED, None, 0, 200), (End.COMPLETED, None, 200, 200), (End.COMPLETED, Code.RESULT_UNFIT, 200, 200),
    (End.COMPLETED, None, 404, 404), (End.COMPLETED, None, 102, 200), (End.COMPLETED, None, 999, 200),
    (End.FAILED, Code.HANDLER_FAILED, 500, 500), (End.FAILED, None, 404, 404), (End.FAILED, None, 200, 500),
    (End.FAILED, None, 102, 500), (End.FAILED, None, 0, 500),
    (End.REFUSED, Code.BAD_ACTION, 403, 400), (End.REFUSED, Code.NOT_NOW, 0, 400),
    (End.REFUSED, Code.BAD_SELECTOR, 0, 400),
    (End.REFUSED, Code.REVOKED, 0, 401), (End.REFUSED, Code.BAD_SIGNATURE, 0, 401),
    (End.REFUSED, Code.REQUEST_DENIED, 0, 403), (End.REFUSED, Code.EXECUTE_DENIED, 0, 403),
    (End.REFUSED, Code.WITHHELD, 0, 403), (End.REFUSED, None, 0, 403), (End.REFUSED, Code.NOBODY, 0, 404),
    (End.REFUSED, Code.NO_HANDLER, 0, 501), (End.REFUSED, Code.STOPPING, 0, 503), (End.REFUSED, Code.BUSY, 0, 503),
    (End.REFUSED, Code.HANDLERS_BUSY, 0, 503), (End.REFUSED, Code.NOT_ALL_HERE, 0, 503),
    (End.REFUSED, Code.LIST_EXPIRED, 0, 503), (End.REFUSED, Code.CLOCK_SUSPECT, 0, 503),
    (End.EXPIRED, Code.EXPIRED, 0, 503), (End.UNROUTABLE, Code.UNROUTABLE, 0, 503),
    (End.UNKNOWN, Code.TIMED_OUT, 0, 503),
    (End.READY, None, 200, 200),
])  # fmt: skip
def test_every_end_has_its_status(end, code, own, status):
    assert status_of(end, code, own) == status


def test_none_is_left_out():
    (mark,) = test_every_end_has_its_status.pytestmark
    assert {row[0] for row in mark.args[1]} == set(End)
    assert {status_of_code(code) for code in Code} == set(Status) - {Status.OK, Status.PROCESSING}


@pytest.mark.parametrize("example", EXAMPLES["responses"], ids=lambda example: example["section"])
def test_what_the_examples_answer_can_be_answered(example):
    said = example["response"]
    assert response(Status(said["status"]), result=said.get("results")) == said


def test_what_openc2_has_no_name_for_is_under_this_fabric_s():
    result = {"rule": 7, "slpf": {"rule_number": 1}, "x-fabric": {"end": "forged"}, "versions": ["1.0"], "a b": {}}
    said = response(Status.OK, result=result, more={"end": "completed"})
    assert said == {"status": 200, "results": {
        "slpf": {"rule_number": 1}, "versions": ["1.0"],
        "x-fabric": {"end": "completed", "result": {"rule": 7, "x-fabric": {"end": "forged"}, "a b": {}}},
    }}
    assert response(Status.NOT_IMPLEMENTED, "E708 no_handler") == {"status": 501, "status_text": "E708 no_handler"}


def test_a_message_says_from_whom_it_is_and_what_it_answers():
    said = response_message({"status": 200}, from_="fw-1", to="soar-1", created_ms=7, request_id="c-1")
    assert said == {
        "headers": {"request_id": "c-1", "created": 7, "from": "fw-1", "to": ["soar-1"]},
        "body": {"openc2": {"response": {"status": 200}}},
    }
    assert "request_id" not in response_message({}, from_="a", to="b", created_ms=0)["headers"]


def test_features_are_those_that_are_asked_for():
    assert features_of([], ["deny *"], ["*"], ["slpf"]) == {}
    assert features_of(["rate_limit", "versions", "profiles"], [], ["*"], ["slpf"]) == {
        "rate_limit": 1_200, "versions": ["1.0"], "profiles": ["slpf"],
    }


@pytest.mark.parametrize(("patterns", "granted", "pairs"), [
    (["deny ipv4_net"], ["deny *", "query features"], {"query": ["features"], "deny": ["ipv4_net"]}),
    (["deny ipv4_net", "scan *"], ["deny ipv4_net", "scan device"], {"scan": ["device"], "deny": ["ipv4_net"]}),
    (["delete slpf:rule_number", "x-park x-crane"], ["*"],
     {"query": ["features"], "delete": ["slpf:rule_number"], "x-park": ["x-crane"]}),
    (["*"], ["* features"], {action: ["features"] for action in ACTIONS}),
])
def test_pairs_are_what_is_handled_and_granted(patterns, granted, pairs):
    assert features_of(["pairs"], patterns, granted, ())["pairs"] == pairs


def test_a_handler_of_everything_has_all_pairs_of_openc2():
    assert features_of(["pairs"], ["*"], ["*"], ())["pairs"] == {action: list(TARGETS) for action in ACTIONS}
