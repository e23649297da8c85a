"""By which ways a message leaves a relay."""

import pytest

from fabric.protocol.custody.sessions import NOWHERE, child_relay, point_session
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from tests.support import Authority, verified

AUTHORITY = Authority("router")
EAST = AUTHORITY.issue("east", NodeKind.RELAY)
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>",)))
FAR = AUTHORITY.issue("far", grants=Grants(subscribe=("intel.>",)))
WALL = AUTHORITY.issue("wall", grants=Grants(execute=("deny *",)))
HERE, BELOW = b"h" * 16, b"b" * 16


def attachment(member, relay, session=HERE, executes=False):
    raw = sign_attachment(member.credential, member.signer, session, relay, 1, executes, subscriptions=())
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
    router = Router(routes, is_root=is_root)
    assert (router.up(), router.upwards) == (up, upwards)


def test_a_node_is_reached_by_every_way_that_leads_to_one_of_its_sessions(routes):
    router = Router(routes, is_root=False)
    assert router.down_to("reader") == [(point_session("reader", HERE), ()), (child_relay("east"), ())]
    assert router.down_to("far") == []


@pytest.mark.parametrize(("is_root", "upwards"), [(False, UPLINK), (True, NOWHERE)])
def test_to_nodes_each_way_has_those_for_whom_it_is(routes, is_root, upwards):
    router = Router(routes, is_root=is_root)
    intel = verified(READER, kind=Kind.INTEL, topic="intel.x")
    assert router.to(intel, ["reader", "far", "reader", "west"]) == [
        (point_session("reader", HERE), ("reader",)), (child_relay("east"), ("reader",)), (upwards, ("far", "west"))
    ]


def test_an_action_goes_only_to_the_session_that_executes(routes):
    routes.put(attachment(WALL, "east", BELOW, executes=True))
    routes.put(attachment(WALL, "mid"))
    action = verified(READER, kind=Kind.ACTION, topic="deny.ipv4_net", to="all")
    assert Router(routes, is_root=False).to(action, ["wall", "reader"]) == [
        (child_relay("east"), ("wall",)), (UPLINK, ("reader",))
    ]


def test_each_way_once_and_none_for_who_is_elsewhere(routes):
    router = Router(routes, is_root=False)
    below = [attachment(READER, "east", BELOW), attachment(FAR, "west"), attachment(FAR, "east", BELOW)]
    assert router.down(below) == [(child_relay("east"), ())]
