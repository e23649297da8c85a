"""Beyond the audience: what somebody gets, or learns of, who is not meant, and how each is kept from it."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import KEEP_BYTES_MIN
from fabric.protocol.core.ready import KeepGap, Put
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind, PublishGrant
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Intro, Nack, Role, Routes
from tests.conversation import Conversation
from tests.support import HOUR_MS, Authority, entropy, opened, verified

AUTHORITY = Authority("audiences")
HUB = AUTHORITY.issue("hub", NodeKind.RELAY)
MINE = AUTHORITY.issue("mine", NodeKind.RELAY)
FEED = AUTHORITY.issue("feed", grants=Grants(publish=(PublishGrant(">", to_communities=("isac",)),)))
READS = Grants(subscribe=(">",), keep=Keep(bytes=KEEP_BYTES_MIN, ms=HOUR_MS))
STRANGER = AUTHORITY.issue("stranger", organisation="bank", grants=READS)


def member_of(*communities, serial=1, **more):
    return AUTHORITY.issue("bank-1", organisation="bank", grants=READS, communities=communities, serial=serial, **more)


@pytest.fixture
def talk():
    return Conversation(Relay(HUB.credential, HUB.signer, AUTHORITY.key, b"m" * 16, entropy("audiences"), ()))


def subscribe(talk, link, member, keep_ms=HOUR_MS, epoch=1):
    raw = sign_attachment(member.credential, member.signer, b"s" * 16, "hub", epoch, False, (">",), keep_ms)
    talk.say(link, Intro([member.credential.raw]))
    talk.say(link, Routes(1, True, [raw], []))


def large(n, **more):
    """Ten of them are more than a reader here may keep."""
    return verified(FEED, sequence=n, records=[{"blob": "x" * 120_000, "n": n}], ttl_ms=HOUR_MS, **more)


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.INTEL])
def test_a_reader_who_is_away_is_not_told_how_much_there_was_for_others(talk, kind):
    """A gap marker counts what was lost to it: of what it may not know nothing ever waited for it."""
    reader, feed = talk.connect(STRANGER, Role.POINT), talk.connect(FEED, Role.POINT)
    subscribe(talk, reader, STRANGER)
    talk.lose(reader)
    topic = "intel.x" if kind is Kind.INTEL else "detections.x"
    own = verified(FEED, kind=kind, topic=topic, label=Label.CLEAR, ttl_ms=HOUR_MS)
    talk.send(feed, own)
    for n in range(1, 12):
        talk.send(feed, large(n, kind=kind, topic=topic, label=Label.AMBER))
    assert talk.persisted(KeepGap) == [] and {op.id for op in talk.persisted(Put)} <= {own.id}
    reader = talk.connect(STRANGER, Role.POINT)
    subscribe(talk, reader, STRANGER, epoch=2)
    assert [opened(item.envelope, FEED).id for item in talk.items(reader)] == [own.id], "nor does it lose its own by it"


def test_what_a_node_was_before_its_renewal_it_does_not_become_again_by_its_old_credential(talk):
    """It left the community; its former credential is valid for a while yet."""
    former, now = member_of("isac"), member_of(serial=2)
    feed = talk.connect(FEED, Role.POINT)
    reader = talk.connect(former, Role.POINT)
    subscribe(talk, reader, former)
    green = {"organisations": ("acme",), "communities": ("isac",), "label": Label.GREEN}
    talk.send(feed, verified(FEED, sequence=1, **green))
    assert len(talk.items(reader)) == 1
    talk.say(reader, Intro([now.credential.raw]))
    talk.send(feed, verified(FEED, sequence=2, **green))
    assert talk.items(reader) == []
    talk.lose(reader)
    reader = talk.connect(former, Role.POINT)
    subscribe(talk, reader, former, epoch=2)
    talk.send(feed, verified(FEED, sequence=3, **green))
    assert talk.items(reader) == []


def test_what_others_tell_of_its_renewal_counts_on_a_link_that_it_keeps_open(talk):
    former, now = member_of("isac"), member_of(serial=2)
    reader, feed = talk.connect(former, Role.POINT), talk.connect(FEED, Role.POINT)
    subscribe(talk, reader, former)
    talk.say(feed, Intro([now.credential.raw]))
    talk.wait(1_000)
    talk.send(feed, verified(FEED, communities=("isac",), label=Label.GREEN))
    assert talk.items(reader) == []


def test_whom_an_origin_may_address_no_more_it_does_not_address_under_a_former_credential(talk):
    narrowed = AUTHORITY.issue("feed", grants=Grants(publish=(PublishGrant(">"),)), serial=2)
    feed = talk.connect(FEED, Role.POINT)
    talk.send(feed, verified(FEED, communities=("isac",)))
    talk.say(feed, Intro([narrowed.credential.raw]))
    talk.send(feed, verified(FEED, sequence=1, communities=("isac",)))
    talk.send(feed, verified(FEED, sequence=2))
    assert [code for frame in talk.heard(feed, Nack) for _, code, _ in frame.refusals] == [Code.AUDIENCE_DENIED]
    assert sum(len(frame.ids) for frame in talk.heard(feed, Ack)) == 2


def test_a_former_credential_still_opens_a_link_where_the_newer_one_is_over(talk):
    former, now = member_of("isac"), member_of(serial=2, not_after_ms=1)
    link = talk.connect(former, Role.POINT)
    talk.say(link, Intro([now.credential.raw]))
    talk.lose(link)
    link = talk.connect(former, Role.POINT)
    assert talk.core.links[link].peer.serial == 1
