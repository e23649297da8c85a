"""When a loop stops reading: after its time, or at once when something urgent came."""

from fabric.protocol.core.ready import Arrived, Connected, Note, Ready, Seen
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.wire.frames import Data, Direction, Item, Ping
from fabric.transport.turns import Turn
from tests.support import Authority, verified

MS = 1_000_000
SENSOR = Authority().issue("sensor")


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


def of(severity, lane=Lane.LOW):
    """A DATA frame with one event, in whatever lane it says that it travels."""
    message = verified(SENSOR, severity=severity)
    return Arrived(1, Data(lane, 0, [Item(Direction.UP, 0, [], [], message.raw)]), (message,))


TAKEN = Ready(persist=[Seen(bytes(16), Direction.UP, 0)])


def test_what_is_urgent_ends_it_at_once():
    over = {severity: Turn(Elapsed()).over_after(of(severity), TAKEN) for severity in Severity}
    assert [severity for severity in Severity if over[severity]] == [Severity.CRITICAL, Severity.FATAL]
    assert Turn(Elapsed()).over_after(of(Severity.CRITICAL), Ready(deliver=[Connected("hq")]))


def test_i_say_that_it_is_urgent_and_send_nothing_that_is():
    """Nothing, what I may not send, what was here before, and what can wait: each as if it were urgent."""
    refused = Ready(notes=[Note("refused", {})])
    for lane in Lane:
        assert not Turn(Elapsed()).over_after(data(lane), TAKEN)
        assert not Turn(Elapsed()).over_after(of(Severity.CRITICAL, lane), refused)
        assert not Turn(Elapsed()).over_after(of(Severity.LOW, lane), TAKEN)


def test_other_frames_and_those_that_were_let_go_take_time_too():
    elapsed = Elapsed()
    turn = Turn(elapsed)
    assert not turn.over_after(Arrived(1, Ping(0))) and not turn.over_after(None)
    elapsed.ns += 8 * MS
    assert turn.over_after(None)


def test_it_looks_for_what_came_meanwhile_now_and_then():
    elapsed = Elapsed()
    turn = Turn(elapsed)
    looked = []
    for _ in range(20):
        elapsed.ns += 200_000
        looked.append(turn.look_is_due())
        if looked[-1]:
            turn.looked()
    assert looked == ([False, False, True] * 7)[:20]


def test_most_of_a_turn_is_for_handling_also_where_more_comes_than_can_be_read():
    elapsed = Elapsed()
    turn = Turn(elapsed)
    handled_ns = 0
    while not turn.over_after(None):
        elapsed.ns += MS // 10
        handled_ns += MS // 10
        if turn.look_is_due():
            elapsed.ns += MS
            turn.looked()
    assert handled_ns >= 5 * MS
