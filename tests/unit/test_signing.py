import pytest

from fabric.protocol.base.signing import (
    TYPE_CREDENTIAL,
    TYPE_ENVELOPE,
    TYPE_REVOCATIONS,
    TYPE_ROOT,
    TYPE_ROUTE,
    Signer,
    digest,
    pae,
    sign,
    signing_public,
    verify,
)
from tests.support import derive

SEED = derive("signing tests")


def test_pae_is_that_of_dsse():
    # The example of the DSSE specification, protocol.md.
    assert pae(b"http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_no_two_pairs_of_type_and_body_are_encoded_alike():
    pairs = [(b"a", b"b 1 c"), (b"a b", b"1 c"), (b"a 1 b", b"c"), (b"", b"a"), (b"a", b"")]
    assert len({pae(*pair) for pair in pairs}) == len(pairs)


def test_a_signature_is_good_for_its_key_type_and_bytes():
    signature = sign(SEED, TYPE_ROOT, b"root")
    assert verify(signing_public(SEED), TYPE_ROOT, b"root", signature)


def test_a_signer_signs_what_its_seed_signs():
    signer = Signer(SEED)
    assert signer.public == signing_public(SEED)
    assert signer.sign(TYPE_ROUTE, b"route") == sign(SEED, TYPE_ROUTE, b"route")


def test_a_signature_serves_one_type_only():
    types = [TYPE_ENVELOPE, TYPE_ROOT, TYPE_CREDENTIAL, TYPE_REVOCATIONS, TYPE_ROUTE]
    assert len(set(types)) == len(types)
    for signed in types:
        signature = sign(SEED, signed, b"body")
        good = [type_ for type_ in types if verify(signing_public(SEED), type_, b"body", signature)]
        assert good == [signed]


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_an_altered_signature_is_bad(at):
    signature = bytearray(sign(SEED, TYPE_ROOT, b"root"))
    signature[at] ^= 1
    assert not verify(signing_public(SEED), TYPE_ROOT, b"root", bytes(signature))


def test_an_altered_body_or_another_key_is_bad():
    signature = sign(SEED, TYPE_ROOT, b"root")
    assert not verify(signing_public(SEED), TYPE_ROOT, b"rooT", signature)
    assert not verify(signing_public(derive("another")), TYPE_ROOT, b"root", signature)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 200])
def test_a_signature_of_another_length_is_bad_and_raises_nothing(length):
    assert not verify(signing_public(SEED), TYPE_ROOT, b"root", bytes(length))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_bad_and_raises_nothing(length):
    assert not verify(bytes(length), TYPE_ROOT, b"root", sign(SEED, TYPE_ROOT, b"root"))


def test_the_all_zero_key_vouches_for_nothing():
    # Keys of small order have signatures that hold for many messages.
    assert not verify(bytes(32), TYPE_ROOT, b"root", bytes(64))
    assert not verify(b"\x01" + bytes(31), TYPE_ROOT, b"root", b"\x01" + bytes(63))


def test_a_signer_never_shows_its_secret():
    assert SEED.hex() not in repr(Signer(SEED))


def test_a_digest_is_sha256():
    assert digest(b"").hex().startswith("e3b0c44298fc1c14")
