"""What a target says of a range reaches who asked for it, and nothing else does."""

import pytest

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.fetching.fetches import Fetches, Said
from fabric.edge.messages import messages_of
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.recipients import Recipients
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Delivery, Published, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.fetching import FETCH, Wanted
from fabric.protocol.vocabulary.lifecycle import state_named
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.publishing import publishing
from tests.support import EVERYTHING, T0, Authority, entropy, verified

AUTHORITY = Authority("fetches")
ME = AUTHORITY.issue("soar-1", grants=EVERYTHING)
WALL, OTHER = (AUTHORITY.issue(name, grants=EVERYTHING) for name in ("fw-1", "fw-2"))
RELAY = AUTHORITY.issue("hq", NodeKind.RELAY)
WANTED = Wanted("0" * 16, 0, 10)
STAMP = Stamp(Kind.ACTION, FETCH, Severity.INFORMATIONAL, Phase.NONE, 60_000, Label.GREEN, to="id=fw-1",
              correlation=bytes(32))
RECORD = {"action": "query", "target": WANTED.to_json(), "args": {}}


class House:
    def __init__(self):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
        composer = Composer(ME.credential, self.core.signer, self.core.roots, entropy("composer"))
        self.mailbox = Mailbox()
        awaiting_keys = AwaitingKeys(self.core, Recipients(self.core, entropy("keys")))
        self.publisher = publishing(self.core, composer, awaiting_keys).publisher
        self.fetches = Fetches(self.mailbox, self.publisher)
        self.heard = []

    def turn(self):
        self.mailbox.run(T0, Ready())

    def ask(self, stamp=STAMP):
        self.hear = self.heard.append
        self.fetches.ask(stamp, RECORD, "fw-1", self.hear)
        self.turn()
        return [row.held.message for row in self.core.outboxes[UPLINK].rows()]

    def answer(self, member, leaf, **content):
        state = state_named(content.get("end") or content.get("state"))
        result = verified(member, kind=Kind.RESULT, topic=FETCH, correlation=leaf, records=[content], state=state)
        self.fetches.take(result, messages_of(Delivery(result, 0, ())))


@pytest.fixture
def house():
    house = House()
    yield house
    house.mailbox.close()


def test_the_target_and_relays_are_heard_and_nobody_else(house):
    (asked,) = house.ask()
    assert (asked.header.topic, asked.header.to) == (FETCH, "id=fw-1")
    house.answer(WALL, asked.leaf, state="running", offset=0, data=b"x")
    house.answer(RELAY, asked.leaf, end="held")
    house.answer(OTHER, asked.leaf, state="running", offset=0, data=b"forged")
    house.answer(WALL, bytes(32), state="running", offset=0, data=b"of another")
    assert [(said.by_relay, dict(said.message.content)) for said in house.heard] == [
        (False, {"state": "running", "offset": 0, "data": b"x"}), (True, {"end": "held"})]
    assert all(isinstance(said, Said) for said in house.heard) and len(house.fetches) == 1
    house.answer(WALL, asked.leaf, end="completed")
    assert len(house.heard) == 3 and not len(house.fetches)


def test_who_wants_to_hear_no_more_hears_no_more(house):
    (asked,) = house.ask()
    house.fetches.forget(house.heard.append)  # another function, though it does the same
    house.turn()
    assert len(house.fetches) == 1
    house.fetches.forget(house.hear)
    house.turn()
    house.answer(WALL, asked.leaf, end="completed")
    assert not house.heard and not len(house.fetches)


def test_what_is_not_taken_is_said(house):
    (asked,) = house.ask()
    house.publisher.published(Published(asked.id, Reject(Code.RATE_EXCEEDED), 1))
    (error,) = house.heard
    assert isinstance(error, FabricError) and error.code is Code.RATE_EXCEEDED and not len(house.fetches)


def test_what_cannot_be_sent_and_the_end_of_the_connection_are_said(house):
    house.ask(STAMP._replace(audience=None, to="x" * 10_000))
    assert [error.code for error in house.heard] == [Code.MALFORMED]
    house.fetches.ask(STAMP, RECORD, "fw-1", house.heard.append)
    house.mailbox.end(FabricError(Code.CLOSED))
    assert house.heard[-1].code is Code.CLOSED
    with pytest.raises(FabricError):
        house.fetches.ask(STAMP, RECORD, "fw-1", house.heard.append)
    house.fetches.forget(house.hear)
