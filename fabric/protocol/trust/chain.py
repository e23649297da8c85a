"""Whose word a credential is (SPEC 6.2): signed by the authority, or by an issuer whose own chain leads to it.

Guarantees: a `Credential` that came from `verify_credential` belongs to the fabric and is well formed; whoever signed
it held an issuer's credential that allows every dimension of it, and so on up to the authority's key. Refuses: an
unsigned link, a link that is no issuer, one that grants more than it holds, a chain that is longer than the bound.
No body is read before its signature was verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    CHAIN_MAX,
    CREDENTIAL_BYTES_MAX,
    HEADER_DEPTH_MAX,
    HEADER_ELEMENTS_MAX,
)
from fabric.protocol.trust.credentials import Credential, NodeKind, decode_body, encode_body
from fabric.protocol.trust.delegation import check_within

_Link = tuple[bytes, bytes]  # a body, and the signature over it


def issue(credential: Credential, signer: signing.Signer, issuer: Credential | None = None) -> bytes:
    """The signed bytes of a credential: by the authority, or by the issuer whose credential is given with its key.

    Says nothing of whether the issuer may: `check_within` does.
    """
    body = encode_body(credential)
    above = [] if issuer is None else _links(issuer.raw)
    assert not isinstance(above, Reject), "an issuer's credential was verified"
    chain = [list(link) for link in above]
    return pack([body, signer.sign(signing.TYPE_CREDENTIAL, body), chain])


def verify_credential(raw: bytes, authority_key: bytes, fabric: str) -> Credential | Reject:
    """From the authority down: each link is signed by the one above, and within what that one may grant."""
    try:
        links = _links(raw)
    except (TypeError, ValueError):
        return Reject(Code.MALFORMED, "credential")
    if isinstance(links, Reject):
        return links
    key, above = authority_key, None
    for depth in range(len(links) - 1, -1, -1):
        body, signature = links[depth]
        if not signing.verify(key, signing.TYPE_CREDENTIAL, body, signature):
            if len(links) == 1:
                return Reject(Code.BAD_CREDENTIAL)
            return Reject(Code.BROKEN_CHAIN, f"not signed by {above.id if above else 'the authority'}")
        credential = _read(links[depth:], above, raw if depth == 0 else b"")
        if isinstance(credential, Reject):
            return credential
        if credential.fabric != fabric:
            return Reject(Code.WRONG_FABRIC)
        if above is not None:
            problem = check_within(above, credential)
            if problem is not None:
                return problem
        if depth and credential.kind is not NodeKind.ISSUER:
            return Reject(Code.BROKEN_CHAIN, f"{credential.id} is no issuer")
        key, above = credential.sign_key, credential
    assert above is not None
    return above


def _links(raw: bytes) -> list[_Link] | Reject:
    """The credential itself first, then its issuers, up to the one that the authority signed."""
    outer = unpack(raw, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=8 + 4 * CHAIN_MAX, depth_max=3)
    if isinstance(outer, Reject):
        return Reject(outer.code, "credential")
    body, signature, chain = outer
    links = [_link([body, signature]), *map(_link, chain)]
    if len(chain) > CHAIN_MAX:
        return Reject(Code.BROKEN_CHAIN, f"more than {CHAIN_MAX} issuers")
    # Only bodies are signed: any other way to write the rest would be another digest for the same credential.
    if raw != _joined(links):
        return Reject(Code.MALFORMED, "credential")
    return links


def _joined(links: Sequence[_Link]) -> bytes:
    return pack([*links[0], [list(link) for link in links[1:]]])


def _link(pair: Any) -> _Link:
    body, signature = pair
    if not (isinstance(body, bytes) and isinstance(signature, bytes)):
        raise TypeError
    return body, signature


def _read(links: Sequence[_Link], above: Credential | None, raw: bytes) -> Credential | Reject:
    fields = unpack(
        links[0][0], bytes_max=CREDENTIAL_BYTES_MAX, elements_max=2 * HEADER_ELEMENTS_MAX, depth_max=HEADER_DEPTH_MAX
    )
    issuers = () if above is None else (above.id, *above.issuers)
    return decode_body(fields, raw or _joined(links), issuers)
