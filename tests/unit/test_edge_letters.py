"""Answers on their way: kept before they are told, told although they cannot be kept, and once more as less."""

from concurrent.futures import Future

import structlog
from structlog.testing import capture_logs

from fabric.edge.acting.letters import Letters
from fabric.edge.handling.handlers import Answer, interrupted
from fabric.edge.handling.replies import About
from fabric.edge.locks import Condition, Room
from fabric.protocol.base.errors import Code, FabricError
from tests.unit.test_edge_executing import CLOSED, Loop, action

ABOUT = About(action(1).message.header, action(1).message.leaf)


def letters(loop):
    changed = Condition()
    return Letters(loop, loop.publish, changed, Room(changed), structlog.get_logger())


def tell(loop, one):
    one.taken()
    one.add(one.reply(ABOUT, Answer(result={"rule": 7})))
    one.tell(one.take())


def test_an_answer_is_kept_before_it_is_published_and_told_when_somebody_holds_it():
    loop = Loop()
    one = letters(loop)
    assert not one
    tell(loop, one)
    assert [step for step, _ in loop.ledger.steps] == ["keep", "told"]
    assert [record["result"] for record in loop.ends()] == [{"rule": 7}]
    assert (one.open, bool(one)) == (0, False)


def test_all_are_kept_and_then_published_and_nobody_waits_for_the_commit():
    loop = Loop()
    loop.ledger.keep = lambda reply: loop.ledger.steps.append(("keep", reply.id)) or Future()
    one = letters(loop)
    for _ in range(2):
        one.taken()
        one.add(one.reply(ABOUT, Answer()))
    one.tell(one.take())
    assert [step for step, _ in loop.ledger.steps] == ["keep", "keep", "told", "told"]
    assert len(loop.ends()) == 2 and one.open == 0


def test_what_cannot_be_kept_is_told_nevertheless():
    loop = Loop()
    loop.ledger.fails["keep"] = FabricError(Code.SPOOL_FAILED)
    with capture_logs() as said:
        tell(loop, letters(loop))
    assert len(loop.ends()) == 1 and said[0]["event"] == "result not kept"


def test_what_is_refused_is_tried_once_more_as_how_it_ended():
    loop = Loop()
    loop.refuses += [FabricError(Code.TOO_LARGE), FabricError(Code.TOO_LARGE)]
    one = letters(loop)
    tell(loop, one)
    assert one.open == 1 and one
    with capture_logs() as said:
        one.tell(one.take())
    assert "result" not in loop.ends()[-1] and one.open == 0
    assert [entry["event"] for entry in said] == ["result not sent"]


def test_at_the_end_of_the_connection_nothing_is_tried_again():
    loop = Loop()
    loop.refuses.append(CLOSED)
    one = letters(loop)
    with capture_logs() as said:
        tell(loop, one)
    loop.refuses.append(FabricError(Code.TOO_LARGE))
    one.abandon()
    with capture_logs() as said_then:
        tell(loop, one)
    assert [entry["event"] for entry in said + said_then] == ["result not sent"] * 2
    assert (one.open, bool(one)) == (0, False)


def test_what_nobody_thought_of_is_an_answer_too():
    loop = Loop()
    with capture_logs() as said:
        reply = letters(loop).reply(ABOUT, Answer(result={"x": {1: object()}}))
    assert reply.record["end"] == "failed" and said[0]["event"] == "result not sent"


def test_what_an_earlier_process_left_unfinished_is_named_here_too():
    with capture_logs() as said:
        letters(Loop()).reply(ABOUT, interrupted())
    assert [(entry["event"], entry["id"], entry["code"]) for entry in said] == [
        ("action ended as unknown", ABOUT.leaf.hex(), "E722")
    ]
