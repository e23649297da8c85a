"""Who lowers a label without leave: an origin that has no grant, a relay on the way, and how each is caught."""

from dataclasses import replace

import msgpack
import pytest

from fabric.protocol.audit import kinds
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import RELABELS_PER_S
from fabric.protocol.core.ready import Delivery, Published, Submit
from fabric.protocol.envelope.header import Kind, Relabels, decode_header, encode_header
from fabric.protocol.envelope.layout import Envelope, decode_envelope, encode_envelope
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, NodeKind, PublishGrant
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Nack, Role
from tests.conversation import Conversation
from tests.support import Authority, derive, entropy, opened, verified

AUTHORITY = Authority("relabelling")
HUB = AUTHORITY.issue("hub", NodeKind.RELAY)
BELOW = AUTHORITY.issue("below", NodeKind.RELAY)
GRANT = DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN)
PUBLISHES = (PublishGrant(">"),)
ANALYST = AUTHORITY.issue("analyst-1", grants=Grants(publish=PUBLISHES, subscribe=(">",), declassify=(GRANT,)))
SENSOR = AUTHORITY.issue("sensor-1", grants=Grants(publish=PUBLISHES))
READER = AUTHORITY.issue("reader-1", clearance=Label.GREEN, grants=Grants(subscribe=(">",)))
OLD = Relabels(derive("old"), 3, Label.AMBER)


@pytest.fixture
def talk():
    return Conversation(Relay(HUB.credential, HUB.signer, AUTHORITY.key, b"m" * 16, entropy("relabelling"), ()))


def lowered(member=ANALYST, relabels=OLD, **said):
    return verified(member, **{"label": Label.GREEN, "relabels": relabels, **said})


def refusals(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def test_whoever_may_is_heard_and_the_relay_s_log_has_who_lowered_what(talk):
    analyst, reader = talk.connect(ANALYST, Role.POINT), talk.connect(READER, Role.POINT)
    talk.attach(reader, READER, "hub", ">")
    message = lowered()
    talk.say(analyst, Intro([ANALYST.credential.raw]))
    ready = talk.send(analyst, message, introduce=False)
    (entry,) = [told for told in ready.audit if told.kind == kinds.MESSAGE_RELABELLED]
    assert entry.who == "analyst-1" and entry.fields == {
        "new": message.leaf, "old": OLD.leaf, "record": 3, "from": "amber", "to": "green", "link": "analyst-1"
    }
    assert [item.envelope for item in talk.items(reader)] == [message.raw]
    again = talk.send(analyst, message, introduce=False)
    assert not [told for told in again.audit if told.kind == kinds.MESSAGE_RELABELLED], "a repeat is no other deed"


@pytest.mark.parametrize(("message", "code"), [
    (lowered(SENSOR), Code.DECLASSIFY_DENIED),
    (lowered(relabels=OLD._replace(label=Label.RED)), Code.DECLASSIFY_DENIED),
    (lowered(label=Label.CLEAR), Code.DECLASSIFY_DENIED),
    (lowered(rules={"src_ip": Label.CLEAR}), Code.DECLASSIFY_DENIED),
    (lowered(kind=Kind.INTEL, topic="intel.ipv4"), Code.DECLASSIFY_DENIED),
    (lowered(topic="health.fan"), Code.DECLASSIFY_DENIED),
    (lowered(label=Label.AMBER), Code.NOT_LOWERED),
])
@pytest.mark.parametrize("role", [Role.POINT, Role.CHILD])
def test_what_goes_beyond_the_grant_is_refused_at_each_hop_though_its_own_node_signed_it(talk, message, code, role):
    """Its own node would have refused it: whoever has the key may leave that node out. Nobody else takes it."""
    origin = ANALYST if message.header.origin == ANALYST.id else SENSOR
    link = talk.connect(origin if role is Role.POINT else BELOW, role)
    talk.say(link, Intro([origin.credential.raw]))
    ready = talk.send(link, message, introduce=False)
    assert refusals(talk, link) == [code] and talk.heard(link, Ack) == []
    assert {told.kind for told in ready.audit} == {kinds.MESSAGE_REFUSED}


def test_its_own_node_says_so_first_and_what_it_signs_is_in_its_log():
    for member, code in ((SENSOR, Code.DECLASSIFY_DENIED), (ANALYST, None)):
        talk = Conversation(Point(member.credential, member.signer, AUTHORITY.key, b"m" * 16, entropy("x"), ("hub",)))
        message = lowered(member)
        ready = talk.step(Submit(message))
        (published,) = talk.told(Published) or [Published(message.id, None)]
        assert getattr(published.refused, "code", None) is code
        assert [told.kind for told in ready.audit] == ([] if code else [kinds.MESSAGE_RELABELLED])


def test_a_reader_takes_it_from_no_relay_that_did_not_ask():
    talk = Conversation(Point(READER.credential, READER.signer, AUTHORITY.key, b"m" * 16, entropy("x"), ("hub",)))
    link = talk.dial(HUB, Role.POINT)
    talk.say(link, Intro([SENSOR.credential.raw, ANALYST.credential.raw]))
    talk.send(link, lowered(SENSOR), Direction.DOWN, introduce=False)
    assert refusals(talk, link) == [Code.DECLASSIFY_DENIED] and talk.told(Delivery) == []
    talk.send(link, lowered(), Direction.DOWN, introduce=False)
    assert [delivery.message.header.relabels for delivery in talk.told(Delivery)] == [OLD]


def test_nobody_fills_the_logs_of_others_with_it(talk):
    """Ten seconds' worth at once, then not now: its publish grant has no rate, and what it publishes else goes by."""
    link = talk.connect(ANALYST, Role.POINT)
    talk.say(link, Intro([ANALYST.credential.raw]))
    entries = 0
    for number in range(10 * RELABELS_PER_S + 5):
        ready = talk.send(link, lowered(sequence=number), introduce=False)
        entries += sum(told.kind == kinds.MESSAGE_RELABELLED for told in ready.audit)
    assert entries == 10 * RELABELS_PER_S and refusals(talk, link) == [Code.RATE_EXCEEDED] * 5
    talk.send(link, verified(ANALYST, sequence=9_999), introduce=False)
    assert refusals(talk, link) == []
    talk.now_ms += 1_000
    talk.send(link, lowered(sequence=10_000), introduce=False)
    assert refusals(talk, link) == []


# -- nothing else lowers a label --------------------------------------------------------------------------------

AMBER = verified(SENSOR, label=Label.AMBER, rules={"src_ip": Label.RED})


def relabelled_by_a_relay(change):
    """As a relay would write it that has no origin's key."""
    envelope = decode_envelope(AMBER.raw)
    assert isinstance(envelope, Envelope)
    header = change(decode_header(envelope.header))
    return encode_envelope(envelope._replace(header=encode_header(header)))


FORGED = {
    "the envelope's label": lambda h: replace(h, label=Label.GREEN),
    "a part's label": lambda h: replace(
        h, manifest=tuple([entry._replace(label=Label.GREEN) for entry in h.manifest])
    ),
    "with a word of what it was": lambda h: replace(
        h, label=Label.GREEN, relabels=Relabels(AMBER.leaf, 0, Label.AMBER)
    ),
    "in the name of who may": lambda h: replace(
        h, origin="analyst-1", label=Label.GREEN, relabels=Relabels(AMBER.leaf, 0, Label.AMBER)
    ),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_relay_that_lowers_a_label_is_caught_by_the_next_node(talk, change):
    raw = relabelled_by_a_relay(change)
    link = talk.connect(BELOW, Role.CHILD)
    talk.say(link, Intro([SENSOR.credential.raw, ANALYST.credential.raw]))
    talk.say(link, Data(Lane.MEDIUM, talk.now_ms, [Item(Direction.UP, 0, ["below"], [], raw)]))
    assert refusals(talk, link) == [Code.BAD_SIGNATURE]


def test_nor_does_it_help_to_sign_it_with_the_analyst_s_envelope(talk):
    """The signer may be named by somebody else: the signature decides, and the header names the origin."""
    envelope = decode_envelope(relabelled_by_a_relay(FORGED["in the name of who may"]))
    raw = encode_envelope(envelope._replace(signer=ANALYST.credential.digest))
    known = {ANALYST.credential.digest: ANALYST.credential, SENSOR.credential.digest: SENSOR.credential}
    assert open_envelope(raw, known, RootCache()).code is Code.BAD_SIGNATURE
    assert opened(AMBER.raw, SENSOR).header.label is Label.AMBER


def test_to_leave_out_that_it_was_re_issued_takes_the_origin_s_key(talk):
    message = lowered()
    envelope = decode_envelope(message.raw)
    fields = msgpack.unpackb(envelope.header)
    raw = encode_envelope(envelope._replace(header=msgpack.packb(fields[:17])))
    assert open_envelope(raw, {ANALYST.credential.digest: ANALYST.credential}, RootCache()).code is Code.BAD_SIGNATURE
