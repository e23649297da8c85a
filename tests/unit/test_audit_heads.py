"""Signed heads and counter-signatures: whose word each is."""

import pytest

from fabric.protocol.audit.heads import (
    Head,
    Witness,
    open_head,
    open_witness,
    read_head,
    read_witness,
    sign_head,
    sign_witness,
)
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from tests.auditing import AUTHORITY, DMZ, HQ
from tests.support import T0, Authority

LOG, HASH = bytes(16), b"\7" * 32
HEAD = sign_head(DMZ.credential, DMZ.signer, LOG, 7, HASH, T0)


def test_a_head_is_its_node_s_word_under_whichever_of_its_credentials():
    head = open_head(HEAD, DMZ.credential)
    assert head == Head(DMZ.credential.digest, "dmz", LOG, 7, HASH, T0, HEAD, head.signed) == read_head(HEAD)
    newer = AUTHORITY.issue("dmz", DMZ.credential.kind, serial=2)
    assert open_head(HEAD, newer.credential) == head


@pytest.mark.parametrize(("by", "code"), [
    (HQ, Code.WRONG_PEER), (Authority("other").issue("dmz"), Code.BAD_SIGNATURE),
    (Authority(fabric="other").issue("dmz"), Code.WRONG_FABRIC),
])
def test_it_is_nobody_else_s(by, code):
    refused = open_head(HEAD, by.credential)
    assert isinstance(refused, Reject) and refused.code is code


@pytest.mark.parametrize("raw", [
    b"", b"?", HEAD[:-1], pack([b"x" * 16, b"body", b"s"]), pack([b"short", HEAD, b"s"]),
    pack([b"x" * 16, pack([1, "acme", "dmz", LOG, 0, HASH, T0]), b"s"]),
    pack([b"x" * 16, pack([2, "acme", "dmz", LOG, 1, HASH, T0]), b"s"]),
    pack([b"x" * 16, pack([1, "acme", "dmz", LOG, 1, b"", T0]), b"s"]), b"\xc4" + bytes([255]) + bytes(600),
])
def test_what_is_no_head_and_no_witness_is_refused(raw):
    for refused in (read_head(raw), open_head(raw, DMZ.credential), read_witness(raw)):
        assert isinstance(refused, Reject) and refused.code is Code.MALFORMED


def test_a_witness_is_for_one_head():
    head = read_head(HEAD)
    raw = sign_witness(HQ.credential, HQ.signer, head, T0 + 1)
    witness = open_witness(raw, HQ.credential)
    assert isinstance(witness, Witness) and (witness.by, witness.head, witness.at_ms) == ("hq", head.digest, T0 + 1)
    assert open_witness(raw, DMZ.credential).code is Code.WRONG_PEER
    assert read_head(sign_head(DMZ.credential, DMZ.signer, LOG, 8, HASH, T0)).digest != witness.head
