"""A node that just started below a parent does not know what time it is, and does nothing that it could not undo."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Put, Tick
from fabric.protocol.envelope.reports import NOTICE_TOPIC
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Ack, Credit, Nack, Ping, Pong, Refused, Role, Welcome
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, HOUR_MS, MINUTE_MS, T0, Authority, entropy, opened, verified

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


def welcomed_by_the_root(talk, member=HQ, clock_ms=T0):
    """mid dials its parent, which says what time it is."""
    return talk.dial(member, Role.CHILD, clock_ms=clock_ms)


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


def test_what_nobody_could_date_is_taken_by_its_age_and_ends_by_its_date_and_its_origin_is_told():
    """Its origin was told no time, and signed by a clock that is a year behind: no later hop can tell that from a
    message that is a year old."""
    talk = relay(0)
    link = talk.connect(ZEEK, Role.POINT)
    talk.attach(link, ZEEK, "mid")
    talk.send(link, verified(ZEEK, issued_at_ms=T0 - 365 * DAY_MS, ttl_ms=HOUR_MS))
    talk.wait(4_000)
    assert talk.heard(link, Ack) and talk.count("ended:expired") == 0
    talk.say(welcomed_by_the_root(talk), Credit([2**30] * len(Lane)))
    talk.send(link, verified(ZEEK, sequence=1, issued_at_ms=T0 - 365 * DAY_MS, ttl_ms=HOUR_MS))
    assert codes(talk, link) == [Code.EXPIRED], "from now on none is taken"
    talk.wait(20_000)
    assert talk.count("ended:expired") == 1
    told = [opened(item.envelope, ZEEK, MID) for item in talk.items(link)]
    assert {message.header.topic for message in told} == {NOTICE_TOPIC}


def test_the_root_and_who_was_told_believe_their_clocks():
    root = Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"))
    told = relay(0)
    told.dial(HQ, Role.CHILD)
    for talk in (Conversation(root), told):
        assert not talk.core.time.suspect
        link = talk.connect(LEAF, Role.CHILD)
        talk.send(link, verified(ZEEK, issued_at_ms=T0 + MINUTE_MS))
        assert codes(talk, link) == [Code.FROM_FUTURE]


def test_once_told_it_goes_on_believing_it_without_its_parent():
    talk = relay(0)
    talk.lose(talk.dial(HQ, Role.CHILD))
    talk.step(Tick())
    assert not talk.core.time.suspect and not talk.persisted(Put)


@pytest.mark.parametrize("off_ms", [366 * DAY_MS, -366 * DAY_MS, -2 * HOUR_MS], ids=str)
@pytest.mark.parametrize("dials", [True, False], ids=["dials", "is dialled"])
def test_who_is_off_by_more_than_its_credential_lasts_finds_its_parent_and_then_the_time(off_ms, dials):
    talk = relay(off_ms)
    if dials:
        link = welcomed_by_the_root(talk)
    else:
        link = talk.connect(HQ, Role.PARENT, clock_ms=T0)
        talk.wait(250)
    assert talk.core.by_destination[UPLINK].number == link
    pings = talk.heard(link, Ping)
    if not dials:  # a HELLO has no fabric time: it is asked for at once
        assert len(pings) == 1
        talk.say(link, Pong(pings[0].clock_ms, T0))
    assert abs(talk.core.time.behind_ms + off_ms) < 1_000 and talk.core.time.suspect
    below = talk.connect(LEAF, Role.CHILD)
    talk.send(below, verified(ZEEK))
    assert talk.heard(below, Welcome) and codes(talk, below) == []


def test_an_expired_parent_is_refused_by_who_has_a_credible_clock():
    former = AUTHORITY.issue("hq", NodeKind.RELAY, not_before_ms=T0 - 400 * DAY_MS, not_after_ms=T0 - DAY_MS)
    for link_of in (lambda talk: welcomed_by_the_root(talk, former, T0 - 2 * DAY_MS),
                    lambda talk: talk.connect(former, Role.PARENT, clock_ms=T0 - 2 * DAY_MS)):
        talk = relay(0)
        link = link_of(talk)
        assert UPLINK not in talk.core.by_destination and link in talk.closed
    lost = relay(366 * DAY_MS)
    welcomed_by_the_root(lost, former, T0)
    assert UPLINK not in lost.core.by_destination, "and by its own word, too"


def test_before_the_time_is_known_nobody_below_is_refused_for_good():
    talk = relay(366 * DAY_MS)
    link = talk.connect(LEAF, Role.CHILD)
    assert [refused.code for refused in talk.heard(link, Refused)] == [Code.BUSY]
    gone = AUTHORITY.issue("zeek-2", grants=EVERYTHING, not_before_ms=T0, not_after_ms=T0 + DAY_MS)
    talk = relay(2 * DAY_MS)
    link = talk.connect(LEAF, Role.CHILD)
    # Read back from disk: in an INTRO it would not be taken.
    talk.core.trust.credentials.learn(gone.credential)
    talk.send(link, verified(gone), introduce=False)
    assert codes(talk, link) == [Code.BUSY]
    welcomed_by_the_root(talk, clock_ms=T0 + 2 * DAY_MS)
    talk.send(link, verified(gone), introduce=False)
    assert codes(talk, link) == [Code.CREDENTIAL_EXPIRED], "now it knows"


def test_who_does_not_know_the_time_tells_nobody():
    talk = relay(HOUR_MS)
    link = talk.connect(LEAF, Role.CHILD)
    point = talk.connect(ZEEK, Role.POINT)
    assert [w.fabric_clock_ms for w in talk.heard(link, Welcome)] == [0]
    assert [w.fabric_clock_ms for w in talk.heard(point, Welcome)] == [0]
    talk.say(link, Ping(T0))
    assert [pong.fabric_clock_ms for pong in talk.heard(link, Pong)] == [0]
    welcomed_by_the_root(talk)
    talk.say(link, Ping(T0))
    assert [pong.fabric_clock_ms for pong in talk.heard(link, Pong)] == [T0]


def test_no_time_is_no_measure():
    talk = relay(0)
    link = talk.dial(HQ, Role.CHILD, clock_ms=0)
    talk.say(link, Pong(T0, 0))
    assert talk.core.time.unknown and talk.core.time.behind_ms == 0 and not talk.core.time.suspect
    talk.say(link, Pong(T0, T0))
    assert not talk.core.time.suspect
