"""How often a node needs a turn while nothing comes."""

import pytest

from fabric.protocol.base.limits import BACKED_PING_MS, PARENT_SILENCE_MS, PING_MS
from fabric.protocol.core.ready import LinkUp, Tick
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Ack, Ping, Pong, Role, Routed, Routes
from tests.conversation import Conversation
from tests.support import EVERYTHING, Authority, entropy, verified

AUTHORITY = Authority("node")
ME, HQ, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low"))
SENSOR = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


def placed(*parents):
    """A relay whose parent knows who is below it, some seconds ago."""
    talk = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, bytes(16), entropy("node"), parents))
    up = talk.dial(HQ, Role.CHILD)
    for _ in range(40):
        for frame in talk.heard(up, Routes):
            talk.say(up, Routed(frame.sequence, []))
        talk.say(up, Pong(talk.now_ms, talk.now_ms))
        talk.wait(250)
    return talk, up


def turns(talk, for_ms):
    """The times of the turns that it asks for, as far as a driver has to give it any."""
    until_ms, at_ms = talk.now_ms + for_ms, []
    while talk.last.wake_at_ms <= until_ms:
        talk.now_ms = max(talk.now_ms, talk.last.wake_at_ms)
        at_ms.append(talk.now_ms)
        talk.step(Tick())
        assert len(at_ms) < 1_000, "it spins"
    talk.now_ms = until_ms
    return at_ms


def longest(at_ms):
    return max(later - earlier for earlier, later in zip(at_ms, at_ms[1:], strict=False))


def test_who_has_nothing_to_do_needs_a_turn_a_second_and_one_for_each_ping():
    talk, up = placed("hq")
    talk.heard(up, Ping)
    at_ms = turns(talk, 2 * PING_MS)
    assert len(at_ms) <= 2 * PING_MS / 1_000 + 2
    assert len(talk.heard(up, Ping)) == 2
    assert talk.closed == []


def test_what_is_held_is_looked_after_four_times_a_second_and_for_a_moment_after_it_went():
    talk, up = placed("hq")
    sensor = talk.connect(SENSOR, Role.POINT)
    message = verified(SENSOR)
    talk.send(sensor, message)
    assert longest(turns(talk, 3_000)) <= 250
    talk.say(up, Ack([message.id]))
    assert longest(turns(talk, 2_000)) <= 250, "what follows from it may have been put off"


def test_whoever_comes_ends_the_calm():
    talk, _ = placed("hq")
    turns(talk, 3_000)
    talk.step(LinkUp(7, LOW.curve_key, b""))
    assert longest(turns(talk, 2_000)) <= 250


def test_who_looks_for_a_parent_is_not_idle():
    talk, up = placed("hq")
    talk.lose(up)
    assert longest(turns(talk, 10_000)) <= 250


@pytest.mark.parametrize("heard_ms_ago", [0, 400, 900])
def test_turns_only_when_it_asks_for_them_suffice_to_leave_a_parent_that_hangs_in_time(heard_ms_ago):
    talk, up = placed("hq", "spare")
    talk.heard(up, Ping)
    talk.say(up, Pong(talk.now_ms, talk.now_ms))
    talk.now_ms += heard_ms_ago
    talk.step(Tick())
    turns(talk, PARENT_SILENCE_MS + 251 - heard_ms_ago)
    assert talk.closed == [up]
    assert len(talk.heard(up, Ping)) >= PARENT_SILENCE_MS // BACKED_PING_MS + 1, "it was asked again"
