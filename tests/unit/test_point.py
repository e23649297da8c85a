"""A control point's core as its relay meets it."""

from dataclasses import replace

import pytest

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    BACKED_PING_MS,
    LEAVING_MS,
    LEDGER_BYTES_MAX,
    LINK_SILENCE_MS,
    PARENT_SILENCE_MS,
    PING_MS,
)
from fabric.protocol.core.ready import (
    Attach,
    Attached,
    Connected,
    Delivery,
    Deny,
    Disconnected,
    Handled,
    Leave,
    LinkUp,
    Parents,
    Published,
    Put,
    Repeated,
    Submit,
    SubscriptionRefused,
)
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.action_room import ACTION_BYTES
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.trust.policies import Rule, When, issue_policies
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import (
    Ack,
    Bye,
    Denied,
    Direction,
    Hello,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Rules,
    Welcome,
)
from tests.conversation import Conversation
from tests.support import EVERYTHING, FABRIC, T0, Authority, entropy, verified

AUTHORITY = Authority("point")
RELAY = AUTHORITY.issue("mid", NodeKind.RELAY, Label.GREEN)
OTHER_RELAY = AUTHORITY.issue("low", NodeKind.RELAY)
ME = AUTHORITY.issue(
    "fw-1", clearance=Label.AMBER, tags=[("role", "firewall")],
    grants=Grants(publish=(PublishGrant("detections.>", Severity.HIGH),), subscribe=("detections.>",),
                  execute=("deny ipv4_net",)),
)
ORIGIN = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
SOAR = AUTHORITY.issue("soar-1", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
DOWN = Direction.DOWN


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("point")))


@pytest.fixture
def link(talk) -> int:
    number = talk.dial(RELAY, Role.POINT)
    assert talk.told(Connected) == [Connected("mid")]
    return number


def codes(talk: Conversation, link: int) -> list[Code]:
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def acked(talk: Conversation, link: int) -> list[bytes]:
    return [id_ for frame in talk.heard(link, Ack) for id_ in frame.ids]


def action(to="role=firewall", **fields):
    return verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to=to,
                    records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], **fields)


# -- the link -------------------------------------------------------------------------------------------------


def test_it_greets_as_a_control_point_and_again_until_it_is_answered(talk):
    talk.step(LinkUp(1, RELAY.curve_key, b"n" * 16, Role.POINT, "mid"))
    talk.wait(2_500)
    hellos = talk.heard(1, Hello)
    assert len(hellos) >= 3 and {hello.role for hello in hellos} == {Role.POINT}


def test_another_relay_than_the_one_that_was_dialled_is_refused(talk):
    talk.step(LinkUp(1, OTHER_RELAY.curve_key, b"n" * 16, Role.POINT, "mid"))
    talk.say(1, Welcome(1, OTHER_RELAY.credential.raw, b"p" * 16, b"n" * 16, T0, T0, 0, 0, 1))
    (told,) = talk.told(Disconnected)
    assert told.reason.code is Code.WRONG_PEER and told.final and talk.closed == [1]


def test_a_refusal_is_told_with_its_reason_and_whether_trying_again_can_help(talk):
    for code, final in ((Code.REVOKED, True), (Code.BUSY, False)):
        talk.step(LinkUp(7, RELAY.curve_key, b"n" * 16, Role.POINT, "mid"))
        talk.say(7, Refused(code, "fw-1", b"n" * 16))
        (told,) = talk.told(Disconnected)
        assert (told.reason.code, told.final) == (code, final)


# -- out ------------------------------------------------------------------------------------------------------


def test_what_is_submitted_ends_when_the_relay_holds_it(talk, link):
    message = verified(ME)
    talk.step(Submit(message))
    (item,) = talk.items(link)
    assert (item.direction, item.hops, item.envelope) == (Direction.UP, [], message.raw)
    assert talk.told(Published) == []
    talk.say(link, Ack([message.id]))
    assert talk.told(Published) == [Published(message.id, None, 1)]


def test_it_is_quiet_while_nothing_is_under_way_and_its_relay_is_heard(talk):
    def quiet_for_ms(after_ms=0):
        until_ms = talk.core.quiet_until_ms(talk.now_ms + after_ms)
        return None if until_ms is None else until_ms - talk.now_ms

    assert quiet_for_ms() is None, "it has no relay"
    link = talk.dial(RELAY, Role.POINT)
    assert quiet_for_ms() is None, "the relay has not said that it knows what this one takes"
    talk.say(link, Routed(talk.heard(link, Routes)[-1].sequence, []))
    asks_ms = quiet_for_ms()
    assert asks_ms is not None and 0 < asks_ms <= PING_MS, "then it asks whether the relay is there"
    message = verified(ME)
    talk.step(Submit(message))
    assert quiet_for_ms() is None
    talk.say(link, Ack([message.id]))
    assert quiet_for_ms() == asks_ms
    talk.core.links[link].pinged_at_ms = talk.now_ms + LINK_SILENCE_MS
    assert quiet_for_ms() == LINK_SILENCE_MS + 1, "a relay that is not heard is missed in time"
    assert quiet_for_ms(LINK_SILENCE_MS + 1) is None


def test_what_was_submitted_without_a_link_waits_for_one_with_the_same_bytes(talk):
    message = verified(ME)
    talk.step(Submit(message))
    first = talk.dial(RELAY, Role.POINT)
    assert [item.envelope for item in talk.items(first)] == [message.raw]
    talk.lose(first)
    second = talk.dial(RELAY, Role.POINT)
    assert [item.envelope for item in talk.items(second)] == [message.raw]
    talk.say(second, Ack([message.id]))
    assert talk.told(Published) == [Published(message.id, None, 1)]
    assert len(talk.persisted(Put)) == 1


def test_a_refusal_ends_it_and_a_temporary_one_does_not(talk, link):
    first, second = verified(ME), verified(ME, sequence=1)
    talk.step(Submit(first))
    talk.step(Submit(second))
    talk.items(link)
    talk.say(link, Nack([(first.id, Code.RATE_EXCEEDED, ""), (second.id, Code.EXPIRED, "")]))
    assert talk.told(Published) == [Published(second.id, Reject(Code.EXPIRED), 1)]
    assert talk.core.put_off is None, "something was settled since"
    talk.wait(500)
    assert [item.envelope for item in talk.items(link)] == [first.raw]
    talk.say(link, Nack([(first.id, Code.RATE_EXCEEDED, "")]))
    assert talk.core.put_off is Code.RATE_EXCEEDED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"topic": "secrets.x"}, Code.PUBLISH_DENIED), ({"severity": Severity.FATAL}, Code.SEVERITY_DENIED),
        ({"label": Label.RED}, Code.CLEARANCE_DENIED), ({"ttl_ms": 10**11}, Code.TTL_TOO_LONG),
        ({"issued_at_ms": T0 - 91_000}, Code.EXPIRED),
    ],
)
def test_what_no_relay_would_take_is_refused_at_once(talk, fields, code):
    message = verified(ME, **fields)
    talk.step(Submit(message))
    (published,) = talk.told(Published)
    assert published.refused is not None and published.refused.code is code


def test_what_it_denied_its_program_is_told_to_its_relay(talk, link):
    talk.step(Submit(verified(ME, topic="secrets.x")))
    talk.step(Submit(verified(ME, ttl_ms=10**11)))
    talk.step(Deny(Code.EXECUTE_DENIED))
    talk.step(Attach(1, False, ("secrets.>",)))
    said = [frame.counts for frame in talk.heard(link, Denied)]
    assert said == [[(Code.PUBLISH_DENIED, 1)], [(Code.EXECUTE_DENIED, 1)], [(Code.SUBSCRIBE_DENIED, 1)]]


def test_and_what_it_denied_without_one_when_there_is_one(talk):
    for sequence in range(3):
        talk.step(Submit(verified(ME, topic="secrets.x", sequence=sequence)))
    link = talk.dial(RELAY, Role.POINT)
    assert [frame.counts for frame in talk.heard(link, Denied)] == [[(Code.PUBLISH_DENIED, 3)]]


def test_what_expires_while_there_is_no_link_is_told(talk):
    message = verified(ME, ttl_ms=2_000)
    talk.step(Submit(message))
    talk.wait(3_000)
    assert [p.refused.code for p in talk.told(Published)] == [Code.EXPIRED]


def test_what_the_relay_may_not_see_does_not_leave(talk, link):
    message = verified(ME, records=[{"a": 1, "b": 2}], rules={"a": Label.AMBER})
    talk.step(Submit(message))
    (item,) = talk.items(link)
    amber = next(p for e, p in zip(message.header.manifest, message.envelope.parts, strict=True)
                 if e.label is Label.AMBER)
    assert amber not in item.envelope


# -- in -------------------------------------------------------------------------------------------------------


def test_a_delivery_is_acknowledged_when_the_application_is_done(talk, link):
    message = verified(ORIGIN)
    talk.send(link, message, DOWN, hops=("low", "mid"), age_ms=9)
    (delivery,) = talk.told(Delivery)
    assert (delivery.message.id, delivery.age_ms, delivery.hops) == (message.id, 9, ("low", "mid"))
    assert acked(talk, link) == []
    talk.step(Handled(message.id))
    assert acked(talk, link) == [message.id]


def test_it_is_delivered_once_however_often_it_comes(talk, link):
    message = verified(ORIGIN)
    talk.send(link, message, DOWN)
    talk.send(link, message, DOWN)
    talk.step(Handled(message.id))
    talk.send(link, message, DOWN)
    assert len(talk.told(Delivery)) == 1 and acked(talk, link) == [message.id] * 2


def test_handled_after_the_link_was_lost_is_acknowledged_when_it_comes_again(talk, link):
    message = verified(ORIGIN)
    talk.send(link, message, DOWN)
    talk.lose(link)
    talk.step(Handled(message.id))
    again = talk.dial(RELAY, Role.POINT)
    talk.send(again, message, DOWN)
    assert len(talk.told(Delivery)) == 1 and acked(talk, again) == [message.id]


def test_what_the_application_cannot_read_is_refused(talk, link):
    message = verified(ORIGIN)
    talk.send(link, message, DOWN)
    talk.step(Handled(message.id, Reject(Code.BAD_BODY)))
    assert codes(talk, link) == [Code.BAD_BODY]


def test_it_holds_nothing_above_its_clearance(talk, link):
    message = verified(ORIGIN, records=[{"a": 1, "b": 2}], rules={"a": Label.RED})
    talk.send(link, message, DOWN)
    (delivery,) = talk.told(Delivery)
    assert delivery.message.withheld == 1


def test_an_action_is_acknowledged_when_it_is_handed_over(talk, link):
    message = action()
    talk.send(link, message, DOWN, targets=("fw-1",))
    assert len(talk.told(Delivery)) == 1 and acked(talk, link) == [message.id]
    talk.send(link, message, DOWN, targets=("fw-1",))
    assert talk.told(Delivery) == [] and talk.told(Repeated) == [Repeated(message.id, link)]
    (told,) = talk.last.audit
    assert told == Audited(kinds.ACTION_REPEATED, SOAR.id, {"action": message.leaf, "link": "mid"})


def test_that_an_event_comes_again_is_told_to_nobody(talk, link):
    for _ in range(2):
        talk.send(link, message := verified(ORIGIN), DOWN)
        talk.step(Handled(message.id))
    assert len(talk.told(Delivery)) == 1 and talk.told(Repeated) == []


def test_an_action_takes_room_until_it_is_answered_and_none_is_taken_where_there_is_none(talk, link):
    room = talk.core.action_room
    talk.send(link, first := action(), DOWN, targets=("fw-1",))
    assert room.bytes == ACTION_BYTES + len(first.raw)
    room.is_open = False
    talk.heard(link, Nack)
    talk.send(link, second := action(sequence=1), DOWN, targets=("fw-1",))
    assert codes(talk, link) == [Code.BUSY]
    room.is_open = True
    room.add("soar-2", LEDGER_BYTES_MAX - room.bytes)
    talk.send(link, second, DOWN, targets=("fw-1",))
    assert codes(talk, link) == [Code.BUSY]
    room.add("soar-2", -LEDGER_BYTES_MAX // 2)
    talk.send(link, second, DOWN, targets=("fw-1",))
    assert len(talk.told(Delivery)) == 2


# -- an action of an earlier run ------------------------------------------------------------------------------


def taken_back(talk, message, age_ms=0):
    talk.core.trust.restore_credential(message.credential.raw)
    back = talk.core.take_back(message.raw, age_ms, ("hq",), talk.now_ms)
    return back.code if isinstance(back, Reject) else back


def test_an_action_of_an_earlier_run_is_taken_back_as_it_was(talk, link):
    message = action()
    back = taken_back(talk, message, 5)
    assert (back.message.raw, back.age_ms, back.hops) == (message.raw, 5, ("hq",))


def test_and_judged_again_by_all_that_is_known_now(talk, link):
    assert taken_back(talk, action(), 60_000) is Code.EXPIRED
    assert taken_back(talk, action(to="role=edr")) is Code.EXECUTE_DENIED
    assert taken_back(talk, action(label=Label.RED)) is Code.WITHHELD
    assert taken_back(talk, action(issued_at_ms=T0 - 3_600_000)) is Code.EXPIRED
    forged = action().raw[:-1] + b"x"
    assert talk.core.take_back(forged, 0, (), T0).code is Code.BAD_DIGEST
    stranger = verified(Authority("another").issue("soar-1", grants=EVERYTHING), kind=Kind.ACTION,
                        topic="deny.ipv4_net", to="all")
    assert taken_back(talk, stranger) is Code.UNKNOWN_SIGNER
    list_ = issue_revocations(FABRIC, 1, T0, T0 + 3_600_000, ["soar-1"], AUTHORITY.signer)
    talk.core.apply_lists(list_, talk.now_ms, talk.last)
    assert taken_back(talk, action()) is Code.REVOKED


def test_but_not_before_a_relay_has_said_what_is_in_force(talk):
    assert taken_back(talk, action()) is Code.BUSY
    relay = talk.dial(RELAY, Role.POINT)
    talk.core.links[relay].lists.opened(7)
    assert taken_back(talk, action()) is Code.BUSY, "the newer list is to come first"


@pytest.mark.parametrize(
    ("message", "direction", "age_ms", "code"),
    [
        (action(), Direction.UP, 0, Code.WRONG_DIRECTION), (action(), DOWN, 60_000, Code.EXPIRED),
        (action(to="role=edr"), DOWN, 0, Code.EXECUTE_DENIED), (action(to=""), DOWN, 0, Code.EXECUTE_DENIED),
        (verified(ORIGIN, kind=Kind.ACTION, topic="scan.device", to="all"), DOWN, 0, Code.EXECUTE_DENIED),
        (action(label=Label.RED), DOWN, 0, Code.WITHHELD),
    ],
    ids=["upwards", "too old", "another role", "nobody", "no grant", "above its clearance"],
)
def test_an_action_that_is_not_for_it_is_never_delivered(talk, link, message, direction, age_ms, code):
    talk.send(link, message, direction, age_ms=age_ms, targets=("fw-1",))
    assert talk.told(Delivery) == [] and codes(talk, link) == [code]


def test_an_action_that_a_policy_is_about_is_refused_and_others_are_not(talk, link):
    rules = [Rule("contain", When("contain", "deny *", "role=firewall"), 1, ("lead",), 60_000)]
    talk.say(link, Rules(issue_policies(FABRIC, 1, T0, rules, {}, AUTHORITY.signer)))
    talk.send(link, action(), Direction.DOWN)
    assert codes(talk, link) == [Code.APPROVAL_DUE] and talk.told(Delivery) == []
    others = [replace(rules[0], when=When("remediate"))]
    talk.say(link, Rules(issue_policies(FABRIC, 2, T0, others, {}, AUTHORITY.signer)))
    talk.send(link, action(sequence=1), Direction.DOWN)
    (delivery,) = talk.told(Delivery)
    assert talk.core.judging.may_not_act(delivery.message, T0) is None
    talk.say(link, Rules(issue_policies(FABRIC, 3, T0, rules, {}, AUTHORITY.signer)))
    assert talk.core.judging.may_not_act(delivery.message, T0).code is Code.APPROVAL_DUE, "asked before it runs"


def test_with_a_clock_that_cannot_be_believed_actions_are_refused_and_events_are_not(talk, link):
    for _ in range(9):
        talk.wait(2_000)
        for ping in talk.heard(link, Ping):
            talk.say(link, Pong(ping.clock_ms, talk.now_ms + 3_600_000))
    talk.send(link, action(issued_at_ms=talk.now_ms), DOWN, targets=("fw-1",))
    assert codes(talk, link) == [Code.CLOCK_SUSPECT] and talk.told(Delivery) == []
    talk.send(link, verified(ORIGIN, issued_at_ms=talk.now_ms), DOWN)
    assert len(talk.told(Delivery)) == 1


# -- what it takes --------------------------------------------------------------------------------------------


def test_what_it_takes_is_announced_and_confirmed(talk, link):
    talk.say(link, Routed(1, []))
    talk.heard(link, Routes)
    talk.told(Attached)
    talk.step(Attach(T0 + 5, True, ("detections.>",)))
    (frame,) = talk.heard(link, Routes)
    assert len(frame.attachments) == 1
    talk.say(link, Routed(frame.sequence, []))
    assert talk.told(Attached) == [Attached(T0 + 5)]


def test_a_subscription_that_is_refused_is_told(talk, link):
    talk.say(link, Routed(1, []))
    talk.step(Attach(5, False, ("detections.>",)))
    (frame,) = talk.heard(link, Routes)[-1:]
    talk.say(link, Routed(frame.sequence, [(0, Code.SUBSCRIBE_DENIED, "detections.>")]))
    (told,) = talk.told(SubscriptionRefused)
    assert told.reason == Reject(Code.SUBSCRIBE_DENIED, "detections.>")


def test_it_says_goodbye(talk, link):
    talk.step(Leave())
    assert [frame.code for frame in talk.heard(link, Bye)] == [Code.CLOSED]


def test_a_relay_that_was_left_is_parted_from_when_nothing_comes_any_more(talk, link):
    """It hands over what it still holds, however long that takes."""
    better = AUTHORITY.issue("better", NodeKind.RELAY)
    talk.core.uplink.parents.insert(0, "better")
    talk.core.uplink.shun(talk.core.uplink.current, talk.now_ms)
    new = talk.dial(better, Role.POINT)
    for sequence in range(4):
        for _ in range(4):
            talk.wait(1_000)
            for known in (link, new):
                talk.say(known, Pong(talk.now_ms, talk.now_ms))
        assert talk.heard(link, Bye) == []
        talk.send(link, verified(ORIGIN, issued_at_ms=talk.now_ms, sequence=sequence), DOWN)
    assert len(talk.told(Delivery)) == 4
    for _ in range(LEAVING_MS // 1_000 + 1):
        talk.wait(1_000)
        for known in (link, new):
            talk.say(known, Pong(talk.now_ms, talk.now_ms))
    assert talk.heard(link, Bye) == [Bye(Code.CLOSED, "")] and talk.core.connected


def test_a_relay_that_misses_a_ping_is_asked_again_three_times_and_left_for_another():
    talk = Conversation(
        Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("point"), ("mid", "low"))
    )
    link = talk.dial(RELAY, Role.POINT)
    talk.wait(BACKED_PING_MS)
    assert len(talk.heard(link, Ping)) == 1
    talk.wait(PARENT_SILENCE_MS - BACKED_PING_MS)
    assert len(talk.heard(link, Ping)) >= 3 and talk.closed == []
    talk.wait(500)
    assert talk.closed == [link]


def test_the_only_relay_is_given_more_time(talk, link):
    talk.wait(2 * PING_MS)
    assert len(talk.heard(link, Ping)) == 2 and talk.closed == []


def test_another_order_of_parents_is_followed_and_those_that_were_left_are_still_its_own(talk):
    talk.step(Parents(("near", "hq"), at_once=True))
    assert talk.core.parents_wanted(talk.now_ms)[0] == "near"
    assert set(talk.core.parents) >= {"near", "hq"}
    talk.step(Parents((), at_once=False))
    assert talk.core.uplink.wanted(talk.now_ms) == [] and "near" in talk.core.parents


def test_it_says_for_whom_something_waits_as_long_as_it_does(talk, link):
    """Whatever else is refused for a moment, or taken, meanwhile."""
    slow, fast = (verified(ME, sequence=n, topic=f"detections.{n}", issued_at_ms=talk.now_ms) for n in range(2))
    for message in (slow, fast):
        talk.step(Submit(message))
    talk.say(link, Nack([(slow.id, Code.BUSY, "anna waits")]))
    assert talk.core.put_off_by == "anna" and talk.core.held_back == 1
    talk.say(link, Nack([(fast.id, Code.BUSY, "medium")]))
    assert talk.core.put_off_by == "anna" and talk.core.held_back == 1
    talk.wait(500)
    talk.say(link, Ack([fast.id]))
    assert talk.core.put_off_by == "anna"
    talk.say(link, Ack([slow.id]))
    assert (talk.core.put_off, talk.core.put_off_by, talk.core.held_back) == (None, "", 0)


def test_an_action_that_was_signed_before_is_sent_with_its_age_and_not_when_it_is_too_old():
    asks = AUTHORITY.issue("soar-9", grants=Grants(request=(RequestGrant("deny *", "all"),)))
    core = Point(asks.credential, asks.signer, AUTHORITY.key, b"s" * 16, entropy("asks"))
    action = verified(asks, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", ttl_ms=60_000)
    core.step(Submit(action), T0 + 7_000)
    (row,) = core.outboxes[UPLINK].rows()
    assert (row.held.age_ms, row.held.expires_at_ms) == (7_000, T0 + 60_000)
    assert core.why_not(action, T0 + 59_999) is None
    assert core.why_not(action, T0 + 60_000).code is Code.EXPIRED


def test_who_was_revoked_is_no_recipient(talk):
    """Before anything is sent: its program meant somebody who cannot have it any more."""
    raw = issue_revocations(FABRIC, 1, T0, T0 + 10_000_000, ["lead-1"], AUTHORITY.signer)
    assert talk.core.trust.take_revocations(talk.core.trust.read_revocations(raw))
    gone, here = verified(ME, recipients=("mid", "lead-1")), verified(ME, recipients=("mid", "lead-2"), sequence=1)
    talk.step(Submit(gone))
    assert talk.told(Published) == [Published(gone.id, Reject(Code.RECIPIENT_REVOKED, "lead-1"))]
    talk.step(Submit(here))
    assert talk.told(Published) == [] and talk.core.custody.get(here.id, Direction.UP) is not None


@pytest.mark.parametrize("audience", [{"organisations": ("acme", "globex")}, {"communities": ("isac",)}])
def test_a_wider_audience_than_its_grant_is_refused_at_once_and_counted_at_its_relay(talk, link, audience):
    wide = verified(ME, **audience)
    talk.step(Submit(wide))
    (told,) = talk.told(Published)
    assert told.refused is not None and told.refused.code is Code.AUDIENCE_DENIED
    assert [frame.counts for frame in talk.heard(link, Denied)] == [[(Code.AUDIENCE_DENIED, 1)]]


def test_what_its_relay_hands_down_beyond_its_origin_s_grant_is_refused(talk, link):
    """A relay that lets it pass, or an older one that does not ask."""
    talk.send(link, verified(ORIGIN, organisations=("acme", "globex")), DOWN)
    assert codes(talk, link) == [Code.AUDIENCE_DENIED] and talk.told(Delivery) == []
