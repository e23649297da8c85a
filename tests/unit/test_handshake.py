import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.links.handshake import check_hello, check_welcome, negotiate
from fabric.protocol.links.link import Link
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations, verify_revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Hello, Role, Welcome
from tests.support import DAY_MS, FABRIC, T0, Authority

AUTHORITY = Authority("handshake")
RELAY = AUTHORITY.issue("ot-1", NodeKind.RELAY)
PARENT = AUTHORITY.issue("hq", NodeKind.RELAY)
POINT = AUTHORITY.issue("zeek-1")
ALL = (Role.CHILD, Role.PARENT, Role.POINT)
SESSION, NONCE = b"s" * 16, b"n" * 16
SKEW_MS = 30_000


def trust(*revoked):
    believed = TrustStore(RELAY.credential, AUTHORITY.key, SKEW_MS)
    if revoked:
        raw = issue_revocations(FABRIC, 1, T0, T0 + DAY_MS, list(revoked), AUTHORITY.signer)
        assert believed.take_revocations(verify_revocations(raw, AUTHORITY.key, FABRIC))
    return believed


def hello(member=POINT, role=Role.POINT, versions=(1, 1), fabric=FABRIC, raw=None):
    return Hello(*versions, fabric, role, raw or member.credential.raw, SESSION, NONCE, T0, 0, 0)


def greet(frame, key=None, accepts=ALL, parent="hq", now_ms=T0, revoked=()):
    link = Link(1, key if key is not None else POINT.curve_key, NONCE, T0)
    return check_hello(frame, link, trust(*revoked), parent, accepts, (now_ms,))


def welcome(member=PARENT, version=1, nonce=NONCE):
    return Welcome(version, member.credential.raw, SESSION, nonce, T0, T0, 0, 0, 0)


def answer(frame, key=PARENT.curve_key, expects="hq", now_ms=T0, revoked=()):
    return check_welcome(frame, Link(1, key, NONCE, T0, Role.CHILD, expects), trust(*revoked), (now_ms,))


@pytest.mark.parametrize(
    ("member", "role"),
    [(POINT, Role.POINT), (RELAY, Role.CHILD), (PARENT, Role.PARENT)],
    ids=["point", "child", "parent"],
)
def test_who_is_what_it_says_is_let_in(member, role):
    assert greet(hello(member, role), key=member.curve_key) == member.credential


def test_an_operator_comes_as_a_control_point():
    operator = AUTHORITY.issue("lead-1", NodeKind.OPERATOR)
    assert greet(hello(operator), key=operator.curve_key) == operator.credential


@pytest.mark.parametrize(
    ("versions", "common"), [((1, 1), 1), ((1, 9), 1), ((0, 1), 1), ((2, 9), None), ((0, 0), None), ((9, 1), None)]
)
def test_the_highest_common_version_is_spoken(versions, common):
    result = negotiate(*versions)
    assert result == common if common else result.code is Code.UNKNOWN_VERSION


def test_a_version_that_is_not_spoken_here_is_refused_first():
    assert greet(hello(versions=(2, 3), fabric="other", raw=b"x")).code is Code.UNKNOWN_VERSION


def test_another_fabric_is_refused():
    assert greet(hello(fabric="other")).code is Code.WRONG_FABRIC
    stranger = Authority("handshake", fabric="other").issue("zeek-1")
    assert greet(hello(stranger), key=stranger.curve_key).code is Code.WRONG_FABRIC


def test_a_credential_of_another_authority_is_refused():
    stranger = Authority("another").issue("zeek-1")
    assert greet(hello(stranger), key=stranger.curve_key) == Reject(Code.BAD_CREDENTIAL)


def test_a_credential_is_worth_nothing_on_another_connection():
    assert greet(hello(), key=RELAY.curve_key) == Reject(Code.WRONG_KEY, "zeek-1")


def test_who_is_revoked_is_refused():
    assert greet(hello(), revoked=["zeek-1"]) == Reject(Code.REVOKED, "zeek-1")


@pytest.mark.parametrize("now_ms", [T0 - SKEW_MS - 1, T0 + DAY_MS + SKEW_MS + 1])
def test_a_credential_out_of_its_time_is_refused(now_ms):
    member = AUTHORITY.issue("short", not_before_ms=T0, not_after_ms=T0 + DAY_MS)
    assert greet(hello(member), key=member.curve_key, now_ms=now_ms).code is Code.CREDENTIAL_EXPIRED


@pytest.mark.parametrize(
    ("member", "role"), [(POINT, Role.CHILD), (POINT, Role.PARENT), (RELAY, Role.POINT), (PARENT, Role.POINT)]
)
def test_nobody_takes_a_role_that_does_not_fit_its_kind(member, role):
    assert greet(hello(member, role), key=member.curve_key).code is Code.WRONG_ROLE


def test_a_role_that_is_not_accepted_here_is_refused():
    assert greet(hello(), accepts=(Role.CHILD,)).code is Code.WRONG_ROLE
    assert greet(hello(), accepts=()).code is Code.WRONG_ROLE


@pytest.mark.parametrize("parent", ["", "dmz"])
def test_only_the_own_parent_may_greet_as_parent(parent):
    assert greet(hello(PARENT, Role.PARENT), key=PARENT.curve_key, parent=parent).code is Code.WRONG_PEER


@pytest.mark.parametrize("raw", [b"x", b"\x93\xc0\xc0\xc0"])
def test_what_is_no_credential_lets_nobody_in(raw):
    assert greet(hello(raw=raw)).code is Code.MALFORMED


def test_the_relay_that_was_dialled_is_believed():
    assert answer(welcome()) == PARENT.credential


def test_another_relay_than_the_one_dialled_is_refused():
    assert answer(welcome(RELAY), key=RELAY.curve_key) == Reject(Code.WRONG_PEER, "dialled hq, found ot-1")


def test_a_control_point_does_not_pass_for_a_relay():
    assert answer(welcome(POINT), key=POINT.curve_key, expects="").code is Code.WRONG_ROLE


def test_a_welcome_for_another_hello_is_refused():
    assert answer(welcome(nonce=b"o" * 16)).code is Code.MALFORMED


def test_the_listener_is_judged_like_the_dialler():
    assert answer(welcome(), key=RELAY.curve_key).code is Code.WRONG_KEY
    assert answer(welcome(), revoked=["hq"]).code is Code.REVOKED
    assert answer(welcome(), now_ms=2**46).code is Code.CREDENTIAL_EXPIRED
    assert answer(welcome(version=2)).code is Code.UNKNOWN_VERSION
    assert answer(welcome(Authority("another").issue("hq", NodeKind.RELAY))).code is Code.BAD_CREDENTIAL


def test_what_may_not_be_in_now_is_refused_with_a_code_that_says_which():
    # Revoked wins over expired: renewing would not help.
    member = AUTHORITY.issue("gone", not_after_ms=0)
    assert trust("gone").check(member.credential, (T0,)).code is Code.REVOKED
    assert trust().check(member.credential, (T0,)).code is Code.CREDENTIAL_EXPIRED
