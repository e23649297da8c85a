import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX
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


def test_every_state_has_its_row():
    assert set(ALLOWED) == set(State)


def test_before_the_handshake_a_peer_may_only_say_little():
    assert link(State.WAITING).frame_bytes_max == HELLO_BYTES_MAX
    assert link(State.CLOSED).frame_bytes_max == HELLO_BYTES_MAX
    assert link(State.OPEN).frame_bytes_max == FRAME_BYTES_MAX


def test_a_link_that_opened_knows_its_peer():
    opened = link()
    opened.opened(RELAY.credential, Role.CHILD, b"s" * 16, T0 + 5)
    assert (opened.is_open, opened.peer, opened.peer_role) == (True, RELAY.credential, Role.CHILD)
    assert (opened.peer_session, opened.heard_at_ms, opened.pinged_at_ms) == (b"s" * 16, T0 + 5, T0 + 5)
