"""How sessions come and end at their relay: the component alone. Conversations: `test_below`, `test_sleepers`."""

from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SESSION_GRACE_MS, SESSIONS_READING_MAX
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import EndAsleep, KeepGap, KeepSession, Ready
from fabric.protocol.custody.sessions import Sessions, point_session
from fabric.protocol.custody.waiting import Waiting
from fabric.protocol.links.link import Link
from fabric.protocol.relay.below.facts import SessionEnded
from fabric.protocol.relay.below.session_keeper import SessionKeeper
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.wire.frames import Role
from tests.support import T0, Authority

AUTHORITY = Authority("sessions")
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>",)))
LOW = AUTHORITY.issue("low", NodeKind.RELAY)
HERE = point_session("reader", bytes(16))


class Sleepers:
    """Two rows sleep for everybody."""

    def stays(self, destination): ...

    def look_around(self): ...

    def forget(self, destination):
        return 2


class Exchange:
    def __init__(self):
        self.withdrawn = []

    def withdraw(self, key, epoch, source):
        self.withdrawn.append((key[0], source))


class Stage:
    def __init__(self):
        self.sessions, self.exchange, self.routes, self.facts = Sessions(), Exchange(), RouteTable("mid"), []
        self.refused, self.counters = [], Counters()
        links = SimpleNamespace(
            by_destination={}, refuse=lambda link, why, *_: self.refused.append((link.destination, why.code))
        )
        self.keeper = SessionKeeper(
            self.sessions, Sleepers(), Waiting(), self.routes, self.exchange, links, None, KeptCredentials(),
            self.counters, lambda fact, *_: self.facts.append(fact),
        )

    def attachment(self, relay="mid", session=bytes(16)):
        raw = sign_attachment(
            READER.credential, READER.signer, session, relay, T0, executes=False, subscriptions=("intel.>",)
        )
        return open_attachment(raw, {READER.credential.digest: READER.credential})

    def restore(self, relay="mid"):
        attachment = self.attachment(relay)
        self.routes.put(attachment)
        self.keeper.restored(HERE, attachment, T0)

    def link(self, number, member, role):
        link = Link(number, member.curve_key, bytes(16), T0)
        link.opened(member.credential, role, number.to_bytes(16, "big"), T0)
        link.destination = point_session(member.credential.id, link.peer_session)
        return link


@pytest.fixture
def stage():
    return Stage()


def test_who_does_not_come_back_in_time_is_forgotten_everywhere(stage):
    stage.restore()
    stage.keeper.tick(T0 + SESSION_GRACE_MS, ready := Ready())
    assert not stage.facts and not ready.persist
    stage.keeper.tick(T0 + SESSION_GRACE_MS + 1, ready)
    assert stage.facts == [SessionEnded(HERE, Code.SUBSCRIBER_GONE)]
    assert stage.exchange.withdrawn == [("reader", "reader")] and not stage.sessions.knows(HERE)
    assert stage.routes.get(("reader", bytes(16))) is None
    assert ready.persist == [KeepSession(HERE, b""), KeepGap(HERE, 0), EndAsleep(HERE)]
    assert stage.counters[f"ended:{Code.SUBSCRIBER_GONE.reason}"] == 2


def test_who_is_at_another_relay_by_now_keeps_the_place_there(stage):
    stage.restore("east")
    stage.keeper.forget(HERE, T0, Ready())
    assert not stage.exchange.withdrawn and stage.facts


def test_room_is_asked_for_sessions_of_control_points_only(stage, monkeypatch):
    monkeypatch.setattr(stage.sessions, "takes", lambda _: False)
    assert stage.keeper.check_room(stage.link(1, LOW, Role.CHILD)) is None
    refused = stage.keeper.check_room(stage.link(2, READER, Role.POINT))
    assert (refused.code, refused.detail) == (Code.TOO_MANY_SESSIONS, "reader")


def test_one_more_that_subscribes_than_may_is_refused_and_forgotten(stage):
    for number in range(1, SESSIONS_READING_MAX + 2):
        link, ready = stage.link(number, READER, Role.POINT), Ready()
        stage.keeper.opened(link)
        attachment = stage.attachment(session=link.peer_session)
        refused = stage.keeper.check_reader(attachment, link, T0, ready)
        if refused is None:
            stage.keeper.attached(attachment, link, T0, ready)
    assert refused is not None and stage.refused == [(link.destination, Code.TOO_MANY_SESSIONS)]
    assert not stage.sessions.knows(link.destination) and stage.facts == [
        SessionEnded(link.destination, Code.SUBSCRIBER_GONE)
    ]
