"""Whom a node trusts: the store alone."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LIST_GRACE_MS
from fabric.protocol.trust import store
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.trust.store import TrustStore
from tests.support import DAY_MS, FABRIC, T0, Authority

AUTHORITY, NOBODY = Authority("trust store"), Authority("nobody")
ME = AUTHORITY.issue("mid", NodeKind.RELAY, segment="plant")
ZEEK = AUTHORITY.issue("zeek-1", not_before_ms=T0, not_after_ms=T0 + DAY_MS)
OTHER_KEYS = Authority("other keys").issue("zeek-1")
SKEW_MS = 30_000


@pytest.fixture
def trust():
    return TrustStore(ME.credential, AUTHORITY.key, SKEW_MS)


def listed(version, *ids, until_ms=T0 + DAY_MS, authority=AUTHORITY):
    return issue_revocations(FABRIC, version, T0, until_ms, list(ids), authority.signer)


def take(trust, *listed_):
    return trust.take_revocations(trust.read_revocations(listed(*listed_)))


def reissued(member, serial):
    raw = issue(replace(member.credential, serial=serial), AUTHORITY.signer)
    return verify_credential(raw, AUTHORITY.key, FABRIC)


# -- credentials --------------------------------------------------------------------------------------------


def test_its_own_is_known_from_the_beginning(trust):
    assert dict(trust.credentials) == {ME.credential.digest: ME.credential} and trust.fabric == FABRIC


def test_what_is_introduced_is_known_and_verified_once(trust, monkeypatch):
    forged, calls = NOBODY.issue("zeek-2").credential.raw, []
    verify = store.verify_credential
    monkeypatch.setattr(store, "verify_credential", lambda *raw: calls.append(raw) or verify(*raw))
    for _ in range(3):
        assert trust.introduce(ZEEK.credential.raw) == ZEEK.credential
        assert trust.introduce(forged).code is Code.BAD_CREDENTIAL
    assert len(calls) == 2 and len(trust.credentials) == 2


def test_a_peer_has_the_rights_of_its_newest_credential_that_counts(trust):
    former = ZEEK.credential
    assert trust.meet(former) is None and trust.in_force(former, (T0,)) == former
    newer = trust.introduce(reissued(ZEEK, 2).raw)
    assert trust.in_force(former, (T0,)) == newer == trust.in_force(newer, (T0,))
    assert trust.in_force(former, (T0 + 2 * DAY_MS,)) == former, "what is over gives nobody anything"


def test_what_is_refused_for_now_is_looked_at_again(trust):
    trust.introduce(ZEEK.credential.raw)
    taken = issue(replace(OTHER_KEYS.credential, serial=1), AUTHORITY.signer)
    assert trust.introduce(taken) == Reject(Code.REUSED_ID, "zeek-1")
    assert trust.credentials.why_not(store.digest_of(taken)).code is Code.REUSED_ID


def test_a_peer_has_the_key_that_it_proved(trust):
    assert trust.meet(ZEEK.credential) is None
    thief = replace(AUTHORITY.issue("zeek-7").credential, curve_key=ZEEK.curve_key)
    assert trust.meet(thief).code is Code.REUSED_KEY


def test_the_former_credential_of_this_node_stays_known_beside_its_newer_one(trust):
    newer = reissued(ME, 2)
    trust.renewed(newer)
    assert trust.credentials.newest("mid") == newer and ME.credential.digest in trust.credentials


def test_from_disk_comes_back_what_still_verifies(trust):
    for raw in (ZEEK.credential.raw, b"damaged", NOBODY.issue("zeek-2").credential.raw):
        trust.restore_credential(raw)
    trust.settle()
    assert sorted(each.id for each in trust.credentials.values()) == ["mid", "zeek-1"]


# -- the revocation list --------------------------------------------------------------------------------------


def test_only_a_newer_list_is_put_in_force(trust):
    assert trust.revocations.version == 0
    assert take(trust, 5, "zeek-1") and not take(trust, 5) and not take(trust, 4)
    assert trust.revocations.raw == listed(5, "zeek-1")


@pytest.mark.parametrize("raw", [b"", listed(9)[:-1], listed(9, authority=NOBODY)], ids=["empty", "cut off", "forged"])
def test_a_list_that_is_not_the_authority_s_is_refused_and_from_disk_ignored(trust, raw):
    take(trust, 5)
    assert isinstance(trust.read_revocations(raw), Reject)
    trust.restore_revocations(raw)
    assert trust.revocations.version == 5


def test_what_is_on_disk_replaces_no_newer_list(trust):
    trust.restore_revocations(listed(5))
    trust.restore_revocations(listed(4))
    assert trust.revocations.version == 5


# -- checks -------------------------------------------------------------------------------------------------


def test_whoever_is_on_the_list_passes_no_check(trust):
    assert trust.check(ZEEK.credential, (T0,)) is None
    assert trust.check_raw(ZEEK.credential.raw, (T0,)) == ZEEK.credential
    take(trust, 1, "zeek-1")
    assert trust.check(ZEEK.credential, (T0,)).code is Code.REVOKED
    assert trust.check_raw(ZEEK.credential.raw, (T0,)).code is Code.REVOKED
    assert trust.check_raw(NOBODY.issue("x").credential.raw, (T0,)).code is Code.BAD_CREDENTIAL
    assert len(trust.credentials) == 1, "to check one is not to know it"


def test_a_credential_is_over_when_it_is_by_every_clock(trust):
    late_ms = T0 + DAY_MS + SKEW_MS + 1
    assert trust.check(ZEEK.credential, (late_ms,)).code is Code.CREDENTIAL_EXPIRED
    assert trust.check(ZEEK.credential, (late_ms, late_ms - 1)) is None


def test_how_long_a_credential_counts_yet_is_told_to_the_millisecond(trust):
    late_ms, later_ms = T0 + DAY_MS - 5_000, T0 + DAY_MS
    left_ms = trust.left_ms(ZEEK.credential, (late_ms, later_ms))
    assert trust.check(ZEEK.credential, (late_ms + left_ms - 1, later_ms + left_ms - 1)) is None
    assert trust.check(ZEEK.credential, (late_ms + left_ms, later_ms + left_ms)).code is Code.CREDENTIAL_EXPIRED
    assert trust.left_ms(ZEEK.credential, (T0 + 2 * DAY_MS,)) == 0


def test_past_the_list_s_time_nobody_acts_and_the_own_segment_a_while_later(trust):
    over_ms = T0 + DAY_MS + SKEW_MS + 1
    assert not trust.list_is_over((over_ms,)) and trust.check_action(ZEEK.credential, "plant", (over_ms,)) is None
    take(trust, 1)
    assert trust.list_is_over((over_ms,)) and not trust.list_is_over((over_ms, over_ms - 1))
    assert trust.check_action(ZEEK.credential, "plant", (over_ms,)) == Reject(Code.LIST_EXPIRED, "version 1")
    assert trust.check_action(ME.credential, "plant", (over_ms,)) is None
    assert trust.check_action(ME.credential, "plant", (over_ms + LIST_GRACE_MS,)).code is Code.LIST_EXPIRED
