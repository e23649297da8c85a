"""The table of links alone: what is said on them, and how they end."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import HOPS_MAX, SKEW_MS
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.links.admission import Admission
from fabric.protocol.links.candidates import Candidates
from fabric.protocol.links.facts import LinkLost, LinkRefused
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK, Links, destination_of
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Bye, Ping, Refused, Role
from tests.support import T0, Authority

AUTHORITY = Authority("links")
ME, HQ, SPARE, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "spare", "low"))
ZEEK = AUTHORITY.issue("zeek-1")


class Stage:
    def __init__(self):
        self.facts, self.counters, self.outboxes, self.ready = [], Counters(), {}, Ready()
        self.uplink = Uplink(("hq", "spare"), lambda: 0.0)
        time = Timekeeper(ME.credential, SKEW_MS, self.counters.count, has_parents=True)
        self.links = Links(
            "mid", self.outboxes, self.uplink, Candidates(self.uplink), Admission(), time, self.counters,
            lambda fact, now_ms, ready: self.facts.append(fact), is_relay=True,
        )

    def link(self, number, member, role=Role.CHILD, session=b"s" * 16, **fields):
        """An open one."""
        link = Link(number, member.curve_key, bytes(16), T0, **fields)
        self.links.connected(link)
        link.opened(member.credential, role, session, T0)
        link.destination = destination_of(link)
        self.links.opened(link, T0, self.ready)
        return link

    def said(self):
        said = [(number, decode_frame(payload)) for number, payload in self.ready.send]
        self.ready.send.clear()
        return said


@pytest.fixture
def stage():
    return Stage()


def test_where_a_link_leads_follows_from_who_is_at_its_end(stage):
    assert stage.link(1, HQ, Role.PARENT).destination == UPLINK
    assert stage.link(2, LOW).destination == "relay:low"
    assert stage.link(3, ZEEK, Role.POINT).destination == f"point:zeek-1/{(b's' * 16).hex()}"
    assert set(stage.outboxes) == set(stage.links.by_destination)


def test_the_same_peer_again_takes_the_place_of_its_older_link(stage):
    first, second = stage.link(1, LOW), stage.link(2, LOW)
    assert first.state is State.CLOSED and stage.ready.close == [(1, Code.CLOSED)] and stage.facts == [LinkLost(first)]
    assert stage.links.is_current(second) and list(stage.links.by_number) == [2]


def test_another_parent_leaves_the_link_of_the_first_open(stage):
    first = stage.link(1, HQ, Role.PARENT)
    second = stage.link(2, SPARE, Role.PARENT)
    assert first.is_open and first.leaving_at_ms is not None and not stage.links.is_current(first)
    assert stage.links.parents == [first, second] and stage.facts == []
    stage.links.lost(second, T0, stage.ready)
    assert stage.ready.close == [(1, Code.CLOSED)], "one that was left may be the best there is"
    assert stage.facts == [LinkLost(second)] and stage.links.parents == []


def test_a_peer_is_told_why_it_is_refused_and_the_facts_come_in_order(stage):
    link = stage.link(1, HQ, Role.PARENT, greet_as=Role.CHILD, expects="hq")
    stage.links.refuse(link, Reject(Code.LOOP, "mid is above"), T0, stage.ready)
    assert stage.said() == [(1, Refused(Code.LOOP, "mid is above", link.nonce))]
    assert stage.ready.close == [(1, Code.LOOP)] and stage.counters["refused:loop"] == 1
    assert stage.facts == [LinkLost(link), LinkRefused(link, Reject(Code.LOOP, "mid is above"))]
    assert stage.links.by_number == {} == stage.links.by_destination


def test_what_promises_nothing_does_not_overtake_what_was_to_be_heard_first(stage):
    link, other = stage.link(1, LOW), stage.link(2, ZEEK, Role.POINT)
    stage.links.send(link, Ping(1), stage.ready)
    stage.links.send_early(link, Ping(2), stage.ready)
    stage.links.send_early(other, Ping(3), stage.ready)
    assert stage.said() == [(1, Ping(1)), (1, Ping(2))] and len(stage.ready.early) == 1
    stage.links.turn_over()
    stage.links.send_early(link, Ping(4), stage.ready)
    assert [number for number, _ in stage.ready.early] == [2, 1]


def test_what_fails_for_a_link_ends_that_link(stage):
    link, other = stage.link(1, LOW), stage.link(2, ZEEK, Role.POINT)

    def work(*_):
        raise KeyError

    stage.links.contained(work, link, T0, stage.ready)
    assert not link.is_open and other.is_open and stage.counters["faults:KeyError"] == 1
    assert stage.said() == [(1, Refused(Code.INTERNAL, "", link.nonce))]


def test_who_parts_says_so(stage):
    link = stage.link(1, LOW)
    stage.links.part(link, T0, stage.ready)
    assert stage.said() == [(1, Bye(Code.CLOSED, ""))] and stage.ready.close == [(1, Code.CLOSED)]


def test_the_path_is_what_the_parent_says_and_this_relay(stage):
    assert stage.links.path == ("mid",)
    stage.links.placed(("root", "hq"))
    assert stage.links.path == ("root", "hq", "mid") and stage.links.ancestors == ("root", "hq")
    stage.links.placed(tuple(f"r{n}" for n in range(HOPS_MAX)))
    assert len(stage.links.path) == HOPS_MAX and stage.links.path[-1] == "mid"
    link = stage.link(1, HQ, Role.PARENT)
    assert stage.links.path == ("mid",), "of a new parent it is not known yet"
    stage.links.placed(("hq",))
    stage.links.lost(link, T0, stage.ready)
    assert stage.links.ancestors == ()
