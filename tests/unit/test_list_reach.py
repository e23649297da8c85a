"""Which relay has which revocation list: the component alone, with links that only remember what was sent."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import DIRECTORY_RELAYS_MAX, RETRY_MS
from fabric.protocol.core.ready import Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.port import LinkPort
from fabric.protocol.relay.below.list_reach import ListReach
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Applied, Role
from tests.support import T0, Authority

AUTHORITY = Authority("list reach")
LOW, HQ, ZEEK = AUTHORITY.issue("low", NodeKind.RELAY), AUTHORITY.issue("hq", NodeKind.RELAY), AUTHORITY.issue("zeek-1")
AHEAD_MS = 70  # of the root's time, before this node's own


class Stage:
    def __init__(self, is_root=False):
        self.sent, self.refused, self.by_destination = [], [], {}
        self.trust = TrustStore(LOW.credential, AUTHORITY.key, 0)
        port = LinkPort(
            {}, self.by_destination, lambda link, frame, _: self.sent.append((link.number, frame)),
            lambda link, reason, *_: self.refused.append((link.number, reason.code)), lambda *_: None,
        )
        self.reach = ListReach(
            "mid", self.trust, RouteTable("mid"), port, lambda now_ms: now_ms + AHEAD_MS, is_root=is_root
        )

    def link(self, number, member, role, destination):
        link = Link(number, member.curve_key, bytes(16), T0)
        link.opened(member.credential, role, bytes(16), T0)
        link.destination = destination
        return link

    def parent(self):
        self.by_destination[UPLINK] = self.link(1, HQ, Role.PARENT, UPLINK)
        self.reach.link_opened(self.by_destination[UPLINK])

    def child(self):
        return self.link(2, LOW, Role.CHILD, "child:low")

    def list(self, version, *ids):
        assert self.trust.take_revocations(Revocations(version, ids=frozenset(ids)))
        self.reach.list_changed(T0)

    def told(self, now_ms):
        self.sent.clear()
        self.reach.tick(now_ms, Ready())
        return [frame.entries for _, frame in self.sent]


@pytest.fixture
def stage():
    return Stage()


def test_what_is_in_force_here_is_reported_three_times_with_the_root_s_time(stage):
    stage.parent()
    stage.list(5)
    assert stage.reach.applied == {"mid": (5, T0 + AHEAD_MS)}
    told = [stage.told(T0 + n * RETRY_MS) for n in range(5)]
    assert told == [[[("mid", 5, T0 + AHEAD_MS)]]] * 3 + [[]] * 2


def test_it_is_not_repeated_before_its_time(stage):
    stage.parent()
    stage.list(5)
    assert stage.told(T0) and stage.told(T0 + RETRY_MS - 1) == [] and stage.told(T0 + RETRY_MS)


def test_a_new_parent_is_told_everything_again(stage):
    stage.list(5)
    assert stage.told(T0) == [], "there is nobody to tell"
    for _ in range(2):
        stage.parent()
        assert len([entries for n in range(5) for entries in stage.told(T0 + n * RETRY_MS)]) == 3


def test_only_a_parent_s_link_begins_it_again(stage):
    stage.parent()
    stage.list(5)
    for number in range(3):
        stage.told(T0 + number * RETRY_MS)
    stage.reach.link_opened(stage.child())
    assert stage.told(T0 + 9 * RETRY_MS) == []


def test_a_root_keeps_nothing_to_tell():
    stage = Stage(is_root=True)
    stage.list(5)
    stage.told(T0)
    assert stage.reach._untold == {} and stage.reach.applied == {"mid": (5, T0 + AHEAD_MS)}


def test_a_version_that_is_not_in_force_here_or_no_newer_changes_nothing(stage):
    stage.list(5)
    for version, at_ms in ((6, T0), (4, T0 + 1), (4, T0 + 2), (3, T0 + 3)):
        stage.reach.frame(stage.child(), Applied([("low", version, at_ms)]), T0, Ready())
    assert stage.reach.applied["low"] == (4, T0 + 1)


def test_a_child_that_has_the_list_is_not_sent_it_again(stage):
    stage.list(5)
    child = stage.child()
    child.lists.sent()
    stage.reach.frame(child, Applied([("low", 4, T0)]), T0, Ready())
    assert child.lists._pings == 0
    stage.reach.frame(child, Applied([("low", 5, T0)]), T0, Ready())
    assert child.lists._pings is None


@pytest.mark.parametrize(("member", "role"), [(HQ, Role.PARENT), (ZEEK, Role.POINT)])
def test_nobody_but_a_child_reports(stage, member, role):
    stage.reach.frame(stage.link(7, member, role, "x"), Applied([(member.credential.id, 1, T0)]), T0, Ready())
    assert stage.refused == [(7, Code.WRONG_ROLE)] and stage.reach.applied == {}


def test_a_relay_that_is_on_the_list_is_not_counted_any_more(stage):
    stage.list(5)
    stage.reach.frame(stage.child(), Applied([("low", 5, T0)]), T0, Ready())
    stage.list(6, "low")
    assert list(stage.reach.applied) == ["mid"]


def test_what_was_read_back_is_in_force(stage):
    stage.reach.restored(T0)
    assert stage.reach.applied == {}
    stage.trust.take_revocations(Revocations(5))
    stage.reach.restored(T0)
    assert stage.reach.applied == {"mid": (5, T0 + AHEAD_MS)}


def test_nobody_else_changes_what_it_says(stage):
    with pytest.raises(TypeError):
        stage.reach.applied["low"] = (9, T0)


def test_without_room_who_is_gone_goes_and_this_relay_stays(stage):
    stage.list(1)
    for number in range(DIRECTORY_RELAYS_MAX + 10):
        stage.reach._note(f"cell-{number}", (1, T0))
    assert len(stage.reach.applied) <= DIRECTORY_RELAYS_MAX and "mid" in stage.reach.applied
    assert f"cell-{DIRECTORY_RELAYS_MAX + 9}" in stage.reach.applied
