"""A relay as its peers meet it: a conversation a test."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import (
    LANE_QUOTA_BYTES,
    LANE_WINDOW_BYTES,
    LINK_SILENCE_MS,
    SESSION_GRACE_MS,
)
from fabric.protocol.core.ready import Done, KeepSession, LinkUp, Put, Replace, Seen, Submit
from fabric.protocol.custody.ending import PART_ROWS
from fabric.protocol.custody.sessions import Sessions
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind, PublishGrant
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Intro,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Welcome,
)
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, MINUTE_MS, T0, Authority, entropy, opened, verified

AUTHORITY = Authority("relay")
ME = AUTHORITY.issue("mid", NodeKind.RELAY, Label.AMBER)
PARENT = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
GREEN_CHILD = AUTHORITY.issue("low", NodeKind.RELAY, Label.GREEN)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
GUEST = AUTHORITY.issue("guest-1", grants=Grants(publish=(PublishGrant("detections.>", Severity.HIGH, 2),)))
ANALYST = AUTHORITY.issue("analyst-1", clearance=Label.GREEN, grants=EVERYTHING)
FIREWALL = AUTHORITY.issue("fw-1", grants=Grants(execute=("deny *",)), tags=[("role", "firewall")])
UP, DOWN = Direction.UP, Direction.DOWN


def relay(parent: str = "hq") -> Conversation:
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"),
                              (parent,) if parent else ()))


@pytest.fixture
def talk() -> Conversation:
    return relay()


def codes(talk: Conversation, link: int) -> list[Code]:
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def acked(talk: Conversation, link: int) -> list[bytes]:
    return [id_ for frame in talk.heard(link, Ack) for id_ in frame.ids]


# -- links ----------------------------------------------------------------------------------------------------


def test_a_member_is_welcome_and_a_stranger_is_told_why_and_cut(talk):
    link = talk.connect(ZEEK, Role.POINT)
    (welcome,) = talk.heard(link, Welcome)
    assert welcome.credential == ME.credential.raw and welcome.nonce == b"n" * 16
    stranger = Authority("another").issue("zeek-2")
    link = talk.connect(stranger, Role.POINT)
    (refused,) = talk.heard(link, Refused)
    assert refused.code is Code.BAD_CREDENTIAL and talk.closed == [link]
    assert talk.count("refused:bad_credential") == 1


def test_only_the_parent_is_parent(talk):
    link = talk.connect(PARENT, Role.PARENT)
    assert talk.heard(link, Welcome)
    other = talk.connect(GREEN_CHILD, Role.PARENT)
    assert [frame.code for frame in talk.heard(other, Refused)] == [Code.WRONG_PEER]


def test_a_frame_before_hello_is_answered_and_cut(talk):
    talk.step(LinkUp(1, ZEEK.curve_key, b""))
    talk.say(1, Ping(T0))
    assert [frame.code for frame in talk.heard(1, Refused)] == [Code.NOT_READY] and talk.closed == [1]
    assert talk.heard(1, Pong) == []


def test_who_never_says_hello_is_cut(talk):
    talk.step(LinkUp(1, ZEEK.curve_key, b""))
    talk.wait(6_000)
    assert talk.closed == [1]


def test_silence_ends_a_link_and_pings_keep_it(talk):
    link = talk.connect(ZEEK, Role.POINT)
    for _ in range(5):
        talk.wait(2_000)
        talk.say(link, Ping(talk.now_ms))
    assert len(talk.heard(link, Pong)) == 5 and talk.closed == []
    talk.wait(LINK_SILENCE_MS + 500)
    assert talk.closed == [link]


def test_the_same_session_again_takes_over_what_was_in_flight(talk):
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    sensor = talk.connect(ZEEK, Role.POINT)
    talk.send(sensor, verified(ZEEK))
    assert len(talk.items(reader)) == 1
    again = talk.connect(ANALYST, Role.POINT)
    assert talk.closed == [reader]
    assert len(talk.items(again)) == 1


# -- events climb ---------------------------------------------------------------------------------------------


def test_what_is_acked_is_persisted_in_the_same_turn(talk):
    link = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK)
    ready = talk.send(link, message)
    (put,) = [op for op in ready.persist if isinstance(op, Put)]
    assert put.id == message.id and put.destinations == (("^", ()),)
    assert acked(talk, link) == [message.id]


def said_on(frames, link):
    return [type(decode_frame(payload)) for number, payload in frames if number == link]


def test_an_event_is_passed_on_before_the_commit_and_acknowledged_after_it(talk):
    up = talk.dial(PARENT, Role.CHILD)
    sensor = talk.connect(ZEEK, Role.POINT)
    ready = talk.send(sensor, verified(ZEEK))
    assert said_on(ready.early, up) == [Intro, Data] and said_on(ready.send, up) == []
    assert said_on(ready.early, sensor) == [] and said_on(ready.send, sensor) == [Ack]


def test_an_action_is_not(talk):
    up = talk.dial(PARENT, Role.CHILD)
    soar = talk.connect(ZEEK, Role.POINT)
    ready = talk.send(soar, verified(ZEEK, kind=Kind.ACTION, topic="deny.ipv4_net", to="all"))
    assert said_on(ready.early, up) == [Intro] and said_on(ready.send, up) == [Data]


def test_nor_is_what_only_this_node_holds(talk):
    up = talk.dial(PARENT, Role.CHILD)
    ready = talk.step(Submit(verified(ME)))
    assert said_on(ready.early, up) == [] and said_on(ready.send, up) == [Data]


def test_nothing_early_overtakes_what_its_link_is_to_hear_first(talk):
    sensor = talk.connect(ZEEK, Role.POINT)
    talk.send(sensor, verified(ZEEK))
    up = talk.dial(PARENT, Role.CHILD)
    assert said_on(talk.last.early, up) == []
    said = said_on(talk.last.send, up)
    assert said[said.index(Routes) :] == [Routes, Intro, Data]


def test_it_goes_to_the_parent_and_to_who_subscribed_each_as_it_may(talk):
    up = talk.dial(PARENT, Role.CHILD)
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    sensor = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK, records=[{"src": "10.1.0.7", "rule": "x"}], rules={"src": Label.AMBER})
    talk.now_ms += 40
    talk.send(sensor, message, age_ms=5)
    (climbing,), (here,) = talk.items(up), talk.items(reader)
    assert (climbing.direction, climbing.hops, climbing.age_ms) == (UP, ["mid"], 5)
    assert (here.direction, here.hops) == (DOWN, ["mid"])
    assert opened(climbing.envelope, ZEEK).withheld == 0
    assert opened(here.envelope, ZEEK).withheld == 1, "the analyst is cleared for GREEN"
    assert talk.count("stripped:amber") == 1


def test_what_is_above_this_relay_is_gone_before_it_is_persisted(talk):
    link = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK, records=[{"a": 1, "b": 2}], rules={"a": Label.RED})
    talk.send(link, message)
    red = [part for entry, part in zip(message.header.manifest, message.envelope.parts, strict=True)
           if entry.label is Label.RED]
    (put,) = talk.persisted(Put)
    assert red[0] not in put.envelope and opened(put.envelope, ZEEK).withheld == 1


def test_who_may_not_know_of_it_is_never_told_and_nothing_waits_for_it(talk):
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    sensor = talk.connect(ZEEK, Role.POINT)
    talk.send(sensor, verified(ZEEK, label=Label.AMBER))
    assert talk.items(reader) == []
    assert [op.destinations for op in talk.persisted(Put)] == [(("^", ()),)]


def test_nobody_wants_it_and_it_is_acked_and_counted():
    talk = relay(parent="")
    link = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK)
    ready = talk.send(link, message)
    assert [op for op in ready.persist if isinstance(op, Seen)] and not talk.persisted(Put)
    assert acked(talk, link) == [message.id] and talk.count("ended:no_interest") == 1


def test_a_repeat_is_acked_and_held_once(talk):
    link = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK)
    for _ in range(3):
        talk.send(link, message)
    assert acked(talk, link) == [message.id] * 3
    assert len(talk.persisted(Put)) == 1 and talk.count("repeats") == 2


def test_a_fuller_copy_completes_what_waits(talk):
    child = talk.connect(GREEN_CHILD, Role.CHILD)
    whole = verified(ZEEK, records=[{"a": 1, "b": 2}], rules={"a": Label.AMBER})
    green = talk.core.strip(whole, GREEN_CHILD.credential)
    talk.send(child, green)
    talk.send(child, whole)
    assert talk.count("upgraded") == 1
    up = talk.dial(PARENT, Role.CHILD)
    (item,) = talk.items(up)
    assert item.envelope == whole.raw


def test_a_copy_of_what_may_sleep_is_left_to_the_disk(talk):
    child = talk.connect(GREEN_CHILD, Role.CHILD)
    whole = verified(ZEEK, records=[{"a": 1, "b": 2}], rules={"a": Label.RED})
    talk.core.restore([Seen(whole.id, UP, T0 + MINUTE_MS)], T0)
    talk.send(child, whole)
    assert talk.persisted(Replace) == [], "nothing sleeps"
    talk.core.custody.asleep.rows[Lane.LOW] = 1
    talk.send(child, whole)
    mine = talk.core.strip(whole, ME.credential)
    assert talk.persisted(Replace) == [Replace(whole.id, UP, mine.raw)] and mine.withheld
    talk.send(child, whole)
    assert len(talk.persisted(Replace)) == 1, "and once"
    assert acked(talk, child) == [whole.id] * 3


@pytest.mark.parametrize(
    ("role", "member", "kind", "direction"),
    [
        (Role.POINT, ZEEK, Kind.EVENT, DOWN), (Role.CHILD, GREEN_CHILD, Kind.EVENT, DOWN),
        (Role.POINT, ZEEK, Kind.ACTION, DOWN), (Role.CHILD, GREEN_CHILD, Kind.ACTION, DOWN),
        (Role.CHILD, GREEN_CHILD, Kind.INTEL, DOWN), (Role.PARENT, PARENT, Kind.EVENT, DOWN),
        (Role.PARENT, PARENT, Kind.ACTION, UP), (Role.PARENT, PARENT, Kind.EVENT, UP),
        (Role.POINT, ZEEK, Kind.RESULT, DOWN),
    ],
)
def test_the_wrong_way_is_refused(talk, role, member, kind, direction):
    link = talk.connect(member, role)
    topic = {Kind.EVENT: "detections.x", Kind.INTEL: "intel.x"}.get(kind, "deny.ipv4_net")
    talk.send(link, verified(ZEEK, kind=kind, topic=topic, to="all"), direction)
    assert codes(talk, link) == [Code.WRONG_DIRECTION]
    assert not talk.persisted(Put)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"topic": "secrets.x"}, Code.PUBLISH_DENIED), ({"severity": Severity.CRITICAL}, Code.SEVERITY_DENIED),
        ({"issued_at_ms": T0 + 60_000}, Code.FROM_FUTURE), ({"issued_at_ms": T0 - 2 * MINUTE_MS}, Code.EXPIRED),
        ({"ttl_ms": 10**11}, Code.TTL_TOO_LONG),
    ],
)
def test_what_its_origin_may_not_send(talk, fields, code):
    talk.dial(PARENT, Role.CHILD)  # who tells the time
    link = talk.connect(GUEST, Role.POINT)
    talk.send(link, verified(GUEST, **fields))
    assert codes(talk, link) == [code]


def test_what_a_control_point_s_own_node_denied_is_counted_and_no_other_code(talk):
    link = talk.connect(GUEST, Role.POINT)
    said = [(Code.PUBLISH_DENIED, 3), (Code.BAD_SIGNATURE, 5), (Code.RATE_EXCEEDED, 1), (Code.CLEARANCE_DENIED, 2**53)]
    talk.say(link, Denied(said))
    assert (talk.count("refused:publish_denied"), talk.count("refused:clearance_denied")) == (3, 10_000)
    assert talk.count("refused:bad_signature") == talk.count("refused:rate_exceeded") == 0


def test_nor_does_anybody_but_a_control_point_tell_a_relay_of_denials(talk):
    link = talk.connect(GREEN_CHILD, Role.CHILD)
    talk.say(link, Denied([(Code.PUBLISH_DENIED, 3)]))
    assert talk.count("refused:publish_denied") == 0 and link in talk.closed


def test_a_rate_is_a_temporary_refusal(talk):
    link = talk.connect(GUEST, Role.POINT)
    answers = []
    for n in range(25):
        talk.send(link, verified(GUEST, sequence=n))
        answers += codes(talk, link)
    assert answers == [Code.RATE_EXCEEDED] * 5, "ten seconds' worth of two a second, then not now"
    talk.now_ms += 1_000
    talk.send(link, verified(GUEST, sequence=24))
    assert codes(talk, link) == []


def test_intake_ends_before_the_disk_does_and_what_is_held_stays(talk):
    link = talk.connect(ZEEK, Role.POINT)
    talk.core.custody.lane_bytes[verified(ZEEK).header.lane] = LANE_QUOTA_BYTES
    talk.send(link, verified(ZEEK))
    assert codes(talk, link) == [Code.BUSY]
    talk.send(link, verified(ZEEK, severity=Severity.CRITICAL))
    assert codes(talk, link) == [], "another lane has room"
    talk.core.custody.open_intake(False)
    talk.send(link, verified(ZEEK, severity=Severity.CRITICAL, sequence=2))
    assert codes(talk, link) == [Code.BUSY]


def test_a_full_lane_grants_nothing_more_and_says_so_when_there_is_room_again(talk):
    link = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK)
    lane = message.header.lane
    talk.core.custody.lane_bytes[lane] = LANE_QUOTA_BYTES
    talk.send(link, message)
    credit = talk.core.links[link].credit
    for each in Lane:
        credit.consume(each, LANE_WINDOW_BYTES - credit._consumed[each])
    talk.say(link, Ping(talk.now_ms))
    *_, credit = talk.heard(link, Credit)
    assert credit.allowed_bytes[lane] == LANE_WINDOW_BYTES < credit.allowed_bytes[Lane.CRITICAL]
    talk.core.custody.lane_bytes[lane] = 0
    talk.wait(250)
    *_, credit = talk.heard(link, Credit)
    assert credit.allowed_bytes[lane] == 2 * LANE_WINDOW_BYTES


def test_who_fills_a_lane_leaves_room_for_others(talk, monkeypatch):
    talk.dial(PARENT, Role.CHILD)
    loud, quiet = talk.connect(ZEEK, Role.POINT), talk.connect(GUEST, Role.POINT)
    monkeypatch.setattr(talk.core.custody, "_quota_bytes", 10_000)
    answers = []
    for n in range(60):
        talk.send(loud, verified(ZEEK, sequence=n))
        answers += codes(talk, loud)
    assert answers and set(answers) == {Code.BUSY}
    assert talk.core.custody.lane_bytes[verified(ZEEK).header.lane] <= 8_000
    talk.send(quiet, verified(GUEST))
    assert codes(talk, quiet) == []


def test_whose_credential_ran_out_is_refused_for_good_and_not_asked_for_again(talk):
    talk.dial(PARENT, Role.CHILD)
    child = talk.connect(GREEN_CHILD, Role.CHILD)
    former = AUTHORITY.issue("zeek-9", grants=EVERYTHING, not_after_ms=T0 - DAY_MS)
    talk.send(child, verified(former))
    assert codes(talk, child) == [Code.CREDENTIAL_EXPIRED]


# -- how rows end ---------------------------------------------------------------------------------------------


def test_an_ack_ends_it_and_a_final_refusal_too(talk):
    up = talk.dial(PARENT, Role.CHILD)
    sensor = talk.connect(ZEEK, Role.POINT)
    first, second = verified(ZEEK), verified(ZEEK, sequence=1)
    talk.send(sensor, first)
    talk.send(sensor, second)
    talk.say(up, Ack([first.id]))
    talk.say(up, Nack([(second.id, Code.PUBLISH_DENIED, "detections.x")]))
    assert [op.id for op in talk.persisted(Done)] == [first.id, second.id]
    assert talk.count("ended:publish_denied") == 1 and len(talk.core.custody) == 0


def test_a_temporary_refusal_is_tried_again(talk):
    up = talk.dial(PARENT, Role.CHILD)
    sensor = talk.connect(ZEEK, Role.POINT)
    message = verified(ZEEK)
    talk.send(sensor, message)
    assert len(talk.items(up)) == 1
    talk.say(up, Nack([(message.id, Code.BUSY, "medium")]))
    assert talk.items(up) == []
    talk.wait(500)
    assert len(talk.items(up)) == 1 and not talk.persisted(Done)


def test_what_is_not_answered_is_sent_again(talk):
    up = talk.dial(PARENT, Role.CHILD)
    sensor = talk.connect(ZEEK, Role.POINT)
    talk.send(sensor, verified(ZEEK))
    talk.wait(2_500)
    assert len(talk.items(up)) == 2


def test_what_expires_in_the_queue_is_never_sent(talk):
    sensor = talk.connect(ZEEK, Role.POINT)
    talk.send(sensor, verified(ZEEK, ttl_ms=3_000))
    talk.wait(3_500)
    assert talk.count("ended:expired") == 1 and len(talk.core.custody) == 0
    up = talk.dial(PARENT, Role.CHILD)
    assert talk.items(up) == []


def test_a_turn_ends_no_more_of_what_came_too_late_than_it_may(talk, monkeypatch):
    """A parent that comes back after long finds thousands that are too late: others do not wait for their end."""
    sensor = talk.connect(ZEEK, Role.POINT)
    for n in range(1_200):
        talk.send(sensor, verified(ZEEK, sequence=n, ttl_ms=3_000), introduce=not n)
    ended_by_turn, step = [], talk.core.step

    def counted(event, now_ms):
        before = talk.count("ended:expired")
        ready = step(event, now_ms)
        ended_by_turn.append(talk.count("ended:expired") - before)
        return ready

    monkeypatch.setattr(talk.core, "step", counted)
    talk.now_ms += 4_000
    talk.dial(PARENT, Role.CHILD)
    talk.wait(2_000)
    assert sum(ended_by_turn) == 1_200 and len(talk.core.custody) == 0
    assert max(ended_by_turn) <= 2 * PART_ROWS, "of those that a timer finds, and of those that were to go"


def test_a_subscriber_that_left_ends_its_rows_and_one_that_is_away_may_come_back(talk):
    sensor = talk.connect(ZEEK, Role.POINT)
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    talk.lose(reader)
    talk.send(sensor, verified(ZEEK))
    talk.wait(1_000)
    again = talk.connect(ANALYST, Role.POINT)
    assert len(talk.items(again)) == 1
    talk.say(again, Bye(Code.CLOSED, ""))
    assert talk.count("ended:no_interest") == 1, "who takes leave wants no more: nothing is lost"
    assert talk.persisted(KeepSession)[-1].attachment == b""


def test_what_waits_for_a_subscriber_that_does_not_come_back_is_counted_as_lost(talk):
    sensor = talk.connect(ZEEK, Role.POINT)
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    talk.lose(reader)
    talk.send(sensor, verified(ZEEK, ttl_ms=10 * MINUTE_MS))
    talk.wait(SESSION_GRACE_MS + 1_000)
    assert talk.count("ended:subscriber_gone") == 1 and talk.count("ended:no_interest") == 0


def test_a_reader_that_does_not_keep_up_loses_its_own_oldest_and_stops_nobody(talk, monkeypatch):
    monkeypatch.setattr(Sessions, "keep", lambda *_: Keep(4_000))
    up = talk.dial(PARENT, Role.CHILD)
    sensor = talk.connect(ZEEK, Role.POINT)
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    talk.lose(reader)
    low = [verified(ZEEK, sequence=n, severity=Severity.LOW, records=[{"x": "y" * 300}]) for n in range(12)]
    high = verified(ZEEK, sequence=99, severity=Severity.HIGH)
    for message in [low[0], high, *low[1:]]:
        talk.send(sensor, message)
        talk.now_ms += 10
    assert talk.count("ended:subscriber_slow") > 0
    again = talk.connect(ANALYST, Role.POINT)
    came = [opened(item.envelope, ZEEK).id for item in talk.items(again)]
    assert came[0] == high.id and came[1:] == [message.id for message in low[-(len(came) - 1):]]
    assert len(talk.items(up)) == 13 and Code.BUSY not in codes(talk, sensor)


def test_who_does_not_come_back_in_time_is_forgotten(talk):
    reader = talk.connect(ANALYST, Role.POINT)
    talk.attach(reader, ANALYST, "mid", "detections.>")
    talk.lose(reader)
    talk.wait(SESSION_GRACE_MS + 500)
    assert len(talk.core.routes) == 0


def test_a_revocation_cuts_links_ends_rows_and_goes_down(talk):
    sensor = talk.connect(ZEEK, Role.POINT)
    other = talk.connect(GUEST, Role.POINT)
    talk.send(sensor, verified(ZEEK))
    raw = issue_revocations("acme", 1, T0, T0 + MINUTE_MS, ["zeek-1"], AUTHORITY.signer)
    up = talk.dial(PARENT, Role.CHILD)
    talk.items(up)
    talk.say(up, Lists(raw))
    assert [frame.code for frame in talk.heard(sensor, Refused)] == [Code.REVOKED] and sensor in talk.closed
    assert [frame.revocations for frame in talk.heard(other, Lists)] == [raw]
    assert talk.count("ended:revoked") == 1
    back = talk.connect(ZEEK, Role.POINT)
    assert [frame.code for frame in talk.heard(back, Refused)] == [Code.REVOKED]
    talk.say(other, Lists(raw))
    assert other not in talk.closed, "it is the authority's word, whoever brings it"


def test_a_list_is_said_again_and_ever_more_seldom_since_nobody_answers_it(talk):
    up, child = talk.dial(PARENT, Role.CHILD), talk.connect(GREEN_CHILD, Role.CHILD)

    def said(pings):
        found = []
        for _ in range(pings):
            talk.say(child, Ping(talk.now_ms))
            found.append(len(talk.heard(child, Lists)))
        return found

    assert said(2) == [0, 0]
    for version in (1, 2):
        talk.say(up, Lists(issue_revocations("acme", version, T0, T0 + MINUTE_MS, ["zeek-1"], AUTHORITY.signer)))
        assert len(talk.heard(child, Lists)) == 1
        assert said(9) == [1, 1, 0, 1, 0, 0, 0, 1, 0]
    late = talk.connect(ANALYST, Role.POINT)
    assert len(talk.heard(late, Lists)) == 1, "who says HELLO with an older one"


def test_a_durable_session_of_who_is_revoked_ends_at_once(talk):
    reader = talk.connect(ANALYST, Role.POINT)
    raw = sign_attachment(ANALYST.credential, ANALYST.signer, b"s" * 16, "mid", 1, False, ("detections.>",), DAY_MS)
    talk.say(reader, Intro([ANALYST.credential.raw]))
    talk.say(reader, Routes(1, True, [raw], []))
    talk.lose(reader)
    sensor, up = talk.connect(ZEEK, Role.POINT), talk.dial(PARENT, Role.CHILD)
    talk.send(sensor, verified(ZEEK))
    talk.say(up, Lists(issue_revocations("acme", 1, T0, T0 + MINUTE_MS, ["analyst-1"], AUTHORITY.signer)))
    assert len(talk.core.routes) == 0 and talk.count("ended:subscriber_gone") == 1
    assert [op.attachment for op in talk.last.persist if isinstance(op, KeepSession)] == [b""]


# -- routes ---------------------------------------------------------------------------------------------------


def test_routes_climb_and_are_answered(talk):
    up = talk.dial(PARENT, Role.CHILD)
    talk.heard(up, Routes)
    wall = talk.connect(FIREWALL, Role.POINT)
    talk.say(up, Routed(1, []))
    talk.attach(wall, FIREWALL, "mid", executes=True)
    assert [frame.refusals for frame in talk.heard(wall, Routed)] == [[]]
    (frame,) = talk.heard(up, Routes)
    assert len(frame.attachments) == 1 and not frame.first


def test_a_subscription_beyond_the_grant_is_refused_by_index(talk):
    guest = talk.connect(GUEST, Role.POINT)
    talk.attach(guest, GUEST, "mid", "secrets.>")
    (routed,) = talk.heard(guest, Routed)
    assert [(index, code) for index, code, _ in routed.refusals] == [(0, Code.SUBSCRIBE_DENIED)]


def test_a_control_point_attaches_itself_only(talk):
    guest = talk.connect(GUEST, Role.POINT)
    talk.attach(guest, FIREWALL, "mid", executes=True)
    (routed,) = talk.heard(guest, Routed)
    assert [code for _, code, _ in routed.refusals] == [Code.WRONG_PEER] and len(talk.core.routes) == 0
