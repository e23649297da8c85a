"""What a relay tells origins of, as a conversation: what ended here, what goes to whom, and what is on disk with it."""

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Done, KeepNotice, Put
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import NOTICE_TOPIC
from fabric.protocol.relay.notices import EVERY_MS, SEEK_MS
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Direction, Nack, Ping, Role
from tests.conversation import Conversation
from tests.support import Authority, entropy, opened, verified

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
    talk.core.note_end(held_row(talk, FAR), reject(), talk.now_ms)
    talk_on(talk, child, 2 * SEEK_MS)
    assert notices(talk, child) == []
    talk.place(child, CHILD, "mid", session=b"s" * 16)
    talk.attach(child, FAR, "plant", session=b"f" * 16)
    talk.wait(500)
    assert len(notices(talk, child)) == 1


def test_one_that_is_elsewhere_is_looked_for_from_above():
    talk = relay()
    parent = talk.dial(PARENT, Role.CHILD)
    talk.core.note_end(held_row(talk, FAR), reject(), talk.now_ms)
    talk_on(talk, parent, SEEK_MS - 2_000)
    assert notices(talk, parent) == []
    talk_on(talk, parent, 4_000)
    assert {message.header.to for message, _ in notices(talk, parent)} == {"zeek-2"}


def test_while_there_is_no_way_to_an_origin_its_ends_are_counted_on():
    talk = relay()
    talk.lose(talk.dial(PARENT, Role.CHILD))
    for _ in range(4):
        talk.core.note_end(held_row(talk, FAR), reject(), talk.now_ms)
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
        talk.core.note_end(held_row(talk, FAR), reject(), talk.now_ms)
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
    talk.core.note_end(held_row(talk, CHILD), reject(), talk.now_ms)
    talk.wait(2_000)
    assert notices(talk, link) == []
