"""Who leaves a relay: the component alone, with links that only remember what was sent. Conversations: `test_below`."""

from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ADMISSIONS_BURST
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import child_relay
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.relay.below.departures import Departures
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Bye, Role
from tests.support import T0, Authority

AUTHORITY = Authority("departures")
LOW = AUTHORITY.issue("low", NodeKind.RELAY)


class Opening:
    draining = False

    def drain(self):
        self.draining = True


class Stage:
    def __init__(self):
        self.links, self.sent, self.parted = {}, [], []
        table = SimpleNamespace(
            by_number=self.links, by_destination={}, contained=lambda work, *what: work(*what),
            send=lambda link, frame, _: self.sent.append((link.number, frame)),
            part=lambda link, *_: self.parted.append(link.number),
        )
        self.outboxes = Outboxes({}, lambda _: None)
        self.departures = Departures(
            table, Uplink((), lambda: 0.5), Opening(), Custody(self.outboxes.of), self.outboxes
        )

    def child(self, number):
        link = self.links[number] = Link(number, LOW.curve_key, bytes(16), T0)
        link.opened(LOW.credential, Role.CHILD, bytes(16), T0)
        link.destination = child_relay(f"low-{number}")
        self.outboxes.of(link.destination)
        return link


@pytest.fixture
def stage():
    return Stage()


def test_those_below_are_told_to_go_a_few_at_a_time_and_each_once(stage):
    for number in range(ADMISSIONS_BURST + 1):
        stage.child(number)
    stage.departures.drain(Ready())
    assert len(stage.sent) == ADMISSIONS_BURST
    for _ in range(2):
        stage.departures.tick(T0, Ready())
    assert [number for number, _ in stage.sent] == list(range(ADMISSIONS_BURST + 1))
    assert all(frame == Bye(Code.DRAINING, "") for _, frame in stage.sent)


def test_a_link_that_is_gone_is_not_remembered(stage):
    link = stage.child(1)
    stage.departures.drain(Ready())
    stage.departures.lost(link)
    stage.departures.tick(T0, Ready())
    assert len(stage.sent) == 2, "the number was told again, so it had been forgotten"


def test_it_is_drained_when_nobody_is_here_and_nothing_climbs(stage):
    stage.child(1)
    assert not stage.departures.drained
    stage.departures.drain(Ready())
    assert not stage.departures.drained
    del stage.links[1]
    assert stage.departures.drained and stage.outboxes.of(UPLINK).empty


def test_only_who_moves_away_is_parted_from_and_only_when_it_has_everything(stage):
    stays, moves = stage.child(1), stage.child(2)
    moves.leaving_at_ms = T0
    stage.departures.tick(T0, Ready())
    assert stage.parted == [moves.number] and stays.number in stage.links and stage.sent == []
