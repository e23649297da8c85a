"""Reverts at work: how many at a time, what they may do, and that the ledger hears of each."""

import threading

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.effects import reverting
from fabric.edge.effects.reverting import Effect, Reverting
from fabric.edge.handling.handlers import Answer, Handlers
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ledger_ops import KeepLease
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.unit.test_edge_executing import CLOSED, Loop, action


class Ledger:
    def __init__(self):
        self.changed = threading.Condition()
        self.ends, self.told = [], []

    def reverted(self, id_, answer):
        with self.changed:
            self.ends.append((id_, answer.end, answer.code))
            self.changed.notify_all()

    def lease_told(self, id_):
        with self.changed:
            self.told.append(id_)
            self.changed.notify_all()

    def wait(self, count, what="ends"):
        with self.changed:
            assert self.changed.wait_for(lambda: len(getattr(self, what)) >= count, 10)
        return getattr(self, what)


@pytest.fixture
def loop():
    one = Loop()
    one.ledger = Ledger()
    return one


@pytest.fixture
def start(loop):
    made = []

    def begin(revert):
        handlers = Handlers(["deny ipv4_net"])
        handlers.add("deny", "ipv4_net", lambda _: None, **({} if revert is None else {"revert": revert}))
        made.append(Reverting(loop, loop.publish, handlers, lambda call, given: call(given), structlog.get_logger()))
        return made[-1]

    yield begin
    for one in made:
        one.finish(0.0)


def lease(number):
    message = action(number).message
    return KeepLease(message.id, 0, 0, "soar-1", b"e" * 16, b"v" * 16, ("hq",), 0, "", 0, message.raw)


def test_a_revert_gets_the_action_as_it_was(start, loop):
    given = []
    start(given.append).revert(lease(1))
    assert loop.ledger.wait(1) == [(lease(1).id, End.COMPLETED, None)]
    (one,) = given
    assert (one.action, one.target.value, one.requester, one.path) == ("deny", "192.0.2.1", "soar-1", ("hq",))
    assert one.id[:32] == lease(1).id.hex()


def raises(_action):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("revert", "end", "code"),
    [(raises, End.FAILED, Code.HANDLER_FAILED), (lambda _: 7, End.FAILED, Code.HANDLER_FAILED),
     (None, End.FAILED, Code.NOT_REVERTED), (lambda _: {"undone": 1}, End.COMPLETED, None),
     (lambda _: Answer(End.REFUSED), End.REFUSED, None)],
)
def test_whatever_it_does_the_ledger_hears_of_it(start, loop, revert, end, code):
    with capture_logs() as said:
        start(revert).revert(lease(1))
        assert loop.ledger.wait(1) == [(lease(1).id, end, code)]
    assert [each["event"] for each in said] == (["revert failed"] if end is not End.COMPLETED else [])


def test_many_failures_are_one_line(start, loop):
    one = start(raises)
    with capture_logs() as said:
        for number in range(1, 20):
            one.revert(lease(number))
        loop.ledger.wait(19)
    assert len(said) == 1


def test_no_more_than_some_run_at_a_time_and_those_that_hang_hold_up_others_for_a_minute(start, loop):
    gate, at_work = threading.Event(), []

    def hangs(action):
        at_work.append(action.target.value)
        assert gate.wait(20)

    one = start(hangs)
    for number in range(1, 21):
        one.revert(lease(number))

    def wait_for(count):
        waited = threading.Event()
        while len(at_work) < count and not waited.wait(0.005):
            pass

    wait_for(reverting._AT_ONCE)
    assert len(at_work) == reverting._AT_ONCE and not one.hanging(loop.now_ms)
    loop.now_ms += reverting.HANGS_MS
    assert len(one.hanging(loop.now_ms)) == reverting._AT_ONCE
    wait_for(2 * reverting._AT_ONCE)
    assert one.finish(0.0) == 2 * reverting._AT_ONCE, "what has not begun does not begin any more"
    gate.set()
    assert one.finish(10.0) == 0 and len(at_work) == 2 * reverting._AT_ONCE
    one.revert(lease(30))
    one.tell(effect())
    assert not loop.published


def effect(*, is_last=True):
    stamp = Stamp(Kind.RESULT, "deny.ipv4_net", Severity.HIGH, Phase.NONE, 60_000, Label.GREEN, correlation=bytes(32))
    return Effect(b"i" * 16, stamp, {"effect": "reverted"}, is_last)


@pytest.mark.parametrize(
    ("problems", "published", "said"),
    [([], 1, []), ([FabricError(Code.EXPIRED)], 2, []),
     ([FabricError(Code.EXECUTE_DENIED)], 1, ["end of an effect not told"])],
)
def test_an_end_is_told_until_somebody_holds_it_or_nobody_ever_will(start, loop, problems, published, said):
    loop.refuses += problems
    with capture_logs() as logs:
        start(None).tell(effect())
        assert loop.ledger.wait(1, "told") == [b"i" * 16]
    assert len(loop.published) == published and [each["event"] for each in logs] == said


def test_at_the_end_of_the_connection_it_is_left_to_the_next_program(start, loop):
    loop.refuses.append(CLOSED)
    loop.ended = CLOSED
    one = start(None)
    one.tell(effect())
    one.tell(effect(is_last=False))
    with loop.changed:
        assert loop.changed.wait_for(lambda: len(loop.published) == 2, 10)
    assert not loop.ledger.told
