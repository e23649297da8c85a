"""What a relay that was broken into tries with labels, in its words, and what is noticed of it."""

import dataclasses

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Delivery, Handled, Put
from fabric.protocol.envelope.header import encode_header
from fabric.protocol.envelope.layout import encode_envelope, seal
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Nack, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, Authority, draft, entropy, verified

AUTHORITY = Authority("attack-labels")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ROOT = AUTHORITY.issue("root", NodeKind.RELAY)
EVE = AUTHORITY.issue("eve", NodeKind.RELAY)  # a child of hq
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
READER = AUTHORITY.issue("analyst-1", grants=EVERYTHING)
WHOLE = verified(ZEEK, records=[{"src": "10.1.0.7", "rule": "scan"}], rules={"src": Label.AMBER}, label=Label.GREEN)
GREEN, AMBER = WHOLE.envelope.parts
UP, DOWN = Direction.UP, Direction.DOWN


def relabelled(envelope=None, parts=(None, None), audience=None):
    """The message with another label of its own, or of its parts, or for others; the rest is as it was signed."""
    header = WHOLE.header
    manifest = tuple(
        entry if label is None else entry._replace(label=label)
        for entry, label in zip(header.manifest, parts, strict=True)
    )
    changed = dataclasses.replace(
        header, label=header.label if envelope is None else envelope, manifest=manifest,
        audience=header.audience if audience is None else audience,
    )
    return encode_envelope(WHOLE.envelope._replace(header=encode_header(changed)))


def give(talk, link, raw, direction=UP, hops=("eve",)):
    talk.say(link, Intro([ZEEK.credential.raw]))
    talk.say(link, Data(WHOLE.header.lane, talk.now_ms, [Item(direction, 0, list(hops), [], raw)]))


def codes(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def acked(talk, link):
    return [id_ for frame in talk.heard(link, Ack) for id_ in frame.ids]


@pytest.fixture
def talk():
    return Conversation(Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"), ("root",)))


@pytest.mark.parametrize("raw", [
    *(relabelled(envelope=label) for label in Label if label is not Label.GREEN),
    *(relabelled(parts=(None, label)) for label in Label if label is not Label.AMBER),
    relabelled(parts=(Label.AMBER, Label.GREEN)), relabelled(audience=Audience(("acme", "bank"))),
    relabelled(audience=Audience(("acme",), ("isac",))),
])
def test_i_relabel_a_message_and_pass_it_on(talk, raw):
    eve = talk.connect(EVE, Role.CHILD)
    give(talk, eve, raw)
    assert codes(talk, eve) == [Code.BAD_SIGNATURE] and talk.count("refused:bad_signature") == 1
    assert talk.persisted(Put) == [], "nothing of it is kept"
    give(talk, eve, WHOLE.raw)
    assert acked(talk, eve) == [WHOLE.id] and [op.envelope for op in talk.persisted(Put)] == [WHOLE.raw]


def test_i_put_what_is_amber_where_what_is_green_was(talk):
    eve = talk.connect(EVE, Role.CHILD)
    for parts in ((AMBER, GREEN), (AMBER, AMBER), (AMBER, None)):
        give(talk, eve, encode_envelope(WHOLE.envelope._replace(parts=parts)))
    assert codes(talk, eve) == [Code.BAD_DIGEST] * 3 and talk.count("refused:bad_digest") == 3


def test_i_sign_the_message_anew_under_a_lower_label(talk):
    header, parts = draft(ZEEK, records=[{"src": "10.1.0.7", "rule": "scan"}], label=Label.CLEAR)
    eve = talk.connect(EVE, Role.CHILD)
    talk.say(eve, Intro([ZEEK.credential.raw, EVE.credential.raw]))
    for signer in (ZEEK.credential.digest, EVE.credential.digest):
        forged = seal([(header, parts)], signer, EVE.signer)[0]
        talk.say(eve, Data(header.lane, talk.now_ms, [Item(UP, 0, ["eve"], [], forged)]))
    assert codes(talk, eve) == [Code.BAD_SIGNATURE] * 2 and talk.count("refused:bad_signature") == 2


STRIPPED = WHOLE.with_parts_of(WHOLE.envelope._replace(parts=(GREEN, None)))


def test_i_pass_a_stripped_copy_before_the_whole_one_and_what_waits_is_completed(talk):
    eve, sensor = talk.connect(EVE, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    give(talk, eve, STRIPPED.raw)
    give(talk, sensor, WHOLE.raw, hops=())
    assert talk.count("upgraded") == 1 and talk.count("repeats") == 1
    (item,) = talk.items(talk.dial(ROOT, Role.CHILD))
    assert item.envelope == WHOLE.raw


def test_i_pass_it_to_a_reader_who_knows_that_something_is_missing():
    """It is not delivered again: that a part is missing its reader was told, and the other copy is counted."""
    talk = Conversation(Point(READER.credential, READER.signer, AUTHORITY.key, b"r" * 16, entropy("reader")))
    link = talk.dial(EVE, Role.POINT)
    give(talk, link, STRIPPED.raw, DOWN)
    (delivery,) = talk.told(Delivery)
    assert delivery.message.withheld == 1
    talk.step(Handled(delivery.message.id))
    give(talk, link, WHOLE.raw, DOWN)
    assert talk.told(Delivery) == [] and talk.count("repeats") == 1
    assert acked(talk, link) == [WHOLE.id] * 2
