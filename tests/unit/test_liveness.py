"""Which links live: what a node does on a link as time passes, with nothing else happening."""

from collections import Counter

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import (
    BACKED_PING_MS,
    HELLO_RETRY_MS,
    HELLO_WAIT_MS,
    LINK_SILENCE_MS,
    PARENT_SILENCE_MS,
    PING_MS,
    SKEW_MS,
    SPARED_MS_MAX,
)
from fabric.protocol.core.ready import LinkDown, LinkUp
from fabric.protocol.links import liveness
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Hello, Intro, Ping, Pong, Refused, Role
from tests.conversation import Conversation
from tests.support import HOUR_MS, T0, Authority, entropy

AUTHORITY = Authority("liveness")
ME, HQ, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low"))
POINTS = [AUTHORITY.issue(f"zeek-{n}") for n in range(5)]


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


# -- many links, on which nothing happens -----------------------------------------------------------------------


@pytest.fixture
def crowded(monkeypatch):
    """A relay that is to answer one PING a second, and has six links: five of control points, and one of a child."""
    monkeypatch.setattr(liveness, "PINGS_PER_S", 1)
    talk = relay()
    points = [talk.connect(point, Role.POINT) for point in POINTS]
    return talk, points, talk.connect(LOW, Role.CHILD)


def spared(talk, link):
    talk.say(link, Ping(talk.now_ms))
    return talk.heard(link, Pong)[-1].spared_ms


def test_a_crowd_of_control_points_is_told_to_ask_less_often(crowded):
    talk, points, child = crowded
    assert [spared(talk, link) for link in points] == [2_000] * 5
    assert spared(talk, child) == 0


def test_those_who_are_spared_ask_together(crowded):
    """Four times a second by the relay's clock, whenever they asked, and never later than they all may."""
    talk, points, _ = crowded
    due_ms = []
    for link in points:
        talk.wait(37)
        more_ms = spared(talk, link)
        assert 2_000 - 250 < more_ms <= 2_000
        due_ms.append(talk.now_ms + PING_MS + more_ms)
    assert {each % 250 for each in due_ms} == {0} and len(set(due_ms)) <= 2


def test_a_quiet_link_that_is_spared_is_looked_at_as_much_later(crowded):
    talk, (link, *_), _ = crowded
    assert spared(talk, link) == 2_000
    talk.wait(250)
    assert PING_MS < talk.core.links[link].look_at_ms - talk.now_ms <= PING_MS + 2_000


def test_strangers_are_no_crowd(monkeypatch):
    monkeypatch.setattr(liveness, "PINGS_PER_S", 1)
    talk = relay()
    link = talk.connect(POINTS[0], Role.POINT)
    for number in range(100, 120):
        talk.step(LinkUp(number, bytes([number]) * 32, b""))
    assert spared(talk, link) == 0


def test_a_relay_asks_as_often_as_ever_whatever_its_parent_says():
    talk = relay("hq")
    up = talk.dial(HQ, Role.CHILD)
    talk.say(up, Pong(talk.now_ms, talk.now_ms, spared_ms=10_000))
    talk.wait(PING_MS)
    assert talk.heard(up, Ping)
    talk.wait(LINK_SILENCE_MS)
    assert up in talk.closed


def test_who_was_told_to_ask_less_often_may_be_silent_for_as_much_longer(crowded):
    talk, (spared_link, other, *_), _ = crowded
    assert spared(talk, spared_link) == 2_000
    talk.wait(LINK_SILENCE_MS + 250)
    assert other in talk.closed and spared_link not in talk.closed
    talk.wait(1_750)
    assert spared_link not in talk.closed
    talk.wait(250)
    assert spared_link in talk.closed and talk.count("links_silent:point") == 5


def test_the_answer_that_spares_less_may_be_lost(crowded):
    talk, (link, *others), _ = crowded
    assert spared(talk, link) == 2_000
    for other in others:
        talk.step(LinkDown(other))
    assert spared(talk, link) == 0
    talk.wait(LINK_SILENCE_MS + 2_000)
    assert link not in talk.closed
    talk.wait(250)
    assert link in talk.closed


def point(*relays):
    talk = Conversation(
        Point(POINTS[0].credential, POINTS[0].signer, AUTHORITY.key, bytes(16), entropy("liveness"), relays)
    )
    return talk, talk.dial(HQ, Role.POINT)


def answered(talk, link, spared_ms):
    """Its next PING is; when it came."""
    while not (asked := talk.heard(link, Ping)):
        talk.wait(250)
    talk.say(link, Pong(asked[-1].clock_ms, talk.now_ms, spared_ms=spared_ms))
    return talk.now_ms


@pytest.mark.parametrize(("relays", "usual_ms"), [(("hq",), PING_MS), (("hq", "spare"), BACKED_PING_MS)])
def test_a_control_point_asks_less_often_when_it_is_told_so(relays, usual_ms):
    talk, link = point(*relays)
    first_ms = answered(talk, link, 10_000)
    second_ms = answered(talk, link, 0)
    assert second_ms - first_ms == usual_ms + 10_000
    third_ms = answered(talk, link, 0)
    assert third_ms - second_ms == usual_ms + 10_000, "its relay may not know that the last answer came"
    assert answered(talk, link, 0) - third_ms == usual_ms


def test_a_question_that_is_not_answered_is_asked_again_as_soon_as_ever():
    talk, link = point("hq")
    answered(talk, link, 10_000)
    talk.wait(PING_MS + 10_000)
    assert len(talk.heard(link, Ping)) == 1
    talk.wait(PING_MS)
    assert len(talk.heard(link, Ping)) == 1 and link not in talk.closed
    talk.wait(LINK_SILENCE_MS - PING_MS)
    assert link in talk.closed


def test_no_relay_makes_a_control_point_silent_for_long():
    talk, link = point("hq")
    first_ms = answered(talk, link, 2**40)
    assert answered(talk, link, 0) - first_ms == PING_MS + SPARED_MS_MAX


def test_links_on_which_nothing_happens_are_seldom_looked_at(monkeypatch):
    talk = relay()
    links = [talk.connect(point, Role.POINT) for point in POINTS]
    looked = []
    check = talk.core.policies.check_peer
    monkeypatch.setattr(
        talk.core.policies, "check_peer", lambda link, now_ms: looked.append(link.number) or check(link, now_ms)
    )
    for _ in range(3):
        talk.wait(PING_MS)
        for link in links:
            talk.say(link, Ping(talk.now_ms))
    assert all(2 <= looked.count(link) <= 4 for link in links)


def test_a_peer_on_whose_link_nothing_happens_is_what_others_say_that_it_became():
    talk = relay()
    link, other = (talk.connect(each, Role.POINT) for each in POINTS[:2])
    talk.wait(1_000)
    newer = AUTHORITY.issue("zeek-0", serial=2)
    talk.say(other, Intro([newer.credential.raw]))
    talk.wait(250)
    assert talk.core.links[link].peer == newer.credential
    talk.wait(1_000)
    talk.core.trust.credentials._displace("zeek-0")
    before = talk.core.links[link].look_at_ms
    talk.wait(250)
    assert talk.core.links[link].look_at_ms > before, "its id is another's by now, perhaps"


# -- what attackers and outages make of it ------------------------------------------------------------------------


def test_those_who_all_asked_at_once_do_not_do_so_for_ever(crowded, monkeypatch):
    """As after an outage: what is answered at one moment is what all that are urgent wait for."""
    monkeypatch.setattr(liveness, "_AT_ONCE", 1)
    talk, points, _ = crowded
    assert [spared(talk, link) for link in points] == [2_000, 1_750, 1_500, 1_250, 1_000]
    assert [spared(talk, points[0]) for _ in range(3)] == [2_000] * 3, "who asks more often takes nobody's place"
    talk.wait(250)
    assert spared(talk, points[1]) == 2_000


def test_where_they_are_too_many_for_what_they_are_spared_they_spread_nevertheless(crowded, monkeypatch):
    monkeypatch.setattr(liveness, "_AT_ONCE", 1)
    monkeypatch.setattr(liveness, "_TOGETHER_MS", 1_000)
    talk, points, _ = crowded
    due = dict.fromkeys(points, talk.now_ms)
    at_once = []
    for _ in range(20):
        link = min(due, key=due.get)
        talk.now_ms = max(talk.now_ms, due[link])
        due[link] = talk.now_ms + PING_MS + spared(talk, link)
        at_once.append(max(Counter(due.values()).values()))
    assert at_once[0] == 4 and at_once[-5:] == [2] * 5


def test_a_quiet_peer_is_gone_as_soon_as_its_time_is_over():
    member = AUTHORITY.issue("zeek-9", not_after_ms=T0 + 7_000)
    talk = relay()
    link = talk.connect(member, Role.POINT)
    while talk.now_ms < T0 + SKEW_MS + 4_000:
        talk.wait(4_000)
        talk.say(link, Ping(talk.now_ms))
    assert link not in talk.closed
    talk.wait(1_000)
    assert link not in talk.closed
    talk.wait(1_000)  # an idle relay looks once a second
    assert [refused.code for refused in talk.heard(link, Refused)] == [Code.CREDENTIAL_EXPIRED]


def test_a_relay_that_stood_still_reads_what_waits_before_it_takes_silence_for_an_end():
    talk = relay("hq")
    up = talk.dial(HQ, Role.CHILD)
    links = [talk.connect(point, Role.POINT) for point in POINTS]
    talk.wait(PING_MS)
    for link in links:
        talk.say(link, Ping(talk.now_ms))
    talk.say(up, Pong(talk.now_ms, talk.now_ms))
    talk.now_ms += HOUR_MS  # no turn meanwhile
    for link in links:
        talk.say(link, Ping(talk.now_ms))  # and a turn after each
    assert talk.closed == []
    talk.say(up, Pong(talk.now_ms, talk.now_ms))
    talk.wait(LINK_SILENCE_MS - 500)
    assert talk.closed == []
    talk.wait(750)
    assert sorted(talk.closed) == sorted([up, *links])
