"""An id has one pair of keys, and a key one id."""

from dataclasses import replace

import pytest

from fabric.protocol.chain import issue, verify_credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.known import Known, unknown
from tests.support import FABRIC, Authority, derive

AUTHORITY = Authority("known")
OTHER = Authority("other keys")
ME = AUTHORITY.issue("hq").credential


def credential(id_, serial=1, keys=AUTHORITY, vouched=False, **fields):
    made = replace(keys.issue(id_).credential, serial=serial, **fields)
    raw = issue(made, AUTHORITY.signer)
    return replace(verify_credential(raw, AUTHORITY.key, FABRIC), issuers=("plant",) if vouched else ())


@pytest.fixture
def known():
    return Known(ME)


def test_what_was_learnt_is_known_by_its_digest(known):
    zeek = credential("zeek-1")
    assert known.learn(zeek) is None and known[zeek.digest] is zeek
    assert set(known) == {ME.digest, zeek.digest} and len(known) == 2
    assert known.newest("zeek-1") is zeek and known.newest("zeek-2") is None


def test_the_same_keys_under_a_newer_credential_are_the_same_node(known):
    first, second = credential("zeek-1", 1), credential("zeek-1", 2)
    assert known.learn(second) is None and known.learn(first) is None
    assert known.newest("zeek-1") is second
    assert first.digest in known, "what it signed under the former is still read"


@pytest.mark.parametrize("vouched", [True, False])
def test_an_id_is_not_used_again(known, vouched):
    known.learn(credential("zeek-1", 5))
    assert known.learn(credential("zeek-1", 5, OTHER, vouched)) == Reject(Code.REUSED_ID, "zeek-1")
    assert known.newest("zeek-1").sign_key == credential("zeek-1").sign_key


def test_only_the_authority_gives_an_id_other_keys_and_the_former_come_no_more(known):
    known.learn(credential("zeek-1", 5))
    assert known.learn(credential("zeek-1", 6, OTHER, vouched=True)).code is Code.REUSED_ID
    assert known.learn(credential("zeek-1", 6, OTHER)) is None
    assert known.learn(credential("zeek-1", 4)).code is Code.REUSED_ID


@pytest.mark.parametrize("name", ["curve_key", "sign_key"])
def test_two_ids_do_not_share_a_key(known, name):
    known.learn(credential("zeek-1"))
    shared = {name: getattr(credential("zeek-1"), name)}
    assert known.learn(credential("zeek-2", **shared)) == Reject(Code.REUSED_KEY, "zeek-2 and zeek-1")
    assert known.newest("zeek-2") is None


def test_nobody_takes_the_own_id_or_key(known):
    assert known.learn(credential("hq", keys=OTHER)).code is Code.REUSED_ID
    assert known.learn(credential("zeek-1", curve_key=ME.curve_key)).code is Code.REUSED_KEY


def test_what_was_used_longest_ago_is_forgotten_with_its_keys():
    known = Known(ME, credentials_max=2)
    known.learn(credential("zeek-1"))
    known.learn(ME)
    known.learn(credential("zeek-2"))
    assert known.newest("zeek-1") is None and len(known) == 2
    assert known.learn(credential("zeek-1", keys=OTHER)) is None, "nobody remembers the former"


def test_an_old_credential_that_is_forgotten_leaves_the_newest():
    known = Known(ME, credentials_max=3)
    old, new = credential("zeek-1", 1), credential("zeek-1", 2)
    known.learn(old)
    known.learn(new)
    known.learn(ME)
    known.learn(credential("zeek-2"))
    assert old.digest not in known and known.newest("zeek-1") is new
    assert known.learn(credential("zeek-1", 1, OTHER)).code is Code.REUSED_ID


def test_why_somebody_is_not_known(known):
    digest = derive("digest")[:16]
    assert unknown(known, digest) == unknown({}, digest) == Reject(Code.UNKNOWN_SIGNER)
    known.refuse(digest, Reject(Code.REUSED_ID, "zeek-1"))
    assert unknown(known, digest) == Reject(Code.REUSED_ID, "zeek-1")


def test_refusals_are_bounded(known):
    for number in range(2_000):
        known.refuse(derive(number)[:16], Reject(Code.REUSED_ID))
    assert unknown(known, derive(0)[:16]).code is Code.UNKNOWN_SIGNER
    assert unknown(known, derive(1_999)[:16]).code is Code.REUSED_ID
