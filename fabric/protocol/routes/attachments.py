"""A node's own signed statement of where it is and what it takes (SPEC 7.6): an attachment.

Guarantees: a statement is signed by the node that it names, so no relay can invent one, and says no more than that
node's credential grants. Refuses: statements that are not the node's, and verbs or subscriptions beyond its grants.
Which statement holds, and the way that follows from all of them, is in `routing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.protocol.access.permissions import check_subscribe
from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    CREDENTIAL_BYTES_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    SESSION_KEEP_MS_MAX,
    SUBSCRIPTIONS_MAX,
)
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.trust.known import unknown
from fabric.protocol.vocabulary.topics import check_pattern
from fabric.protocol.wire.frames import SESSION_BYTES

RouteKey = tuple[str, bytes]  # node, session
# It comes back in a withdrawal, whose integers are bounded like all others.
EPOCH_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's own statement: here I am, under this relay, since this epoch (ms), and this is what I take."""

    node: str
    session: bytes
    relay: str
    epoch: int
    executes: bool
    subscriptions: tuple[str, ...]
    credential: Credential
    raw: bytes
    keep_ms: int = 0

    @property
    def key(self) -> RouteKey:
        return (self.node, self.session)

    @property
    def is_relay(self) -> bool:
        """A relay says only where it is: below `relay`."""
        return self.credential.kind is NodeKind.RELAY


def sign_attachment(
    credential: Credential,
    signer: signing.Signer,
    session: bytes,
    relay: str,
    epoch: int,
    executes: bool,
    subscriptions: tuple[str, ...],
    keep_ms: int = 0,
) -> bytes:
    """An attachment, encoded and signed with the key of `credential` (SPEC 7.6). `keep_ms` 0: not durable."""
    keep = [keep_ms] if keep_ms else []
    body = pack([1, credential.fabric, credential.id, session, relay, epoch, executes, list(subscriptions), *keep])
    return pack([credential.digest, body, signer.sign(signing.TYPE_ROUTE, body)])


def open_attachment(raw: bytes, credentials: Mapping[bytes, Credential]) -> Attachment | Reject:
    """Verify a node's statement. UNKNOWN_SIGNER when its credential has not been introduced."""
    outer = unpack(raw, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=8, depth_max=2)
    match outer:
        case [bytes(digest), bytes(body), bytes(signature), *_] if len(digest) == ID_BYTES:
            pass
        case _:
            return Reject(Code.MALFORMED, "attachment")
    credential = credentials.get(digest)
    if credential is None:
        return unknown(credentials, digest)
    if not signing.verify(credential.sign_key, signing.TYPE_ROUTE, body, signature):
        return Reject(Code.BAD_SIGNATURE, "attachment")
    fields = unpack(
        body, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=SUBSCRIPTIONS_MAX + 16, depth_max=3
    )
    match fields:
        case [
            1, str(fabric), str(node), bytes(session), str(relay), int(epoch), bool(executes), list(patterns), *more
        ] if (
            fabric == credential.fabric
            and node == credential.id
            and len(session) == SESSION_BYTES
            and 0 <= epoch <= EPOCH_MAX
            and len(relay) <= NAME_BYTES_MAX
            and len(patterns) <= SUBSCRIPTIONS_MAX
            and all(isinstance(p, str) for p in patterns)
        ):
            keep_ms = more[0] if more else 0
            # Whoever is away executes nothing: a session is one or the other.
            if type(keep_ms) is not int or not 0 <= keep_ms <= SESSION_KEEP_MS_MAX or (keep_ms and executes):
                return Reject(Code.MALFORMED, "attachment")
            attachment = Attachment(node, session, relay, epoch, executes, tuple(patterns), credential, raw, keep_ms)
            return _check_grants(attachment) or attachment
    return Reject(Code.MALFORMED, "attachment")


def _check_grants(attachment: Attachment) -> Reject | None:
    for pattern in attachment.subscriptions:
        problem = check_pattern(pattern) or check_subscribe(attachment.credential, pattern)
        if problem:
            return problem
    if attachment.executes and not attachment.credential.grants.execute:
        return Reject(Code.EXECUTE_DENIED, attachment.node)
    return None
