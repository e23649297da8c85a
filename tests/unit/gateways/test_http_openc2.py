"""OpenC2 commands over a real socket, to an intake that ends actions as a test says."""

import http.client
import json
import queue
from types import SimpleNamespace

import pytest

from fabric.edge.messages import Approvals, Outcome
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from relays.gateways.http import asking
from relays.gateways.http.asking import Asking
from tests.integration.harness import wait_for
from tests.unit.gateways.test_http import SECRETS, TOKENS, A, faults_of, running

ASKS = {"name": "soar", "secret": {"env": "HTTP_B"}, "may": ["openc2"], "actions": ["deny ipv4_net", "deny file"],
        "to": "role=firewall or id=fw-9"}
B = {"Authorization": f"Bearer {SECRETS['HTTP_B']}", "Content-Type": "application/openc2+json;version=1.0"}
DENY = {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}}


class Acting:
    """What becomes of actions. `say` gives targets and outcomes, one step after the other; an error ends it."""

    def __init__(self):
        self.asked, self.book = [], set()
        self.steps = queue.Queue()
        self.ended = {}  # as the book has it

    def request(self, action, target, *, to, args, command_id, key, watch):
        if key in self.ended:
            watch(self.ended[key])
            return
        self.asked.append((action, target, to, args, command_id, key))
        known = SimpleNamespace(targets=None, outcomes={}, approval=None)
        while True:
            step = self.steps.get(timeout=20)
            if isinstance(step, Exception):
                raise step
            if step is None:
                self.ended[key] = known
                return
            known.targets = tuple(step.get("targets", known.targets or ()))
            known.approval = step.get("approval")
            known.outcomes = {**known.outcomes, **{each.target: each for each in step.get("outcomes", ())}}
            watch(known)
            yield from known.outcomes.values()

    def say(self, *steps):
        for step in steps:
            self.steps.put(step)


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    with running(monkeypatch, tmp_path, tokens=[TOKENS[0], ASKS], answer_time="300ms") as (source, intake):
        acting = Acting()
        intake.request, intake.is_asked = acting.request, acting.book.__contains__
        yield source, acting


def post(source, document, headers=(), path="/openc2"):
    connection = http.client.HTTPConnection(*source.address, timeout=20)
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    connection.request("POST", path, body, {**B, **dict(headers)})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, json.loads(data) if data else None


def response(said):
    return said["body"]["openc2"]["response"]


def message(command, **headers):
    return {"headers": headers, "body": {"openc2": {"request": command}}}


def completed(target, **more):
    return Outcome(target, End.COMPLETED, target, **more)


def test_a_response_is_in_a_message_under_its_request_id(gateway):
    source, acting = gateway
    acting.say({"targets": ["fw-1"], "outcomes": [completed("fw-1", result={"rule": 7})]}, None)
    command = {**DENY, "args": {"duration": 60_000}, "actuator": {"slpf": {"hostname": "fw-1"}}}
    answer, said = post(source, message(command, request_id="r-1"), {"X-Request-ID": "r-1"}, "/.well-known/openc2")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/openc2+json;version=1.0")
    assert said["headers"].pop("created") > 0 and answer.headers["x-request-id"] == "r-1"
    assert said["headers"] == {"request_id": "r-1", "from": "fw-1", "to": ["soar"]}
    assert response(said)["status"] == 200 and response(said)["results"]["x-fabric"]["result"] == {"rule": 7}
    ((action, target, to, args, command_id, key),) = acting.asked
    assert (action, target, args, command_id) == ("deny", {"ipv4_net": "203.0.113.9"}, {"duration": 60_000}, "r-1")
    assert to == "(role=firewall or id=fw-9) and profile=slpf and hostname=fw-1" and key == "http/api/soar/r-1"


def test_the_older_content_type_and_a_command_alone(gateway):
    source, acting = gateway
    acting.say({"targets": ["fw-1"], "outcomes": [completed("fw-1")]}, None)
    old = {"Content-Type": "application/openc2-cmd+json;version=1.0", "X-Request-ID": "h-1"}
    answer, said = post(source, DENY, old)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/openc2-rsp+json;version=1.0")
    assert said["headers"]["request_id"] == "h-1" and acting.asked[0][4] == "h-1"


def test_responses_of_several_are_one(gateway):
    source, acting = gateway
    late = Outcome("fw-2", End.REFUSED, "fw-2", code=Code.NO_HANDLER.label, reason="no_handler")
    acting.say({"targets": ["fw-1", "fw-2"], "outcomes": [completed("fw-1"), late]}, None)
    answer, said = post(source, message(DENY, request_id="r-2"))
    of_all = response(said)
    assert (answer.status, of_all["status"], of_all["status_text"]) == (200, 501, "1 of 2 completed")
    assert said["headers"]["from"] == "api-1" and of_all["results"]["x-fabric"]["targets"] == ["fw-1", "fw-2"]
    assert [each["status"] for each in of_all["results"]["x-fabric"]["responses"]] == [200, 501]


def test_the_same_request_id_is_the_same_action_and_says_how_far_it_is(gateway):
    source, acting = gateway
    approval = Approvals(False, 9, "two", 2, ("lead",))
    acting.say({"targets": ["fw-1", "fw-2"], "approval": approval})
    answer, said = post(source, message(DENY, request_id="r-3"))
    assert (answer.status, response(said)["status"], response(said)["status_text"]) == (202, 102, "0 of 2 ended")
    assert response(said)["results"]["x-fabric"]["approval"]["roles"] == ["lead"]
    other = {**DENY, "target": {"ipv4_net": "203.0.113.0/24"}}
    answer, said = post(source, message(other, request_id="r-3"))
    assert (answer.status, response(said)["results"]["x-fabric"]["code"]) == (400, Code.KEY_TAKEN.label)
    acting.say({"outcomes": [completed("fw-1"), completed("fw-2")]}, None)
    answer, said = post(source, message(DENY, request_id="r-3"))
    assert (answer.status, response(said)["status"], len(acting.asked)) == (200, 200, 1)


def test_who_asks_again_and_again_leaves_nothing_behind(gateway, monkeypatch):
    source, acting = gateway
    opened, ask = [], Asking.ask
    monkeypatch.setattr(Asking, "ask", lambda self, wanted: opened.append(ask(self, wanted)) or opened[-1])
    acting.book.add("http/api/soar/again")
    for _ in range(5):
        assert post(source, message(DENY, request_id="again"))[0].status == 202
    assert len({id(each) for each in opened}) == 1 and len(opened[0].ended._done_callbacks) == 1
    acting.say(None)


@pytest.mark.parametrize(("wants", "status"), [("none", 200), ("ack", 202), ("status", 202)])
def test_who_wants_no_end_waits_for_none(gateway, wants, status):
    source, acting = gateway
    acting.say({"targets": ["fw-1"]})
    answer, said = post(source, message({**DENY, "args": {"response_requested": wants}}, request_id="r-4"))
    assert answer.status == status and (said is None if wants == "none" else response(said)["status"] == 102)
    acting.say(None)


def test_what_may_not_have_been_asked_for_is_said(gateway):
    source, acting = gateway
    answer, said = post(source, message(DENY, request_id="r-5"))
    assert (answer.status, response(said)["results"]["x-fabric"]["code"]) == (503, Code.HTTP_BUSY.label)
    assert answer.headers["retry-after"] == "2"
    acting.book.add("http/api/soar/r-5")  # it is in the outbox, and its relay away
    answer, said = post(source, message(DENY, request_id="r-5"))
    assert (answer.status, response(said)["status"], len(acting.asked)) == (202, 102, 1)
    acting.say(*[FabricError(Code.NOBODY)] * 2)  # who asks when the first one has ended asks for it anew
    wait_for(lambda: post(source, message(DENY, request_id="r-5"))[0].status != 202 or None, "its end")


@pytest.mark.parametrize(("error", "status"), [
    (FabricError(Code.NOBODY), 404), (FabricError(Code.REQUEST_DENIED), 403), (FabricError(Code.CLOSED), 503),
    (FabricError(Code.KEY_TAKEN), 400), (ZeroDivisionError("deny 203.0.113.9"), 500),
])
def test_why_nothing_becomes_of_it(gateway, error, status):
    source, acting = gateway
    acting.say(error)
    answer, said = post(source, message(DENY, request_id="r-6"))
    assert (answer.status, response(said)["status"]) == (status, status) and "203.0.113.9" not in json.dumps(said)


@pytest.mark.parametrize(("document", "headers", "status", "words"), [
    (b"{", {}, 400, "JSON"), (b"\xff", {}, 400, "UTF-8"), (b'{"action": "deny", "action": "deny"}', {}, 400, "twice"),
    (b"[" * 5_000, {}, 400, ""), (b"7", {}, 400, ""), ({**DENY, "action": "explode"}, {}, 400, "action"),
    ({**DENY, "args": {"duration": -1}}, {}, 400, "duration"), ({**DENY, "x": 1}, {}, 400, "x"),
    (DENY, {}, 400, "request_id"), (DENY, {"X-Request-ID": "a b"}, 400, "X-Request-ID"),
    (DENY, {"X-Request-ID": "x" * 37}, 400, "X-Request-ID"),
    (message(DENY, request_id="a"), {"X-Request-ID": "b"}, 400, "differ"),
    ({**DENY, "action": "contain", "command_id": "c"}, {}, 403, "contain ipv4_net"),
    ({"action": "cancel", "target": {"command": "c-7"}, "command_id": "c"}, {}, 403, "cancelled"),
    ({**DENY, "actuator": {"slpf": {"a": "1) or (all"}}, "command_id": "c"}, {}, None, ""),
])
def test_what_is_wrong_with_a_command_is_an_openc2_response(gateway, document, headers, status, words):
    source, acting = gateway
    acting.say(FabricError(Code.NOBODY))
    answer, said = post(source, document, headers)
    if status is None:  # what looks like a selector is quoted, and widens nothing
        assert acting.asked[0][2] == "(role=firewall or id=fw-9) and profile=slpf and a='1) or (all'"
        return
    assert (answer.status, response(said)["status"]) == (status, status) and not acting.asked
    assert words in response(said)["status_text"] and response(said)["results"]["x-fabric"]["next"]


def test_who_may_not_and_what_is_no_openc2_is_a_problem(gateway):
    source, acting = gateway
    for headers, status in (
        ({"Authorization": ""}, 401), (A, 403), ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "application/openc2+json;version=2.0"}, 415), ({"Content-Encoding": "br"}, 400),
    ):
        answer, said = post(source, DENY, headers)
        assert answer.status == status == said["status"] and said["next"], headers
        assert answer.headers["content-type"] == "application/problem+json"
    assert post(source, b" " * 400_000)[0].status == 413
    connection = http.client.HTTPConnection(*source.address, timeout=20)
    connection.request("POST", "/v1/events", b"{}", {**B, "Content-Type": "application/json"})
    assert connection.getresponse().status == 403 and not acting.asked
    connection.close()


def test_so_many_are_open_at_a_time(gateway, monkeypatch):
    source, acting = gateway
    monkeypatch.setattr(asking, "TOKEN_MAX", 1)
    acting.say({"targets": ["fw-1"]})
    assert post(source, message(DENY, request_id="r-7"))[0].status == 202
    assert post(source, message(DENY, request_id="r-8"))[0].status == 503
    acting.say(None, {"targets": ["fw-1"], "outcomes": [completed("fw-1")]}, None)
    wait_for(lambda: post(source, message(DENY, request_id="r-8"))[0].status == 200 or None, "room")


@pytest.mark.parametrize(("given", "key"), [
    ({"may": ["fly"]}, "may"), ({"may": []}, "may"), ({"actions": None}, "actions"), ({"to": None}, "to"),
    ({"actions": ["explode x"]}, "actions"), ({"to": "role=="}, "to"), ({"may": ["publish"], "topics": ["a"]}, "to"),
    ({"may": ["publish", "openc2"]}, "topics"),
])
def test_a_token_that_asks_says_what_for_and_of_whom(given, key):
    token = {name: value for name, value in {**ASKS, **given}.items() if value is not None}
    assert f"tokens.1.{key}" in [found for found, _ in faults_of(tokens=[token])[0]]


def test_a_token_may_not_ask_for_more_than_its_gateway(monkeypatch, tmp_path):
    with pytest.raises(AssertionError, match="request grant for contain"), running(
        monkeypatch, tmp_path, tokens=[{**ASKS, "actions": ["contain *"]}]
    ):
        pass
