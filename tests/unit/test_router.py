"""By which ways a message leaves a relay."""

import pytest

from fabric.protocol.custody.sessions import NOWHERE, child_relay, point_session
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from tests.support import Authority

AUTHORITY = Authority("router")
EAST = AUTHORITY.issue("east", NodeKind.RELAY)
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>",)))
FAR = AUTHORITY.issue("far", grants=Grants(subscribe=("intel.>",)))
HERE, BELOW = b"h" * 16, b"b" * 16


def attachment(member, relay, session=HERE):
    raw = sign_attachment(member.credential, member.signer, session, relay, 1, executes=False, subscriptions=())
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


def test_each_way_once_and_none_for_who_is_elsewhere(routes):
    router = Router(routes, is_root=False)
    below = [attachment(READER, "east", BELOW), attachment(FAR, "west"), attachment(FAR, "east", BELOW)]
    assert router.down(below) == [(child_relay("east"), ())]
