"""Parts that only their recipients can read (SPEC 3.3): RED travels by relays that need not be trusted with it.

The content of a part is encrypted under a key of its own (XChaCha20-Poly1305), and that key to each recipient (a
libsodium sealed box: X25519 with a key that is used once, XSalsa20-Poly1305). A recipient's key is the sealing key of
its credential, or, where that names none, its signing key as a key of X25519.

Guarantees: what was sealed for one message opens in no other: origin, topic, stream, sequence, label and recipients are
bound to it; each recipient can read all or nothing; no key is used for two parts. Who holds the part and is no
recipient sees its size and the names of its recipients. Refuses, as a `Reject`: what does not open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import nacl.bindings as sodium
import nacl.exceptions

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX, KEY_BYTES, PART_BYTES_MAX, SALT_BYTES
from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.header import Header, PartEntry
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.tlp import Label

_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_WRAPPED_BYTES: Final = KEY_BYTES + KEY_BYTES + _TAG_BYTES
_TYPE: Final = "fabric/sealed/1"


class Recipient(NamedTuple):
    """To whom something is sealed. `key`: X25519, 32 bytes."""

    id: str
    key: bytes


def recipient(credential: Credential) -> Recipient | Reject:
    """The node of this credential, with the key that things are sealed to. NOT_OPENED where nothing opens with that."""
    try:
        key = credential.seal_key or sodium.crypto_sign_ed25519_pk_to_curve25519(credential.sign_key)
        sodium.crypto_scalarmult(bytes([1]) * KEY_BYTES, key)
    except nacl.exceptions.RuntimeError:
        return Reject(Code.NOT_OPENED, credential.id)
    return Recipient(credential.id, key)


def seal_content(
    content: bytes, header: Header, recipients: Sequence[Recipient], entropy: Callable[[int], bytes]
) -> bytes:
    """The body of a part of this message. `header`: all but the manifest is as it will be signed.

    `entropy(n)` gives n random bytes. `recipients`: at least one, at most `AUDIENCE_NAMES_MAX`.
    """
    assert 0 < len(recipients) <= AUDIENCE_NAMES_MAX
    key, nonce = entropy(KEY_BYTES), entropy(_NONCE_BYTES)
    wrapped = [[each.id, _wrap(key, each.key, entropy)] for each in recipients]
    sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(content, _bound_to(header), nonce, key)
    return pack([wrapped, nonce, sealed])


class Opener:
    """Opens what is sealed to one node. `signer`: has its key; `id_`: by which it is named."""

    def __init__(self, id_: str, signer: Signer) -> None:
        self._id = id_
        self._secret = signer.x25519_secret()
        self._public = sodium.crypto_sign_ed25519_pk_to_curve25519(signer.public)

    def open(self, header: Header, entry: PartEntry, part: bytes) -> bytes | Reject | None:
        """The content of a sealed part of this message; None where it is for others. NOT_OPENED where it is not what
        its origin sealed for this node in this message."""
        read = _read(part)
        if read is None:
            return Reject(Code.NOT_OPENED, "form")
        wrapped, nonce, sealed = read
        mine = [box for id_, box in wrapped if id_ == self._id]
        if not mine:
            return None
        if len(sealed) != entry.size + _TAG_BYTES:
            return Reject(Code.NOT_OPENED, "size")
        try:
            key = sodium.crypto_box_seal_open(mine[0], self._public, self._secret)
            return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, _bound_to(header), nonce, key)
        except (nacl.exceptions.CryptoError, nacl.exceptions.TypeError):
            return Reject(Code.NOT_OPENED, "another key, or another message")


def _read(part: bytes) -> tuple[list[tuple[str, bytes]], bytes, bytes] | None:
    fields = unpack(
        part[SALT_BYTES:], bytes_max=PART_BYTES_MAX, elements_max=3 * AUDIENCE_NAMES_MAX + 8, depth_max=4
    )
    match fields:
        case [list(entries), bytes(nonce), bytes(sealed), *_] if (
            len(nonce) == _NONCE_BYTES and 0 < len(entries) <= AUDIENCE_NAMES_MAX
        ):
            pass
        case _:
            return None
    wrapped: list[tuple[str, bytes]] = []
    for entry in entries:
        match entry:
            case [str(id_), bytes(box), *_] if len(box) == _WRAPPED_BYTES:
                wrapped.append((id_, box))
            case _:
                return None
    return wrapped, nonce, sealed


def _wrap(key: bytes, public: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """What `crypto_box_seal` makes, with randomness that is given."""
    secret = entropy(KEY_BYTES)
    once = sodium.crypto_scalarmult_base(secret)
    nonce = sodium.crypto_generichash_blake2b_salt_personal(once + public, digest_size=_NONCE_BYTES)
    return once + sodium.crypto_box(key, nonce, public, secret)


def _bound_to(header: Header) -> bytes:
    """What is bound to the content: the message that it is of."""
    return pack([
        _TYPE, header.origin, header.topic, header.stream, header.sequence, int(Label.RED),
        list(header.audience.recipients),
    ])
