"""Who executes what in `fabric edge run`: what handlers with a name take, as far as it is granted."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from fabric.edge.handling.handlers import Answer, answer_of
from fabric.edge.identity.identity import Dial
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from relays.cli.edge.serving import Serving, Told
from relays.handlers.kinds import Kind, Need, Options, Pair
from relays.handlers.registry import Asked
from tests.handling import action_for, end_of

PAIRS = [Pair("deny", "ipv4_net", "blocks it", reverts=True), Pair("stop", "process", "ends it", again=False)]


class Handler:
    def __init__(self, options, place):
        self.place, self.did = place, []

    def __call__(self, action):
        self.did.append("execute")
        return Answer(result={"rule": 7})

    def __getattr__(self, name):  # start, revert, tend, stop
        return lambda *_: self.did.append(name)


def kind(name="wall", pairs=PAIRS, problem="", make=Handler):
    return Asked(Kind(name, "Does.", lambda _: pairs, [], lambda _: [Need("a crane", problem, "buy one")], make),
                 Options(name))


def identity(*granted, nearest=False):
    return SimpleNamespace(
        id="fw-7", folder=Path("/nowhere"), fabric="acme", authority_key=b"", nearest=nearest,
        credential=SimpleNamespace(grants=SimpleNamespace(execute=granted)),
        dials=(Dial("hq", "10.0.0.1:7700", b""), Dial("mid", "10.0.0.2:7700", b"")),
    )


class Point:
    def __init__(self):
        self.registered = {}

    def on_action(self, action, target_type, **how):
        def register(handler):
            self.registered[f"{action} {target_type}"] = (handler, how)
            return handler

        return register


def raised(asked, me):
    with pytest.raises(FabricError) as error:
        Serving(asked, me)
    return error.value


def test_what_is_granted_is_taken_and_the_rest_is_named():
    serving = Serving([kind()], identity("deny *"))
    assert serving.takes == ["deny ipv4_net"] and serving.not_granted == ["stop process"]
    point = Point()
    serving.register(point, as_json=True)
    assert list(point.registered) == ["deny ipv4_net"]


def test_what_may_be_called_again_and_reverted_is_said_so():
    point = Point()
    Serving([kind()], identity("*")).register(point, as_json=True)
    told = {text: (how["idempotent"], how["revert"] is not None) for text, (_, how) in point.registered.items()}
    assert told == {"deny ipv4_net": (True, True), "stop process": (False, False)}
    for handler, _ in point.registered.values():
        assert not hasattr(handler, "revert"), "what cannot be reverted is not to be taken for it"


@pytest.mark.parametrize(("heeds", "args", "ends"), [
    ((), {"duration": 1000, "response_requested": "complete"}, ("completed", "")),
    ((), {"duration": 1000, "slpf": {"direction": "ingress"}}, ("refused", "E955")),
    (("slpf",), {"slpf": {"direction": "ingress"}}, ("completed", "")),
    (None, {"direction": "ingress"}, ("completed", "")),
])
def test_an_action_with_an_argument_that_its_handler_does_not_heed_is_refused(heeds, args, ends):
    point, asked = Point(), kind()
    asked = asked._replace(kind=replace(asked.kind, arguments=heeds))
    Serving([asked], identity("deny *")).register(point, as_json=True)
    answer = point.registered["deny ipv4_net"][0](action_for("deny", "ipv4_net", "203.0.113.9", args=args))
    assert end_of(answer) == ends
    assert ends[0] == "completed" or (answer.status, answer.reason) == (501, "args.slpf"), "it names what it was"


def test_what_it_needs_is_told_before_it_is_made():
    error = raised([kind(problem="there is none", make=None)], identity("*"))
    assert error.code is Code.HANDLER_UNFIT and error.detail == "wall: a crane: there is none"
    assert error.next_step == "buy one"


def test_one_of_which_nothing_is_granted_is_denied_and_two_of_the_same_are_a_slip():
    error = raised([kind()], identity("scan *"))
    assert error.code is Code.EXECUTE_DENIED and "deny ipv4_net, stop process" in error.detail
    error = raised([kind(), kind("other", PAIRS[:1])], identity("*"))
    assert error.code is Code.USAGE and "two handlers take deny ipv4_net" in error.detail


@pytest.mark.parametrize("nearest", [True, False])
def test_a_handler_knows_its_place(nearest):
    serving = Serving([kind()], identity("*", nearest=nearest))
    place = serving._named[0].handler.place
    assert place.id == "fw-7" and place.folder == Path("/nowhere/handlers/wall")
    assert list(place.relays()) == ["10.0.0.1:7700", "10.0.0.2:7700"]


def test_each_is_started_and_stopped_and_one_that_cannot_keep_up_holds_up_nobody():
    class Failing(Handler):
        def tend(self):
            raise FabricError(Code.HANDLER_UNFIT, "no crane")

    serving = Serving([kind(make=Failing), kind("other", [Pair("scan", "*", "looks")])], identity("*"))
    serving.start()
    with capture_logs() as logs:
        serving.tend()
    serving.stop()
    assert serving._named[1].handler.did == ["start", "tend", "stop"]
    assert [(log["handler"], "E950" in log["why"]) for log in logs] == [("wall", True)]


@pytest.mark.parametrize(
    "returned", [None, {"rule": 7}, Answer(End.FAILED, 500, code=Code.HANDLER_FAILED, reason="no"), 7]
)
def test_what_becomes_of_an_action_is_told(capsys, returned):
    action = action_for("deny", "ipv4_net", "203.0.113.9")
    whole = Told(lambda _: returned, as_json=True)(action)
    assert whole is returned
    answer = answer_of(whole)
    told = json.loads(capsys.readouterr().out)
    assert (told["end"], told["code"]) == end_of(answer) and told["from"] == "soar-1"
    Told(lambda _: returned, as_json=False)(action)
    line = capsys.readouterr().out
    assert "deny ipv4_net from soar-1: " in line and "203.0.113.9" not in line, "a log is no place for it"
