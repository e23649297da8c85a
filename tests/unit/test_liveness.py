"""Which links live: what a node does on a link as time passes, with nothing else happening."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import HELLO_RETRY_MS, HELLO_WAIT_MS, LINK_SILENCE_MS, PARENT_SILENCE_MS, PING_MS
from fabric.protocol.core.ready import LinkUp
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Hello, Ping, Refused, Role
from tests.conversation import Conversation
from tests.support import Authority, entropy

AUTHORITY = Authority("liveness")
ME, HQ, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low"))


def relay(*parents):
    return Conversation(
        Relay(ME.credential, ME.signer, AUTHORITY.key, bytes(16), entropy("liveness"), parents)
    )


@pytest.mark.parametrize(("parents", "most_ms"), [(("hq",), LINK_SILENCE_MS), (("hq", "spare"), PARENT_SILENCE_MS)])
def test_a_parent_that_says_nothing_is_given_up_earlier_where_there_is_another(parents, most_ms):
    talk = relay(*parents)
    up = talk.dial(HQ, Role.CHILD)
    talk.wait(most_ms)
    assert up not in talk.closed and talk.heard(up, Ping)
    talk.wait(500)
    assert up in talk.closed and talk.count("links_silent:parent") == 1


def test_only_a_parent_is_pinged():
    talk = relay("hq")
    up, low = talk.dial(HQ, Role.CHILD), talk.connect(LOW, Role.CHILD)
    talk.wait(PING_MS + 250)
    assert talk.heard(up, Ping) and not talk.heard(low, Ping)


def test_a_stranger_that_says_nothing_is_refused():
    talk = relay("hq")
    talk.step(LinkUp(7, LOW.curve_key, b""))
    talk.wait(HELLO_WAIT_MS)
    assert 7 not in talk.closed
    talk.wait(500)
    assert 7 in talk.closed and [refused.code for refused in talk.heard(7, Refused)] == [Code.NOT_READY]


def test_a_hello_is_repeated_until_nobody_is_expected_to_answer():
    talk = relay("hq")
    talk.step(LinkUp(7, HQ.curve_key, b"n" * 16, Role.CHILD, "hq"))
    talk.wait(HELLO_RETRY_MS + 250)
    assert len(talk.heard(7, Hello)) == 2
    talk.wait(LINK_SILENCE_MS)
    assert 7 in talk.closed and talk.count("links_silent:unanswered") == 1
