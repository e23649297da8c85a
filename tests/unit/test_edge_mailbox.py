"""Functions that other threads leave with a connection's thread, and what becomes of them when it ends."""

import select
from types import SimpleNamespace

import pytest

from fabric.edge.connection.mailbox import Mailbox
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Ready

ENDED = FabricError(Code.SPOOL_FAILED)


@pytest.fixture
def calls():
    made = Mailbox()
    yield made
    made.close()


def readable(calls):
    return bool(select.select([calls], [], [], 0)[0])


def test_they_run_in_order_with_what_they_call_themselves(calls):
    ran = []

    def again(now_ms, _ready):
        ran.append(now_ms)
        calls.call(lambda _now, _ready: ran.append("again"))

    calls.call(again)
    calls.call(lambda _now, _ready: ran.append("second"))
    assert calls.waits
    calls.run(7, Ready())
    assert ran == [7, "second", "again"] and not calls.waits


def test_a_call_wakes_the_thread_until_it_is_awake(calls):
    assert not readable(calls)
    for _ in range(10_000):  # far more than the pipe holds
        calls.wake()
    assert readable(calls)
    calls.awake({calls.fileno()})
    calls.awake(set())
    assert not readable(calls)


def test_whose_turn_did_not_come_is_told_why(calls):
    told = []
    calls.call(lambda _now, _ready: told.append("ran"), told.append)
    calls.call_if_any(lambda _now, _ready: told.append("ran"))
    calls.end(ENDED)
    calls.run(0, Ready())
    assert told == [ENDED]


def test_after_the_end_nothing_is_taken(calls):
    calls.end(ENDED)
    with pytest.raises(FabricError) as raised:
        calls.call(lambda _now, _ready: None)
    calls.call_if_any(lambda _now, _ready: None)
    assert raised.value is ENDED and not calls.waits


def test_many_calls_wake_it_once_and_none_is_left_behind(calls):
    """Whoever calls between two turns of the connection is heard in the next one, whoever called before."""
    calls.wake()
    calls.wake()
    assert len(calls._reader.recv(16)) == 1, "one is enough"
    calls.later(lambda *_: None)
    calls.awake(set())
    assert calls.waits, "left while it was awake already, and found by whoever looks after `awake`"
    calls.wake()
    assert select.select([calls], [], [], 0)[0], "and the next wakes it again"


def test_who_is_held_up_while_waking_it_does_not_wake_it_for_ever(calls):
    """Between the mark and the pipe others have a turn, which forgets who woke it; then something is in the pipe."""
    written, pipe = [], calls._writer
    calls._writer = SimpleNamespace(send=written.append, close=pipe.close)
    calls.wake()
    calls.awake(set())
    calls._writer = pipe
    pipe.send(*written)
    assert readable(calls)
    calls.awake({calls.fileno()})
    assert not readable(calls)


class Interrupted:
    """A pipe in which Ctrl-C comes before anything is written."""

    def send(self, _bytes):
        raise KeyboardInterrupt


def test_ctrl_c_in_the_midst_of_waking_it_leaves_the_next_call_to_wake_it(calls):
    writer, calls._writer = calls._writer, Interrupted()
    with pytest.raises(KeyboardInterrupt):
        calls.wake()
    calls._writer = writer
    calls.wake()
    assert select.select([calls], [], [], 0)[0]
