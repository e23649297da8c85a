"""When a loop stops reading: after its time, or at once when something urgent came."""

from fabric.protocol.ready import Arrived
from fabric.protocol.severity import Lane
from fabric.protocol.wire import Data, Ping
from fabric.transport.turns import Turn

MS = 1_000_000


class Elapsed:
    def __init__(self):
        self.ns = 5 * MS

    def __call__(self):
        return self.ns


def data(lane):
    return Arrived(1, Data(lane, 0, []))


def test_what_can_wait_shares_a_turn_until_its_time_is_over():
    elapsed = Elapsed()
    turn = Turn(elapsed)
    for _ in range(7):
        elapsed.ns += MS
        assert not turn.over_after(data(Lane.LOW))
    elapsed.ns += MS
    assert turn.over_after(data(Lane.LOW))


def test_what_is_urgent_ends_it_at_once():
    over = {lane: Turn(Elapsed()).over_after(data(lane)) for lane in Lane}
    assert [lane for lane in Lane if over[lane]] == [Lane.URGENT, Lane.CRITICAL]


def test_other_frames_and_those_that_were_let_go_take_time_too():
    elapsed = Elapsed()
    turn = Turn(elapsed)
    assert not turn.over_after(Arrived(1, Ping(0))) and not turn.over_after(None)
    elapsed.ns += 8 * MS
    assert turn.over_after(None)
