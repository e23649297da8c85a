"""Each container of links, routes, sessions and credentials is filled beyond its bound here, by whoever could."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    ASK_MS,
    ASKED_MAX,
    CREDENTIALS_CACHED_MAX,
    ROUTES_WEIGHT_MAX,
    TWIN_REPLACED_MAX,
)
from fabric.protocol.core.ready import KeepCredential, Ready
from fabric.protocol.links.admission import Twins
from fabric.protocol.links.link import Link
from fabric.protocol.relay.below import list_reach
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.known import Known
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Applied, Intro, Join, Role, Routes
from tests.conversation import Conversation
from tests.support import EVERYTHING, T0, Authority, derive, entropy

AUTHORITY = Authority("bounds of links")
ME, PARENT, CHILD = (AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("mid", "hq", "low"))
MOLE, HONEST = (AUTHORITY.issue(name, grants=EVERYTHING) for name in ("mole", "honest"))


@pytest.fixture
def talk():
    made = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("bounds"), ("hq",)))
    made.up = made.dial(PARENT, Role.CHILD)
    return made


def numbered(number):
    return number.to_bytes(16, "big")


def attachment(member, relay, number, patterns=()):
    raw = sign_attachment(member.credential, member.signer, numbered(number), relay, 1, False, tuple(patterns))
    return open_attachment(raw, {member.credential.digest: member.credential})


def test_what_a_peer_was_introduced_to():
    link = Link(1, bytes(32), bytes(16), T0)
    for number in range(CREDENTIALS_CACHED_MAX + 10):
        assert link.introductions.due(numbered(number))
    assert len(link.introductions) == CREDENTIALS_CACHED_MAX
    assert not link.introductions.due(numbered(CREDENTIALS_CACHED_MAX))
    assert link.introductions.due(numbered(0)), "it is told again"


def test_which_credentials_are_on_disk(talk):
    core = talk.core
    for number in range(CREDENTIALS_CACHED_MAX + 10):
        core.kept.remember(numbered(number))
    assert len(core.kept) == CREDENTIALS_CACHED_MAX
    ready = Ready()
    core.keep(MOLE.credential, ready)
    core.keep(MOLE.credential, ready)
    assert ready.persist == [KeepCredential(MOLE.credential.digest, MOLE.credential.raw)]


def test_credentials_that_are_known_and_those_that_were_refused():
    known = Known(ME.credential, 50)
    for number in range(200):
        known.learn(AUTHORITY.issue(f"lab-{number}").credential)
        known.refuse(derive(number)[:16], Reject(Code.REUSED_ID))
    assert len(known) == 50 and len(known._refused) <= 1_024


def test_what_one_identity_subscribes_to_leaves_room_for_others():
    """Sixty-four deep patterns a session take half a megabyte and more in the index, from 8 kB on the wire."""
    table = RouteTable("hq")
    taken = 0
    deep = [f"t.{'.'.join('abcdefghijklm')}.{n}" for n in range(64)]
    for number in range(400):
        each = attachment(MOLE, "low", number, deep)
        if table.has_room(each):
            table.put(each)
            taken += 1
    assert taken < 400 and table._weight <= ROUTES_WEIGHT_MAX // 2 + 1_000
    assert table.has_room(attachment(HONEST, "low", 1, deep))
    for each in list(table.all()):
        table.forget(each)
    assert (table._weight, dict(table._weights), table._at, table._raw) == (0, {}, {}, {})


def test_where_there_is_no_room_for_a_route_it_is_said_again_later(talk, monkeypatch):
    monkeypatch.setattr("fabric.protocol.routes.routing.ROUTES_WEIGHT_MAX", 20)
    low = talk.connect(CHILD, Role.CHILD)
    talk.place(low, CHILD, "mid")
    talk.say(low, Intro([MOLE.credential.raw, HONEST.credential.raw]))
    said = [attachment(MOLE, "low", n).raw for n in range(20)]
    talk.say(low, Routes(9, False, said, []))
    assert 0 < len(talk.core.routes.of_node("mole")) < 20 and talk.count("routes:no_room") > 0
    talk.say(low, Routes(10, False, [attachment(HONEST, "low", 1).raw], []))
    assert talk.core.routes.of_node("honest")


def test_questions_of_one_who_has_many_sessions_are_those_of_one(talk):
    """A member asks for ever, by as many sessions as it may have: strangers and others are heard nevertheless."""
    for session in range(40):
        talk.now_ms += 10
        link = talk.connect(MOLE, Role.POINT, session=numbered(session))
        for number in range(30):
            talk.say(link, Join(numbered(1_000 * session + number), "issuer", bytes(32), b"let me in"))
    assert talk.core.enrolment.under_way <= 30
    honest = talk.connect(HONEST, Role.POINT)
    talk.say(honest, Join(b"q" * 16, "issuer", bytes(32), b"let me in"))
    assert [frame.id for frame in talk.heard(talk.up, Join)][-1] == b"q" * 16
    talk.wait(ASK_MS + 1_000, every_ms=5_000)
    assert talk.core.enrolment.under_way == 0


def test_questions_that_are_under_way_are_shared():
    core = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("b"), ())).core
    shared = core.enrolment._asked
    for number in range(2 * ASKED_MAX):
        shared.put(numbered(number), (1, T0), "mole")
    assert len(shared) == ASKED_MAX // 2 and shared.put(b"q" * 16, (2, T0), "honest")


def test_who_has_which_list_is_known_of_as_many_relays_as_a_fabric_has(talk, monkeypatch):
    monkeypatch.setattr(list_reach, "DIRECTORY_RELAYS_MAX", 5)
    core = talk.core
    core.trust.take_revocations(Revocations(9))
    low = talk.connect(CHILD, Role.CHILD)
    talk.place(low, CHILD, "mid")
    for number in range(20):
        cell = AUTHORITY.issue(f"cell-{number}", NodeKind.RELAY, Label.RED)
        talk.say(low, Intro([cell.credential.raw]))
        raw = sign_attachment(cell.credential, cell.signer, bytes(16), "low", 1, False, ())
        talk.say(low, Routes(10 + number, False, [raw], []))
        talk.say(low, Applied([(cell.id, 1, T0), (f"invented-{number}", 1, T0)]))
    reach = core.list_reach
    assert len(reach.applied) <= 5 and "cell-19" in reach.applied and len(reach._untold) <= 5
    assert not [relay for relay in reach.applied if relay.startswith("invented")]


def test_how_often_a_destination_was_replaced():
    twins = Twins()
    for _ in range(1_000):
        twins.is_twin("point:mole/1", T0)
    assert len(twins._replaced["point:mole/1"]) == TWIN_REPLACED_MAX + 1
    twins.sweep(T0 + 10**9)
    assert not twins._replaced
