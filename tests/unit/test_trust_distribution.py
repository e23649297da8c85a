"""How trust travels: the component alone, with links that only remember what was sent."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import FORGED_MAX, SKEW_MS, STALL_MS
from fabric.protocol.core.ready import KeepLists, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.links.trust_distribution import TrustDistribution
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Intro, Lists, Role
from tests.support import DAY_MS, FABRIC, T0, Authority

AUTHORITY, NOBODY = Authority("trust distribution"), Authority("nobody")
ME, HQ, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low"))
ZEEK, SHORT = AUTHORITY.issue("zeek-1"), AUTHORITY.issue("short", not_after_ms=T0 + DAY_MS)


def listed(version, *ids, authority=AUTHORITY, until_ms=T0 + DAY_MS):
    return issue_revocations(FABRIC, version, T0, until_ms, list(ids), authority.signer)


def again(member, **changed):
    raw = issue(replace(member.credential, serial=member.credential.serial + 1, **changed), AUTHORITY.signer)
    return verify_credential(raw, AUTHORITY.key, FABRIC)


class Stage:
    """`did`: in order, what was sent to which link, and which was refused."""

    def __init__(self, has_parents=False):
        self.did, self.counted, self.links, self.ready = [], [], {}, Ready()
        self.trust = TrustStore(ME.credential, AUTHORITY.key, SKEW_MS)
        self.time = Timekeeper(ME.credential, SKEW_MS, self.count, has_parents=has_parents)
        port = LinkPort(
            self.links, {}, lambda link, frame, _: self.did.append((link.number, frame)), self.refuse, self.count
        )
        self.distribution = TrustDistribution(self.trust, self.time, port)

    def count(self, *what):
        self.counted.append(what)

    def refuse(self, link, reason, now_ms, ready):
        self.did.append((link.number, reason.code))
        del self.links[link.number]

    def link(self, number, member, role=Role.CHILD):
        link = self.links[number] = Link(number, member.curve_key, bytes(16), T0)
        link.opened(member.credential, role, bytes(16), T0)
        return link

    def introduce(self, link, *raw):
        self.distribution.introduced(link, Intro(list(raw)), T0, self.ready)

    def apply(self, raw):
        return self.distribution.apply(raw, T0, self.ready)


@pytest.fixture
def stage():
    return Stage()


# -- credentials --------------------------------------------------------------------------------------------


def test_what_a_peer_introduces_is_known_and_what_is_refused_is_counted(stage):
    low = stage.link(1, LOW)
    stage.introduce(low, ZEEK.credential.raw, NOBODY.issue("x").credential.raw, b"")
    assert stage.trust.credentials.newest("zeek-1") == ZEEK.credential
    assert stage.counted == [("refused", "bad_credential"), ("refused", "malformed")] and stage.did == []


def test_a_peer_that_passes_on_what_nobody_vouched_for_is_refused_at_the_third(stage):
    low = stage.link(1, LOW)
    stage.introduce(low, *[NOBODY.issue(f"x-{n}").credential.raw for n in range(9)], ZEEK.credential.raw)
    assert stage.did == [(1, Code.BAD_CREDENTIAL)] and len(stage.counted) == FORGED_MAX
    assert stage.trust.credentials.newest("zeek-1") is None


@pytest.mark.parametrize(("changed", "is_taken"), [
    ({}, True), ({"not_after_ms": T0 - DAY_MS}, False), ({"kind": NodeKind.OPERATOR}, False),
    ({"curve_key": bytes(32)}, False),
], ids=["newer", "over", "of another kind", "with another key"])
def test_a_peer_goes_on_under_a_newer_credential_of_its_own(stage, changed, is_taken):
    link, fresh = stage.link(1, ZEEK, Role.POINT), again(ZEEK, **changed)
    stage.introduce(link, fresh.raw)
    assert link.peer == (fresh if is_taken else ZEEK.credential)
    stage.introduce(link, ZEEK.credential.raw)
    assert link.peer == (fresh if is_taken else ZEEK.credential), "never back to an older one"


def test_every_open_link_hears_of_this_node_s_newer_credential(stage):
    stage.link(1, LOW)
    stage.links[2] = Link(2, HQ.curve_key, bytes(16), T0)
    fresh = again(ME)
    stage.distribution.renewed(fresh, stage.ready)
    assert stage.did == [(1, Intro([fresh.raw]))] and stage.trust.credentials.newest("mid") == fresh
    assert not stage.links[1].introductions.due(fresh.digest), "it knows it by now"


# -- who may stay -------------------------------------------------------------------------------------------


def test_whose_credential_ran_out_does_not_stay_unless_the_time_is_not_known(stage):
    over_ms = T0 + DAY_MS + SKEW_MS + 1
    link = stage.link(1, SHORT, Role.POINT)
    assert stage.distribution.check_peer(link, T0) is None
    assert stage.distribution.check_peer(link, over_ms).code is Code.CREDENTIAL_EXPIRED
    assert Stage(has_parents=True).distribution.check_peer(link, over_ms) is None


def test_a_peer_whose_newer_list_does_not_come_does_not_stay(stage):
    link = stage.link(1, LOW)
    stage.distribution.link_opened(link, 7, stage.ready)
    link.lists.awaited(T0)
    assert stage.distribution.check_peer(link, T0 + STALL_MS) is None
    assert stage.distribution.check_peer(link, T0 + STALL_MS + 1).code is Code.STALE_LIST
    stage.apply(listed(7))
    assert stage.distribution.check_peer(link, T0 + STALL_MS + 1) is None and not link.lists._awaited_since_ms


# -- revocation lists -----------------------------------------------------------------------------------------


def test_a_newer_list_cuts_who_is_on_it_and_all_others_are_told(stage):
    for number, member in ((1, HQ), (2, LOW), (3, ZEEK)):
        stage.link(number, member)
    stage.links[4] = Link(4, SHORT.curve_key, bytes(16), T0)
    raw = listed(5, "low")
    stage.distribution.handed_over(stage.links[1], Lists(raw), T0, stage.ready)
    assert stage.did == [(2, Lists(raw)), (2, Code.REVOKED), (3, Lists(raw))], "the source has it"
    assert stage.trust.revocations.version == 5 and stage.ready.persist == [KeepLists(raw)]
    assert [note.fields for note in stage.ready.notes] == [{"version": 5, "revoked": 1}]


def test_a_source_that_is_on_its_own_list_is_cut_and_told_nothing(stage):
    stage.distribution.handed_over(stage.link(1, LOW), Lists(listed(5, "low")), T0, stage.ready)
    assert stage.did == [(1, Code.REVOKED)]


def test_a_list_that_is_a_lie_ends_the_link_and_one_of_the_driver_is_refused(stage):
    forged = listed(9, authority=NOBODY)
    stage.distribution.handed_over(stage.link(1, LOW), Lists(forged), T0, stage.ready)
    assert stage.did == [(1, Code.STALE_LIST)] and stage.counted == []
    assert stage.apply(forged).code is Code.STALE_LIST and stage.counted == [("refused", "stale_list")]
    assert stage.trust.revocations.version == 0 and stage.ready == Ready()


def test_an_older_list_is_counted_and_the_same_again_is_nothing(stage):
    stage.apply(listed(5))
    stage.ready = Ready()
    assert stage.apply(listed(5)) is None and stage.counted == []
    assert stage.apply(listed(4)).code is Code.STALE_LIST and stage.counted == [("refused", "stale_list")]
    assert stage.ready == Ready()


def test_whoever_has_less_is_told_when_the_link_opens(stage):
    stage.apply(listed(5))
    for number, theirs in ((1, 4), (2, 5), (3, 6)):
        stage.distribution.link_opened(stage.link(number, LOW), theirs, stage.ready)
    assert stage.did == [(1, Lists(listed(5)))] and [link.lists.theirs for link in stage.links.values()] == [4, 5, 6]


def test_it_is_repeated_ever_more_seldom_until_the_peer_has_it(stage):
    link = stage.link(1, LOW)
    stage.distribution.repeat(link, stage.ready)
    assert stage.did == [], "it was never sent one"
    stage.apply(listed(5))
    stage.did.clear()
    after = []
    for ping in range(1, 20):
        stage.distribution.repeat(link, stage.ready)
        after += [ping] * len(stage.did)
        stage.did.clear()
    assert after == [1, 2, 4, 8, 16]
    link.lists.peer_has_it()
    stage.distribution.repeat(link, stage.ready)
    assert stage.did == []


def test_a_list_is_over_only_where_the_time_is_known():
    for has_parents in (False, True):
        stage = Stage(has_parents)
        stage.apply(listed(1, until_ms=T0 - SKEW_MS - 1))
        assert stage.distribution.list_is_over(T0) is not has_parents
