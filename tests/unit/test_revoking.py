"""A revocation list on its way through the tree, and who has it."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import LIST_GRACE_MS, RETRY_MS, SKEW_MS
from fabric.protocol.core.ready import Delivery, Handled, LinkUp
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Data,
    Direction,
    Hello,
    Item,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Welcome,
)
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, FABRIC, HOUR_MS, MINUTE_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("revoking")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ME = AUTHORITY.issue("mid", NodeKind.RELAY, segment="plant")
LOW = AUTHORITY.issue("low", NodeKind.RELAY)
LOWER = AUTHORITY.issue("lower", NodeKind.RELAY)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
FW = AUTHORITY.issue("fw-1", segment="plant", grants=EVERYTHING, tags=[("role", "firewall")])
SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING)
LOCAL = AUTHORITY.issue("soar-p", grants=EVERYTHING, segment="plant")


def listed(version, *ids, until_ms=T0 + 365 * DAY_MS):
    return issue_revocations(FABRIC, version, T0, until_ms, list(ids), AUTHORITY.signer)


@pytest.fixture
def talk():
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("revoking"), ("hq",)))


def root():
    return Conversation(Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"r" * 16, entropy("root")))


def codes(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def lists(talk, link):
    return [frame.revocations for frame in talk.heard(link, Lists)]


def action(member, **fields):
    fields = {"kind": Kind.ACTION, "topic": "deny.ipv4_net", "to": "role=firewall", **fields}
    return verified(member, **fields)


# -- who hands it to whom -------------------------------------------------------------------------------------


def test_a_new_list_goes_to_everybody_but_where_it_came_from(talk):
    up, low, zeek = talk.dial(HQ, Role.CHILD), talk.connect(LOW, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    raw = listed(5)
    talk.say(low, Lists(raw))
    assert (lists(talk, up), lists(talk, low), lists(talk, zeek)) == ([raw], [], [raw])
    assert talk.core.trust.revocations.version == 5


def test_whoever_has_the_newer_one_hands_it_over_when_a_link_opens(talk):
    raw = listed(5)
    talk.core.apply_lists(raw, talk.now_ms, talk.last)
    up = talk.dial(HQ, Role.CHILD)  # who says that it has none
    assert lists(talk, up) == [raw]
    low = talk.connect(LOW, Role.CHILD)
    assert lists(talk, low) == [raw]


@pytest.mark.parametrize("raw", [listed(4), listed(5, "zeek-1")], ids=["older", "another of the same version"])
def test_a_list_that_is_no_newer_is_counted_and_changes_nothing(talk, raw):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(up, Lists(listed(5)))
    lists(talk, zeek)
    talk.say(up, Lists(raw))
    assert talk.core.trust.revocations.raw == listed(5) and lists(talk, zeek) == []
    assert talk.count("refused:stale_list") == 1 and talk.closed == []


FORGED = {
    "cut off": (listed(9)[:-1], Code.MALFORMED),
    "of another fabric": (issue_revocations("other", 9, T0, T0, [], AUTHORITY.signer), Code.WRONG_FABRIC),
    "a relay's own": (issue_revocations(FABRIC, 9, T0, T0, [], LOW.signer), Code.STALE_LIST),
}


@pytest.mark.parametrize(("raw", "code"), FORGED.values(), ids=FORGED)
def test_a_list_that_is_not_the_authority_s_ends_the_link_and_changes_nothing(talk, raw, code):
    up, low, zeek = talk.dial(HQ, Role.CHILD), talk.connect(LOW, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(up, Lists(listed(5)))
    lists(talk, zeek)
    for link in (low, zeek):
        talk.say(link, Lists(raw))
        assert [frame.code for frame in talk.heard(link, Refused)] == [code] and link in talk.closed
    assert talk.core.trust.revocations.raw == listed(5) and up not in talk.closed


def test_the_same_list_again_is_nothing(talk):
    up = talk.dial(HQ, Role.CHILD)
    talk.say(up, Lists(listed(5)))
    talk.say(up, Lists(listed(5)))
    assert talk.count("refused:stale_list") == 0


def test_before_a_newer_list_came_nothing_of_that_link_is_believed(talk):
    """WELCOME says that the parent has version 7; LISTS was lost."""
    talk.step(LinkUp(1, HQ.curve_key, b"n" * 16, Role.CHILD, "hq"))
    talk.say(1, Welcome(1, HQ.credential.raw, b"p" * 16, b"n" * 16, T0, T0, 7, 0, 524_288))
    intel = verified(ZEEK, kind=Kind.INTEL, topic="intel.ipv4")
    talk.send(1, intel, Direction.DOWN)
    assert codes(talk, 1) == [Code.BUSY]
    talk.say(1, Lists(listed(7, "zeek-1")))
    talk.say(1, Data(intel.header.lane, talk.now_ms, [Item(Direction.DOWN, 0, [], [], intel.raw)]))
    assert codes(talk, 1) == [Code.REVOKED]


def test_a_list_that_is_lost_upwards_is_said_again_and_a_link_on_which_it_does_not_come_ends(talk):
    talk.core.apply_lists(listed(5), talk.now_ms, talk.last)
    up = talk.dial(HQ, Role.CHILD)
    lists(talk, up)
    talk.say(up, Pong(talk.now_ms, talk.now_ms))
    assert lists(talk, up) == [listed(5)]
    talk.step(LinkUp(9, LOW.curve_key, b""))
    talk.say(9, Hello(1, 1, FABRIC, Role.CHILD, LOW.credential.raw, b"s" * 16, b"n" * 16, T0, 10**9, 0))
    for _ in range(8):
        talk.send(9, verified(ZEEK))
        talk.wait(2_000)
    assert set(codes(talk, 9)) == {Code.BUSY} and 9 in talk.closed


def test_a_child_that_knows_more_is_not_believed_before_it_said_so(talk):
    talk.dial(HQ, Role.CHILD)
    talk.step(LinkUp(9, LOW.curve_key, b""))
    talk.say(9, Hello(1, 1, FABRIC, Role.CHILD, LOW.credential.raw, b"s" * 16, b"n" * 16, T0, 7, 0))
    talk.send(9, verified(ZEEK))
    assert codes(talk, 9) == [Code.BUSY]
    talk.say(9, Lists(listed(7)))
    talk.send(9, verified(ZEEK))
    assert codes(talk, 9) == [] and talk.heard(9, Ack)


# -- who has it -----------------------------------------------------------------------------------------------


def test_a_relay_says_upwards_what_it_and_those_below_have(talk):
    up, low = talk.dial(HQ, Role.CHILD), talk.connect(LOW, Role.CHILD)
    talk.place(low, LOW, "mid")
    talk.place(low, LOWER, "low", epoch=2)
    talk.say(up, Lists(listed(5)))
    talk.wait(500)
    assert ("mid", 5, T0) in [entry for frame in talk.heard(up, Applied) for entry in frame.entries]
    talk.say(low, Applied([("low", 5, T0 + 40), ("lower", 5, T0 + 90)]))
    talk.wait(500)
    told = [entry for frame in talk.heard(up, Applied) for entry in frame.entries]
    assert {("low", 5, T0 + 40), ("lower", 5, T0 + 90)} <= set(told)
    talk.wait(5 * RETRY_MS)
    talk.heard(up, Applied)
    talk.wait(5 * RETRY_MS)
    assert talk.heard(up, Applied) == [], "it is not said for ever"


def test_a_child_speaks_for_itself_and_those_below_it(talk):
    low = talk.connect(LOW, Role.CHILD)
    talk.say(low, Applied([("hq", 9, T0), ("lower", 9, T0), ("mid", 9, T0)]))
    assert set(talk.core.list_reach.applied) == set()


@pytest.mark.parametrize("role", [Role.POINT, Role.PARENT])
def test_nobody_else_says_so(talk, role):
    link = talk.dial(HQ, Role.CHILD) if role is Role.PARENT else talk.connect(ZEEK, Role.POINT)
    talk.say(link, Applied([("low", 9, T0)]))
    assert [frame.code for frame in talk.heard(link, Refused)] == [Code.WRONG_ROLE]


def test_a_child_is_told_again_until_it_says_that_it_has_it(talk):
    up, low = talk.dial(HQ, Role.CHILD), talk.connect(LOW, Role.CHILD)
    talk.say(up, Lists(listed(5)))
    lists(talk, low)
    talk.say(low, Ping(talk.now_ms))
    assert lists(talk, low) == [listed(5)]
    talk.say(low, Applied([("low", 5, T0)]))
    for _ in range(8):
        talk.say(low, Ping(talk.now_ms))
    assert lists(talk, low) == []


# -- whoever is on it is gone ---------------------------------------------------------------------------------


def test_a_revoked_target_is_not_selected_any_more():
    talk = root()
    fw, soar = talk.connect(FW, Role.POINT), talk.connect(SOAR, Role.POINT)
    talk.attach(fw, FW, "hq", executes=True)
    talk.core.apply_lists(listed(1, "fw-1"), talk.now_ms, talk.last)
    talk.send(soar, action(SOAR))
    assert talk.items(fw) == [] and talk.count("reported:nobody") == 1


def test_a_revoked_relay_takes_its_way_with_it(talk):
    talk.dial(HQ, Role.CHILD)
    low = talk.connect(LOW, Role.CHILD)
    talk.place(low, LOW, "mid")
    assert talk.core.routes.of_node("low")
    talk.core.apply_lists(listed(1, "low"), talk.now_ms, talk.last)
    assert not talk.core.routes.of_node("low") and "low" not in talk.core.list_reach.applied


def test_actions_of_a_revoked_requester_that_wait_are_not_handed_out(talk):
    up = talk.dial(HQ, Role.CHILD)
    low = talk.connect(LOW, Role.CHILD)
    talk.place(low, LOW, "mid")
    talk.attach(low, FW, "low", executes=True, epoch=3)
    talk.lose(low)
    talk.send(up, action(SOAR, label=SOAR.credential.clearance), Direction.DOWN, targets=("fw-1",))
    talk.say(up, Lists(listed(1, "soar-1")))
    assert talk.count("ended:revoked") == 1


@pytest.fixture
def point():
    talk = Conversation(Point(FW.credential, FW.signer, AUTHORITY.key, b"f" * 16, entropy("fw")))
    talk.link = talk.dial(ME, Role.POINT)
    return talk


def test_a_control_point_asks_again_before_it_executes(point):
    deny = action(SOAR)
    point.send(point.link, deny, Direction.DOWN, targets=("fw-1",))
    (delivery,) = point.told(Delivery)
    assert point.core.judging.may_not_act(delivery.message, point.now_ms) is None
    point.say(point.link, Lists(listed(1, "soar-1")))
    assert point.core.judging.may_not_act(delivery.message, point.now_ms).code is Code.REVOKED
    point.step(Handled(deny.id))


# -- past its time --------------------------------------------------------------------------------------------

OVER = T0 - SKEW_MS - MINUTE_MS


def test_past_the_list_s_time_actions_stop_and_events_pass(talk):
    up = talk.dial(HQ, Role.CHILD)
    talk.say(up, Lists(listed(1, until_ms=OVER)))
    soar = talk.connect(SOAR, Role.POINT)
    talk.send(soar, action(SOAR))
    assert codes(talk, soar) == [Code.LIST_EXPIRED]
    talk.send(soar, verified(SOAR))
    assert codes(talk, soar) == [] and len(talk.items(up)) == 1
    talk.say(up, Lists(listed(2)))
    talk.send(soar, action(SOAR, sequence=1))
    assert codes(talk, soar) == []


@pytest.mark.parametrize(("late_ms", "code"), [(HOUR_MS, []), (LIST_GRACE_MS + HOUR_MS, [Code.LIST_EXPIRED])])
def test_a_plant_that_is_cut_off_contains_its_own_incidents_for_a_while(talk, late_ms, code):
    up = talk.dial(HQ, Role.CHILD)
    talk.say(up, Lists(listed(1, until_ms=T0 - late_ms)))
    local = talk.connect(LOCAL, Role.POINT)
    talk.send(local, action(LOCAL))
    assert codes(talk, local) == code


def test_a_control_point_executes_nothing_either(point):
    point.say(point.link, Lists(listed(1, until_ms=OVER)))
    point.send(point.link, action(SOAR), Direction.DOWN, targets=("fw-1",))
    assert codes(point, point.link) == [Code.LIST_EXPIRED] and point.told(Delivery) == []
