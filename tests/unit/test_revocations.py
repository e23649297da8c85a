import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, REVOCATIONS_MAX
from fabric.protocol.base.signing import TYPE_CREDENTIAL, TYPE_REVOCATIONS
from fabric.protocol.trust.revocations import Revocations, issue_revocations, verify_revocations
from tests.support import DAY_MS, FABRIC, T0, Authority

AUTHORITY = Authority("revocations")


def issued(version=1, ids=("fw-7",), authority=AUTHORITY, fabric=FABRIC):
    return issue_revocations(fabric, version, T0, T0 + DAY_MS, list(ids), authority.signer)


def read(raw):
    return verify_revocations(raw, AUTHORITY.key, FABRIC)


def test_what_was_issued_is_read_again():
    raw = issued(7, ["fw-7", "zeek-1"])
    assert read(raw) == Revocations(7, T0, T0 + DAY_MS, frozenset({"fw-7", "zeek-1"}), raw)


def test_who_is_on_the_list_is_revoked_and_nobody_else():
    lists = read(issued())
    assert lists.check(AUTHORITY.issue("fw-7").credential) == Reject(Code.REVOKED, "fw-7")
    assert lists.check(AUTHORITY.issue("fw-70").credential) is None


def test_before_the_first_list_nobody_is_revoked():
    assert Revocations().check(AUTHORITY.issue("fw-7").credential) is None


def test_only_a_higher_version_supersedes():
    one, two = read(issued(1)), read(issued(2, ()))
    assert two.supersedes(one) and one.supersedes(Revocations())
    assert not one.supersedes(two) and not one.supersedes(read(issued(1, ("other",))))


def test_the_same_list_has_the_same_bytes_whatever_the_order():
    assert issued(1, ["b", "a"]) == issued(1, ["a", "b"])


def test_a_list_of_another_authority_is_refused():
    assert read(issued(authority=Authority("another"))).code is Code.STALE_LIST


def test_a_list_of_another_fabric_is_refused():
    assert read(issued(fabric="other")).code is Code.WRONG_FABRIC


def test_nobody_takes_a_name_off_the_list():
    raw = bytearray(issued())
    raw[raw.index(b"fw-7")] ^= 1
    assert read(bytes(raw)).code is Code.STALE_LIST


@pytest.mark.parametrize(
    "body",
    [
        [1, FABRIC, 1, T0, T0, [7]], [1, FABRIC, 1, T0, T0], [2, FABRIC, 1, T0, T0, []], [1, 7, 1, T0, T0, []], {}, 1,
        [1, FABRIC, "1", T0, T0, []], [1, FABRIC, 1, T0, T0, "fw-7"],
        [1, FABRIC, 1, T0, T0, ["x"] * (REVOCATIONS_MAX + 9)],
    ],
)
def test_a_body_of_the_wrong_form_is_refused_even_when_signed(body):
    packed = pack(body)
    raw = pack([packed, AUTHORITY.signer.sign(TYPE_REVOCATIONS, packed)])
    assert read(raw) == Reject(Code.MALFORMED, "revocation list")


def test_a_credential_is_no_list():
    body = pack([1, FABRIC, 9, T0, T0, []])
    assert read(pack([body, AUTHORITY.signer.sign(TYPE_CREDENTIAL, body)])).code is Code.STALE_LIST


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\x92\xc0\xc0", pack([b"", b"", b""]), bytes(FRAME_BYTES_MAX + 1)])
def test_what_is_no_list_is_refused(raw):
    assert read(raw).code is Code.MALFORMED


def test_a_list_at_the_bound_is_read():
    ids = [f"node-{n}" for n in range(REVOCATIONS_MAX)]
    assert len(read(issued(1, ids)).ids) == REVOCATIONS_MAX
