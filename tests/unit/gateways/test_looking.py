"""The action that has a source look now: it completes with what was taken, or says why not, and ends in time."""

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from fabric.edge.control import Control
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Pulled
from relays.gateways.looking import LookHandler


def action(value="misp", left_ms=20_000):
    return SimpleNamespace(target=SimpleNamespace(value=value), control=Control(), deadline_ms=1_000 + left_ms)


def answer_to(asked, future=None, error=None):
    def pull(_name):
        if error is not None:
            raise error
        return future

    return LookHandler(pull, lambda: 1_000)(asked)


def ended(outcome):
    future = Future()
    (future.set_exception if isinstance(outcome, Exception) else future.set_result)(outcome)
    return future


def test_it_completes_with_what_was_taken():
    answer = answer_to(action(), ended(Pulled(3, 2, 1)))
    assert (answer.end, answer.result, answer.code) == ("completed", {"taken": 3, "known": 2, "rejected": 1}, None)


@pytest.mark.parametrize(("value", "future", "error", "code", "status"), [
    ({"a": 1}, None, None, Code.BAD_ACTION, 400), ("x", None, FabricError(Code.NOT_THERE, "x\n"), Code.NOT_THERE, 404),
    ("x", ended(FabricError(Code.SOURCE_AWAY, "HTTP 401")), None, Code.SOURCE_AWAY, 503),
    ("x", ended(KeyError("s3cret")), None, Code.SOURCE_FAILED, 503),
    ("x", None, FabricError(Code.NO_HANDLER), Code.NO_HANDLER, 404),
])
def test_it_says_why_not(value, future, error, code, status):
    answer = answer_to(action(value), future, error)
    assert (answer.code, answer.status) == (code, status) and answer.reason.isprintable()
    assert answer.end == ("refused" if code is Code.BAD_ACTION else "failed") and "s3cret" not in answer.reason


def test_it_waits_no_longer_than_its_deadline_and_not_when_it_is_cancelled():
    assert answer_to(action(left_ms=1), Future()).code is Code.TIMED_OUT
    assert answer_to(action(left_ms=-5_000), Future()).code is Code.TIMED_OUT
    asked, answers = action(), []
    thread = threading.Thread(target=lambda: answers.append(answer_to(asked, Future())))
    thread.start()
    asked.control.cancel()
    thread.join(20)
    assert answers[0].code is Code.CANCELLED
