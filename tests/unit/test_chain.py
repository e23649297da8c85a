"""From the authority's key down to a member, link by link."""

from dataclasses import replace

import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CHAIN_MAX, CREDENTIAL_BYTES_MAX
from fabric.protocol.base.signing import TYPE_CREDENTIAL, TYPE_ROUTE, Signer
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Credential, Issuing, NodeKind
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Label
from tests.support import FABRIC, Authority, derive

AUTHORITY = Authority("chain")
ANYTHING = Issuing(
    ids=("*",), kinds=tuple(NodeKind), segments=("*",), organisations=("*",), clearance=Label.RED,
    tags=(("role", "*"),), principals=("*",),
)
SIGNERS = {name: Signer(derive("chain", name)) for name in ("company", "plant", "cell", "line")}


def credential(id_, kind=NodeKind.POINT, signer=None, **fields):
    known = AUTHORITY.issue(id_, kind=NodeKind.POINT, not_before_ms=1_000, not_after_ms=9_000).credential
    keys = {"sign_key": signer.public} if signer is not None else {}
    return replace(known, kind=kind, **keys, **fields)


def read(raw, key=AUTHORITY.key):
    return verify_credential(raw, key, FABRIC)


def issuer(name, above=None, **fields):
    """An issuer's verified credential, by the authority or by the issuer (name, credential) above it."""
    claim = credential(name, NodeKind.ISSUER, SIGNERS[name], issuing=ANYTHING, **fields)
    raw = issue(claim, AUTHORITY.signer) if above is None else issue(claim, SIGNERS[above.id], above)
    made = read(raw)
    assert isinstance(made, Credential), made
    return made


COMPANY = issuer("company")
PLANT = issuer("plant", COMPANY)
CELL = issuer("cell", PLANT)


@pytest.mark.parametrize(
    ("above", "issuers"),
    [(COMPANY, ("company",)), (PLANT, ("plant", "company")), (CELL, ("cell", "plant", "company"))],
    ids=["one", "two", "three"],
)
def test_a_member_of_an_issuer_is_believed(above, issuers):
    member = read(issue(credential("zeek-1"), SIGNERS[above.id], above))
    assert isinstance(member, Credential)
    assert (member.id, member.issuers) == ("zeek-1", issuers)


def test_what_an_issuer_may_give_is_read_again():
    assert COMPANY.issuing == ANYTHING and COMPANY.issuers == ()
    assert credential("zeek-1").issuing is None


def test_the_chain_is_no_longer_than_its_bound():
    line = issue(credential("line", NodeKind.ISSUER, SIGNERS["line"], issuing=ANYTHING), SIGNERS["cell"], CELL)
    above = read(line)
    assert isinstance(above, Credential) and len(above.issuers) == CHAIN_MAX
    refused = read(issue(credential("zeek-1"), SIGNERS["line"], above))
    assert isinstance(refused, Reject) and refused.code is Code.BROKEN_CHAIN


def parts_of(raw):
    body, signature, chain = unpack(raw, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=99, depth_max=9)
    return [[body, signature], *chain]


def joined(links):
    return pack([*links[0], links[1:]])


MEMBER_LINKS = parts_of(issue(credential("zeek-1"), SIGNERS["plant"], PLANT))


def test_it_is_put_together_as_it_was():
    assert isinstance(read(joined(MEMBER_LINKS)), Credential)


@pytest.mark.parametrize(
    ("links", "code"),
    [
        (MEMBER_LINKS[:1], Code.BAD_CREDENTIAL),
        (MEMBER_LINKS[:2], Code.BROKEN_CHAIN),
        ([MEMBER_LINKS[0], MEMBER_LINKS[2]], Code.BROKEN_CHAIN),
        ([MEMBER_LINKS[0], MEMBER_LINKS[2], MEMBER_LINKS[1]], Code.BROKEN_CHAIN),
        ([*MEMBER_LINKS, MEMBER_LINKS[2]], Code.BROKEN_CHAIN),
    ],
    ids=["no issuer", "the last one is missing", "one in the middle is missing", "in another order", "one too many"],
)
def test_a_gap_in_the_chain(links, code):
    assert read(joined(links)).code is code


def test_a_member_is_no_issuer():
    """A stolen control point's key signs nobody in, whatever its own credential says."""
    thief = Signer(derive("chain", "thief"))
    stolen = read(issue(credential("zeek-1", signer=thief), SIGNERS["plant"], PLANT))
    assert isinstance(stolen, Credential)
    assert read(issue(credential("zeek-2"), thief, stolen)).code is Code.BROKEN_CHAIN
    boasting = read(issue(credential("zeek-1", signer=thief, issuing=ANYTHING), SIGNERS["plant"], PLANT))
    assert boasting.issuing is None, "only issuers say what they may give"
    assert read(issue(credential("zeek-2"), thief, boasting)).code is Code.BROKEN_CHAIN


def test_each_link_is_within_the_one_above():
    narrow = read(issue(
        credential("narrow", NodeKind.ISSUER, SIGNERS["line"], issuing=replace(ANYTHING, ids=("p1-*",))),
        SIGNERS["company"], COMPANY,
    ))
    assert read(issue(credential("p1-zeek"), SIGNERS["line"], narrow)).id == "p1-zeek"
    refused = read(issue(credential("hq"), SIGNERS["line"], narrow))
    assert refused == Reject(Code.WIDER_THAN_ISSUER, "hq from narrow: id")


def test_who_outlives_its_issuer_is_refused():
    short = issuer("plant", COMPANY, not_after_ms=5_000)
    assert read(issue(credential("zeek-1"), SIGNERS["plant"], short)).code is Code.WIDER_THAN_ISSUER
    assert read(issue(credential("zeek-1", not_after_ms=5_000), SIGNERS["plant"], short)).not_after_ms == 5_000


def test_another_authority_s_issuer_is_not_believed():
    assert read(issue(credential("zeek-1"), SIGNERS["plant"], PLANT), Authority("other").key).code is Code.BROKEN_CHAIN


def test_a_signature_of_an_issuer_over_something_else_is_not_believed():
    body = MEMBER_LINKS[0][0]
    forged = [[body, SIGNERS["plant"].sign(TYPE_ROUTE, body)], *MEMBER_LINKS[1:]]
    assert read(joined(forged)).code is Code.BROKEN_CHAIN


def test_nothing_of_an_unsigned_body_is_looked_at():
    """A body that nobody signed is refused for that, whatever is in it."""
    garbage = [[b"\xc1 not even msgpack", bytes(64)], *MEMBER_LINKS[1:]]
    assert read(joined(garbage)).code is Code.BROKEN_CHAIN
    body = b"\xc1 signed, and still nothing"
    signed = [[body, SIGNERS["plant"].sign(TYPE_CREDENTIAL, body)], *MEMBER_LINKS[1:]]
    assert read(joined(signed)).code is Code.MALFORMED


@pytest.mark.parametrize(
    "raw",
    [
        pack([*MEMBER_LINKS[0], b"chain"]), pack([*MEMBER_LINKS[0], [[b"one"]]]), pack([*MEMBER_LINKS[0], [[1, 2]]]),
        pack([*MEMBER_LINKS[0], MEMBER_LINKS[1:], "more"]), pack([*MEMBER_LINKS[0], {}]), pack(7),
        pack([*MEMBER_LINKS[0], [[*link, b""] for link in MEMBER_LINKS[1:]]]), pack(MEMBER_LINKS[0]),
        pack([*MEMBER_LINKS[0], [dict([link]) for link in MEMBER_LINKS[1:]]]), pack(dict([MEMBER_LINKS[0]])),
    ],
)
def test_what_is_no_chain_is_malformed(raw):
    assert read(raw).code is Code.MALFORMED


def test_an_issuer_must_say_what_it_may_give():
    claim = credential("company", NodeKind.ISSUER, SIGNERS["company"])
    assert read(issue(claim, AUTHORITY.signer)).code is Code.MALFORMED


@pytest.mark.parametrize("revoked", ["zeek-1", "plant", "company"])
def test_who_vouches_for_somebody_takes_him_along(revoked):
    member = read(joined(MEMBER_LINKS))
    assert Revocations(1, ids=frozenset({revoked})).check(member) == Reject(Code.REVOKED, revoked)
    assert Revocations(1, ids=frozenset({"cell"})).check(member) is None
