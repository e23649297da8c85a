"""An id has one pair of keys, and a key one id."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.known import Known, unknown
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


def test_two_ids_do_not_share_a_key_that_one_has_proved_to_have(known):
    known.meet(credential("zeek-1"))
    shared = {"curve_key": credential("zeek-1").curve_key}
    assert known.meet(credential("zeek-2", **shared)) == Reject(Code.REUSED_KEY, "zeek-2 and zeek-1")
    assert known.newest("zeek-2") is None


def test_who_only_says_somebody_s_key_has_not_taken_it(known):
    """An issuer signs a member with another's public keys, and introduces it before that one comes."""
    victim = credential("victim")
    shared = {"curve_key": victim.curve_key, "sign_key": victim.sign_key}
    known.learn(credential("lab-x", vouched=True, **shared))
    assert known.meet(victim) is None and known.newest("victim") is victim


def test_the_authority_s_word_goes_before_an_issuer_s(known):
    false = credential("relay-7", 10**15, OTHER, vouched=True)
    assert known.meet(false) is None
    real = credential("relay-7", 5)
    assert known.learn(real) is None and known.newest("relay-7") is real
    assert false.digest not in known and known.why_not(false.digest).code is Code.REUSED_ID
    assert known.learn(false).code is Code.REUSED_ID


def test_a_key_goes_back_to_whom_the_authority_gave_it(known):
    real = credential("zeek-1")
    thief = credential("lab-x", vouched=True, curve_key=real.curve_key)
    known.meet(thief)
    assert known.meet(real) is None
    assert known.meet(thief).code is Code.REUSED_KEY


def test_nobody_takes_the_own_id_or_key(known):
    assert known.learn(credential("hq", 9, keys=OTHER)).code is Code.REUSED_ID
    assert known.meet(credential("zeek-1", curve_key=ME.curve_key)).code is Code.REUSED_KEY


def test_an_issuer_s_members_make_nobody_forgotten_whom_the_authority_vouches_for():
    known = Known(ME, credentials_max=10)
    real = credential("zeek-1")
    known.meet(real)
    for n in range(50):
        known.learn(credential(f"lab-{n}", vouched=True))
        known.learn(credential("lab-z", n, vouched=True))
    assert known.newest("zeek-1") is real and known.newest("hq") is ME and len(known) == 10
    assert known.learn(credential("zeek-1", 10**15, OTHER, vouched=True)).code is Code.REUSED_ID


def test_of_one_id_only_the_newest_few_are_kept(known):
    for serial in range(1, 30):
        known.learn(credential("zeek-1", serial))
    assert len(known) == 1 + 4 and known.newest("zeek-1").serial == 29


def test_what_comes_from_disk_is_known_and_then_one_pair_of_keys_is_believed(known):
    former, latter = credential("zeek-1", 1), credential("zeek-1", 2, OTHER)
    for each in (latter, former):
        known.restore(each)
    assert former.digest in known and latter.digest in known, "what they signed is read back"
    known.settle()
    assert former.digest not in known and known.newest("zeek-1") is latter


def test_what_was_restored_and_is_forgotten_by_then_is_settled_too():
    known = Known(ME, credentials_max=1)
    known.restore(credential("zeek-1", 1, vouched=True))
    known.restore(credential("zeek-1", 2, OTHER, vouched=True))
    known.settle()
    assert len(known) == 1 and known.newest("zeek-1") is None


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
