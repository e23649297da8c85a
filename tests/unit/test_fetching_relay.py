"""Fetching at a relay and at a target's core: no approval, no report, no resolution, and no disk that remembers it."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Delivery, KeepDispatch, KeepOpen, SeenAction
from fabric.protocol.custody.sessions import point_session
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.trust.policies import Rule, When, issue_policies, verify_policies
from fabric.protocol.vocabulary.fetching import FETCH, Wanted
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.frames import Ack, Direction, Nack, Role
from tests.conversation import Conversation
from tests.support import FABRIC, T0, Authority, derive, entropy, opened, verified

AUTHORITY = Authority("fetching relay")
ME = AUTHORITY.issue("hq", NodeKind.RELAY)
SOAR = AUTHORITY.issue("soar-1", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
GUEST = AUTHORITY.issue("guest-1")
WALL = AUTHORITY.issue("fw-1", tags=[("role", "firewall")], grants=Grants(execute=("deny ipv4_net",)))
# Everything is to be approved.
POLICIES = verify_policies(
    issue_policies(FABRIC, 1, T0, [Rule("all", When(), 1, ("lead",), 60_000)], {}, AUTHORITY.signer), AUTHORITY.key,
    FABRIC,
)
ONE, TWO = b"1" * 16, b"2" * 16


def fetch(to="id=fw-1", sequence=0, member=SOAR):
    record = {"action": "query", "target": Wanted("0" * 16, 0, 10).to_json(), "args": {}}
    return verified(member, kind=Kind.ACTION, topic=FETCH, to=to, severity=Severity.INFORMATIONAL,
                    correlation=derive("action"), records=[record], sequence=sequence)


def piece(about, to, sequence=0):
    return verified(WALL, kind=Kind.RESULT, topic=FETCH, to=to, correlation=about.leaf, sequence=sequence,
                    records=[{"state": "running", "offset": 0, "data": b"x"}])


def deny(sequence=1):
    return verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="id=fw-1", severity=Severity.HIGH,
                    records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], sequence=sequence)


class Stage:
    """A root where everything is held for approvals, with two sessions of a requester, and a firewall."""

    def __init__(self):
        self.talk = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay")))
        assert self.talk.core.trust.take_policies(POLICIES)
        self.soar, self.other = (self.talk.connect(SOAR, Role.POINT, session=each) for each in (ONE, TWO))
        for link, session in ((self.soar, ONE), (self.other, TWO)):
            self.talk.attach(link, SOAR, "hq", session=session)
        self.wall = self.talk.connect(WALL, Role.POINT)
        self.talk.attach(self.wall, WALL, "hq", executes=True)

    def ends(self, link):
        messages = [opened(item.envelope, ME, WALL) for item in self.talk.items(link)]
        return [reading.content.get("end") for message in messages
                for reading in read_records(message.header, message.envelope.parts)]


@pytest.fixture
def stage():
    return Stage()


def test_it_goes_to_its_target_unheld_and_unreported_and_there_is_nothing_to_resolve(stage):
    message = fetch()
    stage.talk.send(stage.soar, message)
    (item,) = stage.talk.items(stage.wall)
    assert item.envelope == message.raw and stage.ends(stage.soar) == []
    assert not stage.talk.persisted(KeepOpen) and len(stage.talk.persisted(KeepDispatch)) == 2
    stage.talk.wait(1_000)
    assert stage.ends(stage.soar) == []
    stage.talk.send(stage.soar, deny())  # by the same requester to the same target, of the same policies
    assert stage.talk.items(stage.wall) == [] and stage.ends(stage.soar) == ["selected", "held"]


def test_nobody_and_away_are_said(stage):
    stage.talk.send(stage.soar, fetch(to="id=fw-9"))
    assert stage.ends(stage.soar) == ["nobody"]
    stage.talk.withdraw(stage.wall, WALL)
    stage.talk.send(stage.soar, fetch(sequence=2))
    assert stage.ends(stage.soar) == ["held"]


def test_who_may_request_nothing_fetches_nothing(stage):
    guest = stage.talk.connect(GUEST, Role.POINT)
    stage.talk.send(guest, fetch(member=GUEST))
    assert [code for nack in stage.talk.heard(guest, Nack) for _, code, _ in nack.refusals] == [Code.REQUEST_DENIED]


def test_a_piece_is_for_the_session_that_asked_and_an_answer_without_one_for_all(stage):
    message = fetch()
    stage.talk.send(stage.soar, message)
    stage.talk.items(stage.soar)
    for n in range(3):
        stage.talk.send(stage.wall, piece(message, f"soar-1/{ONE.hex()[:8]}", n))
    assert len(stage.talk.items(stage.soar)) == 3 and stage.talk.items(stage.other) == []
    stage.talk.send(stage.wall, piece(message, "soar-1", 3))
    assert len(stage.talk.items(stage.soar)) == len(stage.talk.items(stage.other)) == 1
    assert stage.talk.heard(stage.wall, Ack) and not stage.talk.heard(stage.wall, Nack)


def test_what_is_for_a_session_that_left_is_for_nobody_else(stage):
    message = fetch()
    stage.talk.send(stage.soar, message)
    stage.talk.withdraw(stage.soar, SOAR, session=ONE)
    stage.talk.items(stage.other)
    stage.talk.send(stage.wall, piece(message, f"soar-1/{ONE.hex()[:8]}"))
    stage.talk.wait(1_000)
    assert stage.talk.items(stage.other) == []
    assert point_session("soar-1", TWO) in stage.talk.core.outboxes


def test_at_its_target_no_disk_remembers_it_and_no_room_is_taken():
    talk = Conversation(Point(WALL.credential, WALL.signer, AUTHORITY.key, b"w" * 16, entropy("point")))
    assert talk.core.trust.take_policies(POLICIES)
    link = talk.dial(ME, Role.POINT)
    message = fetch()
    for _ in range(2):
        talk.send(link, message, Direction.DOWN)
    assert [each.message.id for each in talk.told(Delivery)] == [message.id]
    assert not talk.persisted(SeenAction) and not talk.core.action_room.bytes
    talk.send(link, deny(), Direction.DOWN)
    assert not talk.told(Delivery), "what is executed needs its approvals"
