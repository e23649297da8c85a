"""By which ways a message leaves a relay."""

import pytest

from fabric.protocol.custody.sessions import NOWHERE, child_relay, point_session
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.wire.frames import Direction
from tests.support import Authority, verified

AUTHORITY = Authority("router")
EAST = AUTHORITY.issue("east", NodeKind.RELAY)
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>", "d.>")))
FAR = AUTHORITY.issue("far", grants=Grants(subscribe=("intel.>",)))
WALL = AUTHORITY.issue("wall", grants=Grants(execute=("deny *",)))
HERE, BELOW = b"h" * 16, b"b" * 16
HERE_READER = point_session("reader", HERE)
UP, DOWN = Direction.UP, Direction.DOWN


def attachment(member, relay, session=HERE, executes=False, subscriptions=(), epoch=1):
    raw = sign_attachment(member.credential, member.signer, session, relay, epoch, executes, subscriptions)
    return open_attachment(raw, {member.credential.digest: member.credential})


@pytest.fixture
def routes():
    """mid has the relay east below it; the reader has a session at mid and one at east."""
    table = RouteTable("mid")
    for known in (attachment(EAST, "mid"), attachment(READER, "mid"), attachment(READER, "east", BELOW)):
        table.put(known)
    return table


@pytest.mark.parametrize(("is_root", "up", "upwards"), [(False, [(UPLINK, ())], UPLINK), (True, [], NOWHERE)])
def test_upwards_is_the_parent_and_at_the_root_nowhere_yet(routes, is_root, up, upwards):
    router = Router("mid", routes, is_root=is_root)
    assert (router.up(), router.upwards) == (up, upwards)


def test_a_node_is_reached_by_every_way_that_leads_to_one_of_its_sessions(routes):
    router = Router("mid", routes, is_root=False)
    assert router.down_to("reader") == [(HERE_READER, ()), (child_relay("east"), ())]
    assert router.down_to("far") == []


@pytest.mark.parametrize(("is_root", "upwards"), [(False, UPLINK), (True, NOWHERE)])
def test_to_nodes_each_way_has_those_for_whom_it_is(routes, is_root, upwards):
    router = Router("mid", routes, is_root=is_root)
    assert router.to(["reader", "far", "reader", "west"]) == [
        (HERE_READER, ("reader",)), (child_relay("east"), ("reader",)), (upwards, ("far", "west"))
    ]


@pytest.mark.parametrize(("kind", "is_root", "direction", "ways"), [
    (Kind.EVENT, False, UP, [UPLINK, HERE_READER]),
    (Kind.EVENT, True, UP, [HERE_READER]),
    (Kind.INTEL, False, UP, [UPLINK]),
    (Kind.INTEL, False, DOWN, [HERE_READER, child_relay("east")]),
    (Kind.INTEL, True, UP, [HERE_READER, child_relay("east")]),
])
def test_events_are_for_readers_here_and_intel_for_all_below_once_it_turned(routes, kind, is_root, direction, ways):
    for session, relay in ((HERE, "mid"), (BELOW, "east")):
        routes.put(attachment(READER, relay, session, subscriptions=("intel.>", "d.>"), epoch=2))
    header = verified(READER, kind=kind, topic="intel.x" if kind is Kind.INTEL else "d.x").header
    assert Router("mid", routes, is_root=is_root).readers(header, direction) == [(way, ()) for way in ways]


def test_each_way_once_and_none_for_who_is_elsewhere(routes):
    router = Router("mid", routes, is_root=False)
    below = [attachment(READER, "east", BELOW), attachment(FAR, "west"), attachment(FAR, "east", BELOW)]
    assert router.down(below) == [(child_relay("east"), ())]
