"""One marked message for a sink: taken, or why not, and nothing waits."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.declared import SINKS_KEY, Declared, DeclaredSink, Unfit, one_named, read_sink
from relays.gateways.trial import hand_over, marked_message
from tests.unit.gateways.test_webhook import Receiver


class Identity:
    fabric, id = "posts", "siem-1"


def sink(**more):
    found, faults = read_sink("soc", {"kind": "webhook", "topics": ["detections.*.>"], **more})
    assert not faults
    return found


def test_a_message_that_says_what_it_is_is_handed_over_as_any_other(monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    with Receiver().open() as receiver:
        message = hand_over(sink(url=receiver.url, token={"env": "TOKEN"}, batch=10), Identity())
    ((seen,),) = receiver.bodies
    assert (seen["id"], seen["topic"], seen["highest_label"]) == (message.id, "detections.test.test", "clear")
    assert seen["content"]["test"] is True and receiver.came[0][1]["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(("status", "words"), [(503, "answered 503"), (401, "answered 401"), (422, "does not take")])
def test_why_it_was_not_taken_is_said_at_once(status, words):
    with Receiver(lambda _: (status, {})).open() as receiver, pytest.raises(FabricError) as raised:
        hand_over(sink(url=receiver.url), Identity())
    assert words in str(raised.value) and len(receiver.came) == 1


def test_what_it_lacks_is_said_before_anything_is_sent():
    with pytest.raises(FabricError) as raised:
        hand_over(sink(url="https://soc.example/", token={"env": "NOT_THERE"}), Identity())
    assert raised.value.code is Code.SOURCE_UNFIT and "NOT_THERE" in str(raised.value)


def test_a_sink_that_writes_here_is_not_tried(tmp_path):
    found, _ = read_sink("all", {"kind": "jsonlines", "path": f"{tmp_path}/x", "topics": ["a"]})
    with pytest.raises(FabricError) as raised:
        hand_over(found, Identity())
    assert raised.value.code is Code.USAGE and not list(tmp_path.iterdir())


def test_no_two_are_the_same_message():
    one = DeclaredSink("x", None, None, ("a.>",))
    assert marked_message(one, Identity(), 1).id != marked_message(one, Identity(), 1).id


@pytest.mark.parametrize(("name", "code", "next_step"), [
    ("sox", Code.USAGE, "write soc"), ("bad", Code.SECRET_INLINE, "x"), ("", Code.USAGE, "write soc"),
])
def test_a_name_that_is_none_and_a_declaration_that_is_none(name, code, next_step):
    unfit = Unfit("sinks", "bad", FabricError(Code.SECRET_INLINE, "token", "x"))
    declared = Declared(sinks=(sink(url="https://soc.example/"),), unfit=(unfit,))
    with pytest.raises(FabricError) as raised:
        one_named(name, declared.sinks, SINKS_KEY, declared, Identity.id)
    assert raised.value.code is code and raised.value.next_step == next_step
