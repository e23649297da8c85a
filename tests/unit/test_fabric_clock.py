"""A parent lies about the time: what it gets from it is little, and ends when it goes."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import BACKED_PING_MS, CLOCK_JUMP_MS, SKEW_MS
from fabric.protocol.core.fabric_clock import FabricClock
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind, check_validity_by
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Lists, Nack, Ping, Pong, Refused, Role, Welcome
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, FABRIC, HOUR_MS, MINUTE_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("fabric clock")
YEAR_MS = 365 * DAY_MS
LASTS = {"not_before_ms": T0 - DAY_MS, "not_after_ms": T0 + YEAR_MS}
SHORT = {"not_before_ms": T0 - DAY_MS, "not_after_ms": T0 + 90 * DAY_MS}
BAD, MID = (AUTHORITY.issue(name, NodeKind.RELAY, Label.RED, **LASTS) for name in ("bad", "mid"))
BACKUP = AUTHORITY.issue("backup", NodeKind.RELAY, Label.RED, **SHORT)
SENSOR = AUTHORITY.issue("zeek-1", grants=EVERYTHING, **SHORT)
FORMER = AUTHORITY.issue("zeek-0", grants=EVERYTHING, not_before_ms=T0 - 60 * DAY_MS, not_after_ms=T0 - 30 * DAY_MS)
LIES = pytest.mark.parametrize("lie_ms", [10 * YEAR_MS, -10 * YEAR_MS, 200 * DAY_MS, HOUR_MS, -HOUR_MS], ids=str)


def below(*parents: str, off_ms: int = 0) -> Conversation:
    """A relay with a backup for its parent, by a clock that is so far ahead."""
    talk = Conversation(Relay(
        MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), parents or ("bad", "backup")
    ))
    talk.now_ms = T0 + off_ms
    return talk


def tell(talk: Conversation, link: int, clock_ms: int) -> None:
    """A PONG to a PING of this moment."""
    talk.say(link, Pong(talk.now_ms, clock_ms))


def insist(talk: Conversation, link: int, ahead_ms: int, for_ms: int = CLOCK_JUMP_MS + BACKED_PING_MS) -> None:
    """Tells with every PONG that it is so much later, until that is believed."""
    for _ in range(0, for_ms, BACKED_PING_MS):
        tell(talk, link, talk.now_ms + ahead_ms)
        pass_time(talk, BACKED_PING_MS)
    tell(talk, link, talk.now_ms + ahead_ms)


def pass_time(talk: Conversation, for_ms: int) -> None:
    """Everybody who has a link keeps it."""
    for _ in range(0, for_ms, BACKED_PING_MS):
        for number, link in list(talk.core.links.items()):
            if link.is_open:
                talk.say(number, Ping(talk.now_ms))
        talk.wait(BACKED_PING_MS)


def refusals(talk: Conversation, link: int) -> list[Code]:
    return [refused.code for refused in talk.heard(link, Refused)]


# -- what a false parent gets -------------------------------------------------------------------------------


@LIES
@pytest.mark.parametrize("for_ms", [BACKED_PING_MS, CLOCK_JUMP_MS + BACKED_PING_MS], ids=["once", "insists"])
def test_a_false_parent_turns_nobody_away_while_it_is_there_and_after(lie_ms, for_ms):
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    there = talk.connect(SENSOR, Role.POINT)
    insist(talk, bad, lie_ms, for_ms)
    talk.wait(1_000)
    new = talk.connect(SENSOR, Role.POINT, session=b"t" * 16)
    assert talk.closed == [] and refusals(talk, new) == [] == refusals(talk, there), "who is valid stays, and comes"
    talk.send(new, verified(SENSOR, issued_at_ms=talk.now_ms))
    assert talk.heard(new, Nack) == []
    talk.lose(bad)
    talk.wait(30 * MINUTE_MS, every_ms=10_000)
    later = talk.connect(SENSOR, Role.POINT, session=b"u" * 16)
    backup = talk.dial(BACKUP, Role.CHILD)
    assert refusals(talk, later) == [] == refusals(talk, backup)
    assert talk.core.by_destination[UPLINK].number == backup
    assert not talk.core.time.suspect and talk.core.time.now(talk.now_ms) == talk.now_ms


@pytest.mark.parametrize("lie_ms", [YEAR_MS + DAY_MS, 10 * YEAR_MS, -2 * DAY_MS, 2**50], ids=str)
def test_a_time_at_which_neither_would_be_there_is_not_believed(lie_ms):
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    tell(talk, bad, T0 + lie_ms)
    assert talk.core.time.now(T0) == T0 and not talk.core.time.suspect
    assert talk.count("time_refused:credential_expired") == 1


@pytest.mark.parametrize("sent_ms", [0, T0 - YEAR_MS, T0 + YEAR_MS, -(2**40)], ids=str)
def test_an_answer_to_what_was_never_asked_moves_nothing(sent_ms):
    clock = FabricClock(SKEW_MS)
    clock.hear(1, (BAD.credential, MID.credential), T0, T0, T0)
    clock.hear(1, (BAD.credential, MID.credential), sent_ms, T0, T0)
    assert clock.now(T0) == T0


def test_a_time_that_is_told_for_a_moment_moves_nothing():
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    sensor = talk.connect(SENSOR, Role.POINT)
    for number, lie_ms in enumerate([HOUR_MS, 0, 30 * DAY_MS, -HOUR_MS, DAY_MS, 0]):
        tell(talk, bad, talk.now_ms + lie_ms)
        assert talk.core.time.now(talk.now_ms) == talk.now_ms and not talk.core.time.suspect
        talk.send(sensor, verified(SENSOR, sequence=number, issued_at_ms=talk.now_ms))
        pass_time(talk, BACKED_PING_MS)
    assert talk.heard(sensor, Nack) == [] and sensor not in talk.closed
    assert talk.count("time_refused:clock_suspect") == 4


def test_creeping_gets_no_further_than_the_skew_before_it_is_doubted():
    talk = below()
    bad, lie_ms = talk.dial(BAD, Role.CHILD), 0
    sensor = talk.connect(SENSOR, Role.POINT)
    while lie_ms < 4 * SKEW_MS:
        lie_ms += SKEW_MS - 1
        tell(talk, bad, talk.now_ms + lie_ms)
        assert abs(talk.core.time.now(talk.now_ms) - talk.now_ms) <= SKEW_MS and not talk.core.time.suspect
        talk.wait(250)
    insist(talk, bad, 120 * DAY_MS)
    assert talk.core.time.suspect
    assert talk.closed == [] and refusals(talk, sensor) == []
    talk.lose(bad)
    assert talk.core.time.now(talk.now_ms) == talk.now_ms and talk.core.time.unknown


@pytest.mark.parametrize("lie_ms", [SKEW_MS - 1_000, 1_000 - SKEW_MS], ids=str)
def test_what_is_within_the_skew_is_believed_and_stays_within_it(lie_ms):
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    for _ in range(20):
        tell(talk, bad, talk.now_ms + lie_ms)
        talk.wait(2_000)
    talk.lose(bad)
    assert abs(talk.core.time.now(talk.now_ms) - talk.now_ms) < SKEW_MS
    assert not talk.core.time.unknown and not talk.core.time.suspect


def test_a_false_parent_lets_a_former_member_in_for_no_longer_than_it_is_there():
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    insist(talk, bad, -20 * HOUR_MS)
    assert refusals(talk, talk.connect(FORMER, Role.POINT)) == [Code.CREDENTIAL_EXPIRED], "not even so far"
    yesterday = AUTHORITY.issue("zeek-2", grants=EVERYTHING, not_before_ms=T0 - DAY_MS, not_after_ms=T0 - HOUR_MS)
    former = talk.connect(yesterday, Role.POINT)
    assert refusals(talk, former) == [], "a day back it was a member"
    talk.lose(bad)
    again = talk.connect(yesterday, Role.POINT, session=b"t" * 16)
    assert refusals(talk, again) == [Code.BUSY], "nobody says so any more"
    talk.dial(BAD, Role.CHILD)  # it says what is true now, as the next one would
    talk.wait(1_000)
    assert former in talk.closed
    last = talk.connect(yesterday, Role.POINT, session=b"u" * 16)
    assert refusals(talk, last) == [Code.CREDENTIAL_EXPIRED]


def test_a_false_parent_does_not_keep_the_better_one_away():
    talk = below("backup", "bad")
    bad = talk.dial(BAD, Role.CHILD)
    tell(talk, bad, T0 + 200 * DAY_MS)
    better = talk.connect(BACKUP, Role.PARENT)
    for _ in range(6):
        tell(talk, bad, T0 + 200 * DAY_MS)
        talk.say(better, Ping(talk.now_ms))
        talk.wait(1_000)
    assert talk.core.by_destination[UPLINK].number == better and refusals(talk, better) == []


def test_a_parent_that_was_left_tells_no_time():
    talk = below("backup", "bad")
    bad = talk.dial(BAD, Role.CHILD)
    talk.dial(BACKUP, Role.CHILD)
    assert bad not in talk.closed, "it may still have something for us"
    tell(talk, bad, T0 + 20 * DAY_MS)
    assert talk.core.time.now(T0) == T0 and not talk.core.time.suspect


def test_no_list_is_over_because_a_false_parent_says_so():
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    raw = issue_revocations(FABRIC, 1, T0, T0 + 30 * DAY_MS, [], AUTHORITY.signer)
    talk.say(bad, Lists(raw))
    tell(talk, bad, T0 + 200 * DAY_MS)
    assert not talk.core.trust_distribution.list_is_over(T0)
    assert talk.core.trust.check_action(SENSOR.credential, "elsewhere", talk.core.time.clocks(T0)) is None


# -- what is passed on --------------------------------------------------------------------------------------


def executor() -> tuple[Conversation, int]:
    wall = AUTHORITY.issue("fw-1", grants=EVERYTHING, **LASTS)
    talk = Conversation(Point(wall.credential, wall.signer, AUTHORITY.key, b"w" * 16, entropy("fw"), ("mid",)))
    return talk, talk.dial(MID, Role.POINT)


def test_the_deceived_tell_it_on_while_they_are_told_and_nothing_afterwards():
    talk = below()
    bad = talk.dial(BAD, Role.CHILD)
    child = talk.connect(SENSOR, Role.POINT)
    tell(talk, bad, T0 + HOUR_MS)
    talk.say(child, Ping(T0))
    assert [pong.fabric_clock_ms for pong in talk.heard(child, Pong)] == [T0 + HOUR_MS], "before it is believed"
    insist(talk, bad, HOUR_MS)
    talk.heard(child, Pong)
    talk.say(child, Ping(talk.now_ms))
    assert [pong.fabric_clock_ms for pong in talk.heard(child, Pong)] == [talk.now_ms + HOUR_MS]
    talk.lose(bad)
    talk.say(child, Ping(talk.now_ms))
    assert [pong.fabric_clock_ms for pong in talk.heard(child, Pong)] == [0]


def test_an_executor_below_the_deceived_acts_again_when_the_false_parent_has_gone():
    talk, up = executor()
    number = 0

    def refused() -> list[Code]:
        nonlocal number
        number += 1
        talk.send(up, verified(
            SENSOR, kind=Kind.ACTION, topic="deny.ipv4_net", sequence=number, ttl_ms=MINUTE_MS, to="id=fw-1",
            issued_at_ms=talk.now_ms,
        ), Direction.DOWN)
        return [code for frame in talk.heard(up, Nack) for _, code, _ in frame.refusals]

    tell(talk, up, talk.now_ms + HOUR_MS)
    assert refused() == [], "both clocks that it had agreed until now"
    insist(talk, up, HOUR_MS)
    assert refused() == [Code.CLOCK_SUSPECT]
    tell(talk, up, 0)
    assert refused() == []
    assert len(talk.told(Delivery)) == 2
    late = verified(
        SENSOR, kind=Kind.ACTION, topic="deny.ipv4_net", sequence=9, ttl_ms=MINUTE_MS, to="id=fw-1",
        issued_at_ms=T0 - HOUR_MS,
    )
    talk.send(up, late, Direction.DOWN)
    assert [code for frame in talk.heard(up, Nack) for _, code, _ in frame.refusals] == [Code.CLOCK_SUSPECT]
    # What waits for a handler is judged alike: it may be in time, and nobody here can say.
    ledger = SimpleNamespace(why_not=lambda header, now_ms: None)
    edge = SimpleNamespace(core=talk.core, ledger=ledger, clock=SimpleNamespace(now_ms=lambda: talk.now_ms))
    waits = Delivery(late, 0, ())
    assert EdgeLoop.still_valid(edge, waits, talk.now_ms).code is Code.CLOCK_SUSPECT
    assert EdgeLoop.still_valid(edge, waits, talk.now_ms - MINUTE_MS).code is Code.EXPIRED


# -- honest parents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("off_ms", [HOUR_MS, -HOUR_MS, 400 * DAY_MS, -400 * DAY_MS], ids=str)
def test_a_wrong_clock_is_healed_by_the_first_word_of_an_honest_parent(off_ms):
    talk = below("backup", off_ms=off_ms)
    talk.dial(BACKUP, Role.CHILD, clock_ms=T0)
    assert talk.core.time.now(talk.now_ms) == T0 and talk.core.time.suspect
    child = talk.connect(SENSOR, Role.POINT)
    assert [welcome.fabric_clock_ms for welcome in talk.heard(child, Welcome)] == [T0]


@pytest.mark.parametrize("off_ms", [HOUR_MS, -HOUR_MS, 400 * DAY_MS], ids=str)
def test_what_is_signed_without_a_parent_bears_the_time_that_the_last_one_told(off_ms):
    talk = below("backup", off_ms=off_ms)
    talk.lose(talk.dial(BACKUP, Role.CHILD, clock_ms=T0))
    talk.wait(MINUTE_MS, every_ms=10_000)
    assert talk.core.time.to_sign(talk.now_ms) == T0 + MINUTE_MS
    assert talk.core.time.now(talk.now_ms) == talk.now_ms, "nobody is judged by it"


def test_where_the_own_clock_is_wrong_for_certain_members_still_come_without_a_parent():
    talk = below("backup", off_ms=400 * DAY_MS)
    talk.lose(talk.dial(BACKUP, Role.CHILD, clock_ms=T0))
    assert refusals(talk, talk.connect(SENSOR, Role.POINT)) == []
    assert refusals(talk, talk.connect(FORMER, Role.POINT)) == [Code.BUSY], "not for good"


@pytest.mark.parametrize("step_ms", [2 * HOUR_MS, -2 * HOUR_MS], ids=str)
def test_the_root_s_clock_is_put_right_and_everybody_follows(step_ms):
    talk = below("backup")
    up = talk.dial(BACKUP, Role.CHILD)
    sensor = talk.connect(SENSOR, Role.POINT)
    tell(talk, up, talk.now_ms + step_ms)
    talk.send(sensor, verified(SENSOR, sequence=7, issued_at_ms=talk.now_ms + step_ms))
    assert talk.heard(sensor, Nack) == [], "it has heard it already"
    insist(talk, up, step_ms)
    assert talk.core.time.now(talk.now_ms) == talk.now_ms + step_ms
    assert talk.core.time.suspect, "or is it this machine's?"
    talk.send(sensor, verified(SENSOR, issued_at_ms=talk.now_ms + step_ms))
    talk.send(sensor, verified(SENSOR, sequence=1, issued_at_ms=talk.now_ms))
    assert talk.heard(sensor, Nack) == [] and talk.closed == []
    talk.core.time.wall_is_ahead(step_ms)
    assert not talk.core.time.suspect


@pytest.mark.parametrize("step_ms", [2 * HOUR_MS, -2 * HOUR_MS], ids=str)
def test_what_was_signed_by_the_wrong_time_is_still_taken_when_the_right_one_is_back(step_ms):
    talk = below("backup")
    up = talk.dial(BACKUP, Role.CHILD)
    sensor = talk.connect(SENSOR, Role.POINT)
    insist(talk, up, step_ms)
    tell(talk, up, talk.now_ms)
    assert not talk.core.time.suspect, "two of the three agree again"
    talk.send(sensor, verified(SENSOR, issued_at_ms=talk.now_ms + step_ms))
    assert talk.heard(sensor, Nack) == [], "the sensor has not heard it yet"
    pass_time(talk, CLOCK_JUMP_MS)
    talk.send(sensor, verified(SENSOR, sequence=1, issued_at_ms=talk.now_ms + step_ms))
    assert len(talk.heard(sensor, Nack)) == 1


# -- any lies -----------------------------------------------------------------------------------------------

_WORDS = st.lists(st.tuples(
    st.integers(1, 2),
    st.one_of(st.integers(-(2**63), 2**63), st.integers(-40_000, 1_000).map(lambda ms: T0 + ms)),
    st.one_of(st.just(0), st.integers(0, 2**63), st.integers(-2 * YEAR_MS, 2 * YEAR_MS).map(lambda ms: T0 + ms)),
), max_size=12)


@given(words=_WORDS)
def test_whatever_parents_say_who_is_valid_by_the_own_clock_is_never_over(words):
    clock = FabricClock(SKEW_MS)
    for parent, sent_ms, told_ms in words:
        clock.hear(parent, (BAD.credential, MID.credential), sent_ms, told_ms, T0)
        assert check_validity_by(SENSOR.credential, clock.judging(MID.credential, T0), SKEW_MS) is None
        assert abs(clock.now(T0) - T0) < 2 * YEAR_MS, "and what is signed fits a number"
    clock.lost(1)
    clock.lost(2)
    assert abs(clock.now(T0) - T0) <= SKEW_MS and not clock.suspect
    assert len(clock.judging(MID.credential, T0)) == 1
