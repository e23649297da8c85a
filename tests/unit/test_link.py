import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX, LANE_WINDOW_BYTES
from fabric.protocol.links.link import ALLOWED, Link, State
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Ack, Bye, Data, Hello, Ping, Refused, Role, Welcome
from tests.support import T0, Authority

RELAY = Authority("link").issue("ot-1", NodeKind.RELAY)
HELLO = Hello(1, 1, "acme", Role.CHILD, b"", bytes(16), bytes(16), 0, 0, 0)
WELCOME = Welcome(1, b"", bytes(16), bytes(16), 0, 0, 0, 0, 0)
DATA, ACK = Data(Lane.LOW, 0, []), Ack([])
REFUSED, BYE, PING = Refused(Code.REVOKED, "", b""), Bye(Code.CLOSED, ""), Ping(0)


def link(state=State.WAITING):
    made = Link(1, RELAY.curve_key, bytes(16), T0)
    if state is State.OPEN:
        made.opened(RELAY.credential, Role.CHILD, bytes(16), T0)
    made.state = state
    return made


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (State.WAITING, [HELLO]),
        (State.GREETED, [WELCOME, REFUSED, BYE]),
        (State.OPEN, [HELLO, WELCOME, REFUSED, BYE, DATA, ACK, PING]),
        (State.CLOSED, []),
    ],
)
def test_a_frame_that_the_state_does_not_allow_is_not_ready(state, allowed):
    for frame in (HELLO, WELCOME, REFUSED, BYE, DATA, ACK, PING):
        problem = link(state).check(frame)
        assert (problem is None) == (frame in allowed)
        assert problem is None or problem.code is Code.NOT_READY


def every(lane):
    return True


def test_every_state_has_its_row():
    assert set(ALLOWED) == set(State)


def test_before_the_handshake_a_peer_may_only_say_little():
    assert link(State.WAITING).frame_bytes_max == HELLO_BYTES_MAX
    assert link(State.CLOSED).frame_bytes_max == HELLO_BYTES_MAX
    assert link(State.OPEN).frame_bytes_max == FRAME_BYTES_MAX


def test_both_sides_start_with_a_full_window():
    opened = link(State.OPEN)
    assert opened.allowance() == [LANE_WINDOW_BYTES] * len(Lane)
    assert opened.grant(every) is None


def test_what_was_sent_takes_from_its_lane_only():
    opened = link(State.OPEN)
    opened.sent_bytes[Lane.HIGH] += 1_000
    assert opened.allowance()[Lane.HIGH] == LANE_WINDOW_BYTES - 1_000
    assert opened.allowance()[Lane.LOW] == LANE_WINDOW_BYTES


def test_what_is_sent_again_is_paid_once():
    opened = link(State.OPEN)
    opened.sent_bytes[Lane.HIGH] += 1_000
    opened.refund(Lane.HIGH, 1_000)
    assert opened.allowance()[Lane.HIGH] == LANE_WINDOW_BYTES


def test_credit_is_given_when_half_a_window_was_used():
    opened = link(State.OPEN)
    opened.consumed_bytes[Lane.HIGH] = LANE_WINDOW_BYTES // 2 - 1
    assert opened.grant(every) is None
    opened.consumed_bytes[Lane.HIGH] += 1
    credit = opened.grant(every)
    assert credit.allowed_bytes[Lane.HIGH] == LANE_WINDOW_BYTES // 2 + LANE_WINDOW_BYTES
    assert opened.grant(every) is None


def test_credit_is_cumulative_so_a_lost_one_is_made_good_by_the_next():
    opened = link(State.OPEN)
    opened.consumed_bytes[Lane.LOW] = LANE_WINDOW_BYTES
    lost = opened.grant(every)
    repeated = opened.grant(every, always=True)
    assert repeated == lost
    assert repeated.allowed_bytes[Lane.LOW] == 2 * LANE_WINDOW_BYTES


def test_a_lane_that_takes_nothing_in_is_granted_nothing_until_it_does_again():
    opened = link(State.OPEN)
    opened.consumed_bytes = [LANE_WINDOW_BYTES] * len(Lane)
    credit = opened.grant(lambda lane: lane is not Lane.LOW)
    assert credit.allowed_bytes[Lane.LOW] == LANE_WINDOW_BYTES, "what was granted stays granted"
    assert credit.allowed_bytes[Lane.HIGH] == 2 * LANE_WINDOW_BYTES
    assert opened.grant(lambda lane: lane is not Lane.LOW) is None
    assert opened.grant(every).allowed_bytes[Lane.LOW] == 2 * LANE_WINDOW_BYTES


def test_a_link_that_opened_knows_its_peer():
    opened = link()
    opened.opened(RELAY.credential, Role.CHILD, b"s" * 16, T0 + 5)
    assert (opened.is_open, opened.peer, opened.peer_role) == (True, RELAY.credential, Role.CHILD)
    assert (opened.peer_session, opened.heard_at_ms, opened.pinged_at_ms) == (b"s" * 16, T0 + 5, T0 + 5)
