"""What a node asks an issuer, and what it is answered (SPEC 6.5): to join with a token, or to be renewed.

Guarantees: a request that was opened is signed with the signing key that it names, so nobody asks in another's name;
`knows` checks that its sender knows the token's secret, which itself is in no request. An answer that
was opened is its issuer's, to exactly this request. Refuses everything that is damaged, of another fabric, or over a
bound. Pure: the nonce and the time are arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ANSWER_BYTES_MAX, ASK_BYTES_MAX, KEY_BYTES, TTL_MAX_MS
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, NodeKind, name_ok
from fabric.protocol.vocabulary.tlp import Label, label_from_wire

TOKEN_ID_BYTES = 8
SECRET_BYTES = 16
_PREFIX = "mf1-"
_CHECK_BYTES = 4
_TOKEN_CHARS_MAX = 1_024
_JOIN, _RENEW = 1, 2


@dataclass(frozen=True, slots=True)
class Token:
    """What a newcomer is handed: where to go, whom to believe there, and a secret that is worth one request or few."""

    fabric: str
    authority_key: bytes
    relay: str
    address: str
    relay_key: bytes
    issuer: str
    id: bytes
    secret: bytes = field(repr=False)

    def encode(self) -> str:
        body = pack([
            1, self.fabric, self.authority_key, self.relay, self.address, self.relay_key, self.issuer, self.id,
            self.secret,
        ])
        check = hashlib.sha256(body).digest()[:_CHECK_BYTES]
        return _PREFIX + base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()


def read_token(text: str) -> Token | Reject:
    """BAD_TOKEN says whether it is damaged, for example cut off when it was copied."""
    text = "".join(text.split())
    if not text.startswith(_PREFIX) or len(text) > _TOKEN_CHARS_MAX:
        return Reject(Code.BAD_TOKEN, f"a token begins with {_PREFIX}")
    encoded = text.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return Reject(Code.BAD_TOKEN, "it was not copied whole")
    body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if hashlib.sha256(body).digest()[:_CHECK_BYTES] != check:
        return Reject(Code.BAD_TOKEN, "it was not copied whole")
    match unpack(body, bytes_max=_TOKEN_CHARS_MAX, elements_max=16, depth_max=2):
        case [
            1, str(fabric), bytes(authority), str(relay), str(address), bytes(relay_key), str(issuer), bytes(id_),
            bytes(secret), *_,
        ] if (
            all(map(name_ok, (fabric, relay, issuer)))
            and len(authority) == len(relay_key) == KEY_BYTES
            and len(id_) == TOKEN_ID_BYTES
            and len(secret) == SECRET_BYTES
        ):
            return Token(fabric, authority, relay, address, relay_key, issuer, id_, secret)
    return Reject(Code.BAD_TOKEN, "it is of a later version")


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A request to join, as it was opened: its signature is good. Whether its sender had the secret, `knows` tells."""

    fabric: str
    issuer: str
    token: bytes
    curve_key: bytes
    sign_key: bytes
    wanted_id: str  # empty: the issuer chooses
    nonce: bytes
    body: bytes = b""
    mac: bytes = b""

    def knows(self, secret: bytes) -> bool:
        """Whether whoever made it knows the token's secret."""
        return hmac.compare_digest(self.mac, _mac(secret, self.body))


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A request to be renewed, as it was opened: signed with the key of `credential`, which verified."""

    fabric: str
    issuer: str
    credential: Credential
    clock_ms: int


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, signing.pae(signing.TYPE_JOIN, body), "sha256")


def ask_to_join(token: Token, curve_key: bytes, signer: signing.Signer, wanted_id: str, nonce: bytes) -> bytes:
    """A request to join, encoded (SPEC 6.5). `signer` has the key that is to be certified."""
    body = pack([1, _JOIN, token.fabric, token.issuer, token.id, curve_key, signer.public, wanted_id, nonce])
    return pack([body, signer.sign(signing.TYPE_JOIN, body), _mac(token.secret, body)])


def ask_to_renew(credential: Credential, signer: signing.Signer, clock_ms: int) -> bytes:
    """To the issuer that vouches for it."""
    body = pack([1, _RENEW, credential.fabric, credential.issuers[0], credential.raw, clock_ms])
    return pack([body, signer.sign(signing.TYPE_JOIN, body), b""])


def open_request(raw: bytes, authority_key: bytes, fabric: str) -> JoinRequest | RenewRequest | Reject:
    """The request, verified; or MALFORMED, BAD_SIGNATURE, WRONG_FABRIC, or why its credential does not verify."""
    match unpack(raw, bytes_max=ASK_BYTES_MAX, elements_max=8, depth_max=2):
        case [bytes(body), bytes(signature), bytes(mac), *_]:
            pass
        case _:
            return Reject(Code.MALFORMED, "request")
    opened: JoinRequest | RenewRequest
    match unpack(body, bytes_max=ASK_BYTES_MAX, elements_max=16, depth_max=2):
        case [
            1, int(kind), str(of), str(issuer), bytes(token), bytes(curve), bytes(sign), str(wanted), bytes(nonce), *_
        ] if (
            kind == _JOIN and len(token) == TOKEN_ID_BYTES and len(curve) == len(sign) == KEY_BYTES
            and (wanted == "" or name_ok(wanted)) and name_ok(issuer)
        ):
            opened, key = JoinRequest(of, issuer, token, curve, sign, wanted, nonce, body, mac), sign
        case [1, int(kind), str(of), str(issuer), bytes(credential_raw), int(clock_ms), *_] if (
            kind == _RENEW and name_ok(issuer)
        ):
            credential = verify_credential(credential_raw, authority_key, fabric)
            if isinstance(credential, Reject):
                return credential
            opened, key = RenewRequest(of, issuer, credential, clock_ms), credential.sign_key
        case _:
            return Reject(Code.MALFORMED, "request")
    if not signing.verify(key, signing.TYPE_JOIN, body, signature):
        return Reject(Code.BAD_SIGNATURE, "request")
    return Reject(Code.WRONG_FABRIC) if opened.fabric != fabric else opened


@dataclass(frozen=True, slots=True)
class Answer:
    """The credential, and what else a newcomer has to know of its fabric."""

    credential: Credential
    label: Label  # of what nobody labelled
    ttl_ms: Mapping[str, int]


def answer(
    request: bytes, credential: Credential, issuer: Credential, signer: signing.Signer, label: Label,
    ttl_ms: Mapping[str, int],
) -> bytes:
    """An issuer's answer, encoded and signed (SPEC 6.5). `request` is the bytes that it answers."""
    body = pack([
        1, signing.digest(request), credential.raw, issuer.raw, int(label), [[kind, ms] for kind, ms in ttl_ms.items()],
    ])
    return pack([body, signer.sign(signing.TYPE_JOINED, body)])


def open_answer(raw: bytes, request: bytes, authority_key: bytes, fabric: str, issuer: str) -> Answer | Reject:
    """Whoever passed it on can have changed nothing of it."""
    match unpack(raw, bytes_max=ANSWER_BYTES_MAX, elements_max=8, depth_max=2):
        case [bytes(body), bytes(signature), *_]:
            pass
        case _:
            return Reject(Code.MALFORMED, "answer")
    match unpack(body, bytes_max=ANSWER_BYTES_MAX, elements_max=64, depth_max=4):
        case [1, bytes(digest), bytes(credential_raw), bytes(issuer_raw), int(label), list(ttls), *_]:
            pass
        case _:
            return Reject(Code.MALFORMED, "answer")
    by = verify_credential(issuer_raw, authority_key, fabric)
    if isinstance(by, Reject):
        return by
    if by.kind is not NodeKind.ISSUER or by.id != issuer:
        return Reject(Code.WRONG_PEER, f"asked {issuer}, answered by {by.id}")
    if not signing.verify(by.sign_key, signing.TYPE_JOINED, body, signature):
        return Reject(Code.BAD_SIGNATURE, "answer")
    if digest != signing.digest(request):
        return Reject(Code.MALFORMED, "an answer to something else")
    credential = verify_credential(credential_raw, authority_key, fabric)
    if isinstance(credential, Reject):
        return credential
    try:
        return Answer(credential, label_from_wire(label), _ttls(ttls))
    except (TypeError, ValueError):
        return Reject(Code.MALFORMED, "answer")


def _ttls(entries: list[Any]) -> dict[str, int]:
    ttls = {}
    for kind, ms in entries:
        if kind in TTL_MAX_MS and isinstance(ms, int) and 0 < ms <= TTL_MAX_MS[kind]:
            ttls[kind] = ms
    return ttls
