"""A node that has just started below a parent does not know what time it is, and does nothing that it could not undo."""

import pytest

from fabric.protocol.credentials import NodeKind
from fabric.protocol.errors import Code
from fabric.protocol.ready import Put, Tick
from fabric.protocol.relay import Relay
from fabric.protocol.wire import Ack, Nack, Role, Welcome
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, HOUR_MS, MINUTE_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("clocks")
# As authorities issue them: for a year, from an hour before.
LASTS = {"not_before_ms": T0 - HOUR_MS, "not_after_ms": T0 + 365 * DAY_MS}
HQ, MID, LEAF = (AUTHORITY.issue(name, NodeKind.RELAY, **LASTS) for name in ("hq", "mid", "leaf"))
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING, **LASTS)
OFF = pytest.mark.parametrize("off_ms", [HOUR_MS, -HOUR_MS, -5 * MINUTE_MS, 30 * DAY_MS], ids=str)


def relay(off_ms: int) -> Conversation:
    """mid, below hq, just started, by a clock that is so far ahead."""
    talk = Conversation(Relay(MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), ("hq",)))
    talk.now_ms = T0 + off_ms
    return talk


def codes(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def welcomed(talk, off_ms, member=HQ):
    """mid dials its parent, whose clock is right."""
    link = talk.dial(member, Role.CHILD)
    talk.say(link, Welcome(1, member.credential.raw, b"p" * 16, b"n" * 16, T0, T0, 0, 0, 524_288))
    return link


@OFF
def test_what_comes_before_the_time_is_known_is_judged_by_its_age(off_ms):
    talk = relay(off_ms)
    link = talk.connect(LEAF, Role.CHILD)
    talk.send(link, verified(ZEEK, ttl_ms=MINUTE_MS))
    assert codes(talk, link) == [] and talk.heard(link, Ack)
    talk.send(link, verified(ZEEK, sequence=1, ttl_ms=MINUTE_MS), age_ms=MINUTE_MS)
    assert codes(talk, link) == [Code.EXPIRED], "however wrong the clock is"
    talk.wait(5_000)
    assert len(talk.core.custody) == 1 and talk.count("ended:expired") == 0


@OFF
def test_what_is_read_back_before_the_time_is_known_does_not_run_out_by_the_clock(off_ms):
    talk = relay(off_ms)
    link = talk.connect(LEAF, Role.CHILD)
    talk.send(link, verified(ZEEK, ttl_ms=MINUTE_MS))
    again = relay(off_ms)
    again.core.restore(talk.disk, again.now_ms)
    again.wait(5_000)
    assert len(again.core.custody) == 1
    again.wait(MINUTE_MS)
    assert len(again.core.custody) == 0 and again.count("ended:expired") == 1, "its age does run out"


def test_the_root_and_who_was_told_believe_their_clocks():
    root = Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"))
    told = relay(0)
    told.dial(HQ, Role.CHILD)
    for talk in (Conversation(root), told):
        assert not talk.core.clock_suspect
        link = talk.connect(LEAF, Role.CHILD)
        talk.send(link, verified(ZEEK, issued_at_ms=T0 + MINUTE_MS))
        assert codes(talk, link) == [Code.FROM_FUTURE]


def test_once_told_it_goes_on_believing_it_without_its_parent():
    talk = relay(0)
    talk.lose(talk.dial(HQ, Role.CHILD))
    talk.step(Tick())
    assert not talk.core.clock_suspect and not talk.persisted(Put)
