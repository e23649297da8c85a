"""Tokens, questions to an issuer, and its answers: what is read, and from whom."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.identity.joining import join as join_fabric
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ASK_BYTES_MAX
from fabric.protocol.base.signing import TYPE_JOIN, TYPE_ROUTE, Signer
from fabric.protocol.enrolment.joining import (
    Answer,
    JoinRequest,
    RenewRequest,
    Token,
    answer,
    ask_to_join,
    ask_to_renew,
    open_answer,
    open_request,
    read_token,
)
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Issuing, NodeKind
from fabric.protocol.vocabulary.tlp import Label
from tests.ports import free_port
from tests.support import FABRIC, T0, Authority, derive

AUTHORITY = Authority("joining")
SIGNER = Signer(derive("newcomer"))
ISSUER_SIGNER = AUTHORITY.issue("plant").signer
TOKEN = Token(
    FABRIC, AUTHORITY.key, "plant-1", "10.1.2.3:7730", derive("relay"), "plant", derive("token")[:8],
    derive("secret")[:16],
)


def verified(raw):
    return verify_credential(raw, AUTHORITY.key, FABRIC)


ISSUER = verified(issue(
    replace(
        AUTHORITY.issue("plant").credential, kind=NodeKind.ISSUER,
        issuing=Issuing(("*",), tuple(NodeKind), ("*",), ("*",), Label.RED),
    ), AUTHORITY.signer,
))
MEMBER = verified(issue(
    replace(AUTHORITY.issue("zeek-1").credential, sign_key=SIGNER.public, curve_key=derive("curve")),
    ISSUER_SIGNER, ISSUER,
))
JOIN = ask_to_join(TOKEN, derive("curve"), SIGNER, "zeek-1", b"n" * 16)
RENEW = ask_to_renew(MEMBER, SIGNER, T0)


def opened(raw):
    return open_request(raw, AUTHORITY.key, FABRIC)


# -- tokens ---------------------------------------------------------------------------------------------------


def test_a_token_says_where_to_go_and_whom_to_believe_there():
    assert read_token(TOKEN.encode()) == TOKEN
    assert read_token(f"  {TOKEN.encode()[:40]}\n{TOKEN.encode()[40:]} ") == TOKEN, "as a mail program breaks it"
    assert "secret" not in repr(TOKEN)


def test_a_token_that_was_not_copied_whole_is_said_so():
    text = TOKEN.encode()
    for at in range(len(text)):
        for broken in (text[:at], text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]):
            refused = read_token(broken)
            assert isinstance(refused, Reject) and refused.code is Code.BAD_TOKEN, broken


@pytest.mark.parametrize("text", ["", "mf1-", "mf1-!!!!", "mf2-AAAA", "x" * 5_000, "mf1-" + "A" * 5_000, "mf1-é"])
def test_what_is_no_token(text):
    assert read_token(text).code is Code.BAD_TOKEN


# -- requests -------------------------------------------------------------------------------------------------


def test_a_request_to_join():
    request = opened(JOIN)
    assert isinstance(request, JoinRequest)
    assert (request.issuer, request.token, request.wanted_id) == ("plant", TOKEN.id, "zeek-1")
    assert (request.curve_key, request.sign_key) == (derive("curve"), SIGNER.public)
    assert request.knows(TOKEN.secret) and not request.knows(bytes(16)) and not request.knows(b"")
    assert TOKEN.secret not in JOIN, "the secret never travels"


def test_a_request_to_be_renewed():
    request = opened(RENEW)
    assert isinstance(request, RenewRequest)
    assert (request.issuer, request.credential, request.clock_ms) == ("plant", MEMBER, T0)


@pytest.mark.parametrize("raw", [JOIN, RENEW], ids=["join", "renew"])
def test_every_bit_of_a_request_counts(raw):
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        request = opened(bytes(changed))
        believed = isinstance(request, JoinRequest) and request.knows(TOKEN.secret)
        assert isinstance(request, Reject) or not believed and raw is JOIN, at


def test_nobody_asks_with_another_s_key():
    body = unpack(JOIN, bytes_max=ASK_BYTES_MAX, elements_max=9, depth_max=2)
    thief = Signer(derive("thief"))
    assert opened(pack([body[0], thief.sign(TYPE_JOIN, body[0]), body[2]])).code is Code.BAD_SIGNATURE
    assert opened(pack([body[0], SIGNER.sign(TYPE_ROUTE, body[0]), body[2]])).code is Code.BAD_SIGNATURE
    assert opened(ask_to_renew(MEMBER, thief, T0)).code is Code.BAD_SIGNATURE


@pytest.mark.parametrize("wanted", ["../hq", "Hq", "x" * 64, "-"])
def test_an_id_is_a_name(wanted):
    assert opened(ask_to_join(TOKEN, derive("curve"), SIGNER, wanted, b"n" * 16)).code is Code.MALFORMED


def test_another_fabric_s_request():
    other = replace(TOKEN, fabric="other")
    assert opened(ask_to_join(other, derive("curve"), SIGNER, "", b"n" * 16)).code is Code.WRONG_FABRIC


def test_a_credential_of_another_authority_is_not_renewed():
    other = Authority("other").issue("zeek-1").credential
    forged = replace(other, issuers=("plant",))
    assert opened(ask_to_renew(forged, SIGNER, T0)).code is Code.BAD_CREDENTIAL


@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    assert isinstance(opened(noise), Reject)
    assert isinstance(open_answer(noise, JOIN, AUTHORITY.key, FABRIC, "plant"), Reject)


# -- answers --------------------------------------------------------------------------------------------------

TTLS = {"event": 3_600_000, "action": 30_000}
ANSWER = answer(JOIN, MEMBER, ISSUER, ISSUER_SIGNER, Label.AMBER, TTLS)


def read(raw=ANSWER, request=JOIN, issuer="plant"):
    return open_answer(raw, request, AUTHORITY.key, FABRIC, issuer)


def test_an_answer_brings_the_credential_and_the_fabric_s_defaults():
    assert read() == Answer(MEMBER, Label.AMBER, TTLS)


def test_a_relay_on_the_way_changes_nothing_of_it():
    for at in range(len(ANSWER)):
        changed = bytearray(ANSWER)
        changed[at] ^= 1
        assert isinstance(read(bytes(changed)), Reject), at


def test_an_answer_is_to_one_request():
    assert read(request=RENEW).code is Code.MALFORMED


def test_only_the_issuer_that_was_asked_answers():
    assert read(issuer="other").code is Code.WRONG_PEER
    by_member = answer(JOIN, MEMBER, MEMBER, SIGNER, Label.CLEAR, {})
    assert read(by_member, issuer="zeek-1").code is Code.WRONG_PEER
    assert read(answer(JOIN, MEMBER, ISSUER, SIGNER, Label.CLEAR, {})).code is Code.BAD_SIGNATURE


def test_a_life_span_that_cannot_be_is_left_out():
    raw = answer(JOIN, MEMBER, ISSUER, ISSUER_SIGNER, Label.AMBER, {"event": 10**12, "tea": 5, "action": 0})
    assert read(raw).ttl_ms == {}


def test_who_joins_while_its_relay_is_away_hears_so_once(tmp_path):
    token, said = replace(TOKEN, address=f"127.0.0.1:{free_port()}"), []
    with pytest.raises(FabricError) as raised:
        join_fabric(token, "", 1.0, home=tmp_path, progress=said.append)
    assert raised.value.code is Code.UNREACHABLE
    assert [words.partition(": ")[0] for words in said] == ["waiting"] and "E901" in said[0]
