"""The authority's list of revoked credentials (SPEC 6.4): a rising version, applied whole, never rolled back.

It names the version of the approval policies (SPEC 6.7) that were in force when it was signed: who has the list and not
these policies knows that they are withheld. And it may revoke versions of the protocol: those below its floor.

Guarantees: a `Revocations` from `verify_revocations` is the authority's for this fabric. `supersedes` is the only
way to replace one. Refuses: unsigned lists, lists of another fabric, and lists no newer than the one held.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, REVOCATIONS_MAX
from fabric.protocol.base.signed import open_document, seal_document
from fabric.protocol.trust.credentials import Credential


@dataclass(frozen=True, slots=True)
class Revocations:
    """A revocation list. The empty one, version 0, stands for none so far: nobody is revoked."""

    version: int = 0
    issued_at_ms: int = 0
    not_after_ms: int = 0
    ids: frozenset[str] = frozenset()
    raw: bytes = b""
    policies: int = 0  # the version of the policies, or a newer one, that a node is to have
    floor: int = 0  # the lowest version of the protocol that may be spoken; 0: any

    def check(self, credential: Credential) -> Reject | None:
        """Whether it, or anybody who vouches for it, is on the list."""
        for id_ in (credential.id, *credential.issuers) if self.ids else ():
            if id_ in self.ids:
                return Reject(Code.REVOKED, id_)
        return None

    def supersedes(self, other: Revocations) -> bool:
        return self.version > other.version


def issue_revocations(
    fabric: str, version: int, issued_at_ms: int, not_after_ms: int, ids: list[str], authority: signing.Signer,
    policies: int = 0, floor: int = 0,
) -> bytes:
    """A list as it travels, signed by the authority. It replaces lists with a lower `version`.

    `policies`: the version of the approval policies, 0 where there are none. `floor`: the lowest version of the
    protocol that may be spoken, 0 where any may.
    """
    more = [policies, floor] if floor else [policies] if policies else []
    body = pack([1, fabric, version, issued_at_ms, not_after_ms, sorted(ids), *more])
    return seal_document(signing.TYPE_REVOCATIONS, body, authority)


def verify_revocations(raw: bytes, authority_key: bytes, fabric: str) -> Revocations | Reject:
    """The list, or STALE_LIST (the authority did not sign it), WRONG_FABRIC or MALFORMED."""
    opened = open_document(
        raw, signing.TYPE_REVOCATIONS, authority_key, FRAME_BYTES_MAX, what="revocation list", unsigned=Code.STALE_LIST
    )
    if isinstance(opened, Reject):
        return opened
    body = unpack(opened, bytes_max=FRAME_BYTES_MAX, elements_max=REVOCATIONS_MAX + 8, depth_max=3)
    match body:
        case [1, str(name), int(version), int(issued), int(until), list(ids), *more] if all(
            isinstance(i, str) for i in ids
        ) and all(type(number) is int for number in more[:2]):
            if name != fabric:
                return Reject(Code.WRONG_FABRIC, "revocation list")
            policies, floor, *_ = [*more, 0, 0]
            return Revocations(version, issued, until, frozenset(ids), raw, policies, floor)
    return Reject(Code.MALFORMED, "revocation list")
