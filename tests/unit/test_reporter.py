"""What a relay tells readers and origins: as a conversation, and the component alone with ports that only remember."""

from collections import Counter

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Done, KeepGap, KeepNotice, Put, Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import Sessions, point_session
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import GAP_TOPIC, NOTICE_TOPIC
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.port import LinkPort
from fabric.protocol.relay.messages.notices import EVERY_MS, FIRST_MS, SEEK_MS
from fabric.protocol.relay.messages.reporter import Reporter
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.relay import Relay
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind, PublishGrant
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Direction, Nack, Ping, Role
from tests.conversation import Conversation
from tests.support import HOUR_MS, T0, Authority, entropy, opened, verified

AUTHORITY = Authority("telling")
ME = AUTHORITY.issue("mid", NodeKind.RELAY, Label.AMBER)
PARENT = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
LOW_PARENT = AUTHORITY.issue("hq", NodeKind.RELAY, Label.GREEN)
CHILD = AUTHORITY.issue("plant", NodeKind.RELAY, Label.AMBER)
ZEEK = AUTHORITY.issue("zeek-1", grants=Grants(publish=(PublishGrant(">"),)))
FAR = AUTHORITY.issue("zeek-2", grants=Grants(publish=(PublishGrant(">"),)))


def relay(parent="hq"):
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("telling"),
                              (parent,) if parent else ()))


def notices(talk, link):
    """What was said on this link, acknowledged; and the envelopes."""
    found = []
    for item in talk.items(link):
        message = opened(item.envelope, ME)
        if message.header.topic == NOTICE_TOPIC:
            (reading,) = read_records(message.header, message.envelope.parts)
            found.append((message, reading.content))
        talk.say(link, Ack([message.id]))
    return found


def test_what_expired_on_its_way_up_is_told_its_origin():
    talk = relay()
    talk.lose(talk.dial(PARENT, Role.CHILD))  # which has told the time before
    link = talk.connect(ZEEK, Role.POINT)
    talk.attach(link, ZEEK, "mid")
    for n in range(3):
        talk.send(link, verified(ZEEK, sequence=n, ttl_ms=5_000, records=[{"n": n}] * 2, label=Label.AMBER))
    talk.wait(7_000)
    ((message, content),) = notices(talk, link)
    assert content["by"] == "mid" and content["ended"] == [{
        "code": "E501", "reason": "expired", "kind": "event", "topic": "detections.zeek.conn", "towards": "up",
        "messages": 3, "records": 6,
    }]
    header = message.header
    assert (header.kind, header.to, header.label, header.origin) == (Kind.RESULT, "zeek-1", Label.AMBER, "mid")
    talk.wait(2 * EVERY_MS)
    assert notices(talk, link) == [], "once"


def test_what_the_relay_above_refuses_or_may_not_know_is_told():
    talk = relay()
    link, parent = talk.connect(ZEEK, Role.POINT), talk.dial(LOW_PARENT, Role.CHILD)
    talk.attach(link, ZEEK, "mid")
    talk.send(link, verified(ZEEK, label=Label.AMBER))  # a GREEN relay may not know of it
    refused = verified(ZEEK, sequence=1)
    talk.send(link, refused)
    talk.say(parent, Nack([(refused.id, Code.PUBLISH_DENIED, refused.header.topic)]))
    talk.wait(2_000)
    said = {message.header.label: content["ended"][0]["code"] for message, content in notices(talk, link)}
    assert said == {Label.AMBER: "E601", Label.GREEN: "E401"}


def test_a_count_is_on_disk_with_the_end_that_it_counts_and_goes_with_the_notice():
    talk = relay()
    link, parent = talk.connect(ZEEK, Role.POINT), talk.dial(PARENT, Role.CHILD)
    talk.attach(link, ZEEK, "mid")
    message = verified(ZEEK)
    talk.send(link, message)
    ready = talk.say(parent, Nack([(message.id, Code.PUBLISH_DENIED, "")]))
    assert [type(op) for op in ready.persist if isinstance(op, Done | KeepNotice)] == [Done, KeepNotice]
    while not any(isinstance(op, Put) and op.direction is Direction.DOWN for op in talk.last.persist):
        talk.wait(250)
    assert [op.body for op in talk.last.persist if isinstance(op, KeepNotice)] == [b""]


def test_what_was_counted_before_a_crash_is_told_after_it():
    talk = relay()
    link, parent = talk.connect(ZEEK, Role.POINT), talk.dial(PARENT, Role.CHILD)
    message = verified(ZEEK)
    talk.send(link, message)
    talk.say(parent, Nack([(message.id, Code.PUBLISH_DENIED, "")]))
    again = relay()
    assert again.core.restore([op for op in talk.disk if isinstance(op, KeepNotice)], talk.now_ms) == []
    again.now_ms = talk.now_ms
    link = again.connect(ZEEK, Role.POINT)
    again.attach(link, ZEEK, "mid")
    again.wait(2_000)
    assert notices(again, link) == [], "before it knows the time it signs nothing that can wait"
    again.dial(PARENT, Role.CHILD)
    again.wait(2_000)
    ((_, content),) = notices(again, link)
    assert content["ended"][0]["records"] == 1


def test_an_origin_that_is_away_is_waited_for():
    talk = relay("")
    child = talk.connect(CHILD, Role.CHILD)
    talk.core.reporter.row_ended(held_row(talk, FAR), reject(), talk.now_ms)
    talk_on(talk, child, 2 * SEEK_MS)
    assert notices(talk, child) == []
    talk.place(child, CHILD, "mid", session=b"s" * 16)
    talk.attach(child, FAR, "plant", session=b"f" * 16)
    talk.wait(500)
    assert len(notices(talk, child)) == 1


def test_one_that_is_elsewhere_is_looked_for_from_above():
    talk = relay()
    parent = talk.dial(PARENT, Role.CHILD)
    talk.core.reporter.row_ended(held_row(talk, FAR), reject(), talk.now_ms)
    talk_on(talk, parent, SEEK_MS - 2_000)
    assert notices(talk, parent) == []
    talk_on(talk, parent, 4_000)
    assert {message.header.to for message, _ in notices(talk, parent)} == {"zeek-2"}


def test_while_there_is_no_way_to_an_origin_its_ends_are_counted_on():
    talk = relay()
    talk.lose(talk.dial(PARENT, Role.CHILD))
    for _ in range(4):
        talk.core.reporter.row_ended(held_row(talk, FAR), reject(), talk.now_ms)
        talk.wait(SEEK_MS)
    assert talk.persisted(Put) == []
    parent = talk.dial(PARENT, Role.CHILD)
    talk.wait(500)
    ((_, content),) = notices(talk, parent)
    assert content["ended"][0]["messages"] == 4


def test_and_while_the_child_that_leads_there_is_away():
    talk = relay("")
    child = talk.connect(CHILD, Role.CHILD)
    talk.place(child, CHILD, "mid", session=b"s" * 16)
    talk.attach(child, FAR, "plant", session=b"f" * 16)
    talk.lose(child)
    for _ in range(2):
        talk.core.reporter.row_ended(held_row(talk, FAR), reject(), talk.now_ms)
        talk.wait(EVERY_MS)
    assert talk.persisted(Put) == []
    child = talk.connect(CHILD, Role.CHILD)
    talk.wait(500)
    ((_, content),) = notices(talk, child)
    assert content["ended"][0]["messages"] == 2


def talk_on(talk, link, ms):
    """A peer that lives."""
    for _ in range(0, ms, 2_000):
        talk.say(link, Ping(talk.now_ms))
        talk.wait(2_000)


def held_row(talk, member):
    return Row(Held(verified(member), Direction.UP, 3, 0, talk.now_ms, talk.now_ms, ()), "^")


def reject():
    return Reject(Code.EXPIRED)


def test_nothing_is_said_of_what_relays_said():
    talk = relay("")
    link = talk.connect(ZEEK, Role.POINT)
    talk.attach(link, ZEEK, "mid")
    talk.core.reporter.row_ended(held_row(talk, CHILD), reject(), talk.now_ms)
    talk.wait(2_000)
    assert notices(talk, link) == []


# -- the component alone ----------------------------------------------------------------------------------------

READER = point_session("anna", bytes(16))
DURABLE = Keep(ms=HOUR_MS)


class Stage:
    """A relay below another. What is held or routed is remembered; a marker that is held waits for its reader."""

    def __init__(self, is_root=False):
        self.held, self.routed, self.links, self.counters = [], [], {}, Counter()
        self.sessions, self.time_unknown = Sessions(), False
        self.outbox = Outbox(READER, 1_000)
        self.custody = Custody(lambda _: self.outbox)
        links = LinkPort({}, self.links, None, None, lambda what, reason: self.counters.update([f"{what}:{reason}"]))
        signer = ReportSigner(
            ME.credential, ME.signer, entropy("alone"), RootCache(), lambda now_ms: now_ms, lambda: self.time_unknown
        )
        self.reporter = Reporter(
            signer, self.sessions, self.custody, Router("mid", RouteTable("mid"), is_root=is_root), links,
            MessagePort(lambda message, *_: self.routed.append(message), self.hold, None, None), lambda now_ms: now_ms,
            lambda: self.time_unknown, self.counters,
        )

    def hold(self, message, item, destinations, now_ms, ready):
        self.held.append((message.header.topic, destinations))
        held = Held(message, item.direction, message.header.lane, 0, now_ms, now_ms + HOUR_MS, ())
        self.custody.put(held, destinations, ready)

    def loses(self, records):
        self.sessions.attached(READER, HOUR_MS, DURABLE)
        self.sessions.lose(READER, records)

    def ends(self, member=ZEEK, kind=Kind.EVENT, code=Code.EXPIRED, now_ms=T0):
        message = verified(member, kind=kind)
        row = Row(Held(message, Direction.UP, 3, 0, now_ms, now_ms, ()), UPLINK)
        self.reporter.row_ended(row, Reject(code), now_ms)

    def tick(self, now_ms=T0):
        ready = Ready()
        self.reporter.tick(now_ms, ready)
        return ready


@pytest.fixture
def stage():
    return Stage()


def test_a_reader_is_told_once_it_is_there_of_all_that_it_lost(stage):
    stage.loses(3)
    assert stage.tick().persist == [] and stage.held == []
    stage.links[READER] = object()
    stage.loses(2)
    (forgets, puts) = stage.tick().persist
    assert forgets == KeepGap(READER, 0) and isinstance(puts, Put), "in one commit, so that nothing is told twice"
    assert stage.held == [(GAP_TOPIC, [(READER, ())])] and stage.sessions.gaps() == []


def test_the_next_marker_waits_until_the_first_is_acknowledged(stage):
    stage.links[READER] = object()
    stage.loses(3)
    stage.tick()
    stage.loses(1)
    stage.tick()
    assert len(stage.held) == 1
    for row in stage.outbox.rows():
        stage.custody.end(row, Ready())
    stage.tick()
    assert len(stage.held) == 2


def test_whose_session_is_over_has_no_marker_any_more(stage):
    stage.links[READER] = object()
    stage.loses(3)
    stage.tick()
    stage.reporter.session_ended(READER)
    assert stage.reporter._markers == {}


def test_while_the_time_is_not_known_nothing_is_said_and_nothing_forgotten(stage):
    stage.time_unknown = True
    stage.links |= {READER: object(), UPLINK: object()}
    stage.loses(3)
    stage.ends()
    stage.tick(T0 + SEEK_MS)
    assert (stage.held, stage.routed) == ([], [])
    stage.time_unknown = False
    stage.tick(T0 + SEEK_MS)
    assert len(stage.held) == len(stage.routed) == 1 and stage.counters["told:notice"] == 1


@pytest.mark.parametrize("fields", [{"kind": Kind.ACTION}, {"member": CHILD}, {"code": Code.REVOKED}])
def test_there_are_no_notices_of_actions_of_what_relays_said_and_for_who_is_revoked(stage, fields):
    stage.links[UPLINK] = object()
    stage.ends(**fields)
    stage.tick(T0 + 2 * SEEK_MS)
    assert stage.routed == []


def test_what_a_turn_counted_is_on_disk_with_it_and_taken_back(stage):
    stage.ends()
    ready, again = Ready(), Stage()
    stage.reporter.turn_ended(ready)
    (kept,) = ready.persist
    again.reporter.restored(kept, T0)
    again.reporter.restored(KeepGap(READER, 7), T0)
    again.links[UPLINK] = object()
    again.tick(T0 + SEEK_MS)
    (notice,) = again.routed
    assert notice.header.to == "zeek-1" and again.sessions.gaps() == [(READER, 7)]


def test_a_root_waits_for_an_origin_that_is_not_below():
    stage = Stage(is_root=True)
    stage.ends()
    stage.tick(T0 + 100 * SEEK_MS)
    assert stage.routed == []


def test_counts_that_found_no_room_are_counted(stage):
    stage.reporter.restored(KeepNotice("x", b"what another version wrote"), T0)
    stage.tick(T0 + FIRST_MS)
    assert stage.counters["notices_dropped"] == 1


def test_a_recipient_whom_the_root_does_not_know_is_told_its_origin_and_the_others_have_it():
    talk = relay("")
    link = talk.connect(ZEEK, Role.POINT)
    talk.attach(link, ZEEK, "mid")
    talk.send(link, verified(ZEEK, recipients=("mid", "zeek-1")))
    talk.wait(2_000)
    assert notices(talk, link) == []
    talk.send(link, verified(ZEEK, recipients=("mid", "led-1"), sequence=1))
    talk.wait(2_000)
    ((message, content),) = notices(talk, link)
    assert content["ended"] == [{
        "code": "E605", "reason": "recipient_unknown", "kind": "event", "topic": "detections.zeek.conn",
        "towards": "reader", "messages": 1, "records": 1,
    }]
    assert message.header.audience.recipients == ("mid", "led-1"), "for whom may know of the message, and nobody else"


def test_only_the_root_knows_that_nobody_knows_somebody():
    talk = relay()
    link, _ = talk.connect(ZEEK, Role.POINT), talk.dial(PARENT, Role.CHILD)
    talk.attach(link, ZEEK, "mid")
    talk.send(link, verified(ZEEK, recipients=("mid", "led-1")))
    talk.wait(2_000)
    assert notices(talk, link) == []


@pytest.mark.parametrize(("relays", "readers", "label", "told"), [
    ("globex", "globex", Label.GREEN, set()), ("acme", "globex", Label.AMBER, set()),
    ("globex", "acme", Label.GREEN, {"E601"}), ("acme", "acme", Label.AMBER, {"E601"}),
])
def test_intel_that_is_for_others_is_no_loss_and_what_does_not_get_to_who_may_have_it_is(relays, readers, label, told):
    talk = relay("")
    link = talk.connect(ZEEK, Role.POINT)
    talk.attach(link, ZEEK, "mid")
    partner = AUTHORITY.issue("plant", NodeKind.RELAY, Label.GREEN, relays)
    child = talk.connect(partner, Role.CHILD)
    talk.place(child, partner, "mid", session=b"s" * 16)
    reader = AUTHORITY.issue("reader-1", organisation=readers, grants=Grants(subscribe=("intel.>",)))
    talk.attach(child, reader, "plant", "intel.>", session=b"f" * 16)
    talk.send(link, verified(ZEEK, kind=Kind.INTEL, topic="intel.ipv4", label=label))
    talk_on(talk, child, 3_000)
    assert talk.items(child) == []
    assert {ended["code"] for _, content in notices(talk, link) for ended in content["ended"]} == told
