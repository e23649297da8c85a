"""Who may open a link (SPEC 7.1): HELLO answered by WELCOME or REJECT.

Guarantees: an open link's peer holds a credential of this fabric's authority that is valid now, is not revoked,
names the CURVE key of this very connection, and fits the role that it claims. The dialler checks the listener the
same way, and that it is the relay that it dialled. Refuses everything else with a code that says which of these
failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LIST_GRACE_MS
from fabric.protocol.core.fabric_clock import Clocks, check_validity_by
from fabric.protocol.links.link import Link
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Hello, Role, Welcome


class Trust:
    """What this node believes: the authority's key, its fabric, and the newest revocation list."""

    def __init__(self, authority_key: bytes, fabric: str, skew_ms: int) -> None:
        self.authority_key = authority_key
        self.fabric = fabric
        self.skew_ms = skew_ms
        self.revocations = Revocations()

    def check_raw(self, raw: bytes, clocks_ms: Clocks) -> Credential | Reject:
        credential = verify_credential(raw, self.authority_key, self.fabric)
        if isinstance(credential, Reject):
            return credential
        return self.check(credential, clocks_ms) or credential

    def check_action(self, requester: Credential, segment: str, clocks_ms: Clocks) -> Reject | None:
        """Whether who is revoked is known well enough to act for this requester. Before a first list nobody was.

        `segment`: of the node that asks. Its own go on for a while after the list is over.
        """
        lists = self.revocations
        grace_ms = LIST_GRACE_MS if requester.segment == segment else 0
        over = lists.version > 0 and min(clocks_ms) > lists.not_after_ms + self.skew_ms + grace_ms
        return Reject(Code.LIST_EXPIRED, f"version {lists.version}") if over else None

    def check(self, credential: Credential, clocks_ms: Clocks) -> Reject | None:
        revoked = self.revocations.check(credential)
        return revoked or check_validity_by(credential, clocks_ms, self.skew_ms)


def negotiate(version_min: int, version_max: int) -> int | Reject:
    """The highest version that both speak."""
    version = min(version_max, PROTOCOL_VERSIONS[1])
    if version < max(version_min, PROTOCOL_VERSIONS[0]):
        return Reject(Code.UNKNOWN_VERSION, f"peer speaks {version_min} to {version_max}")
    return version


def check_hello(
    hello: Hello, link: Link, trust: Trust, parents: Sequence[str], accepts: tuple[Role, ...], clocks_ms: Clocks
) -> Credential | Reject:
    """The listener's side. `parents`: ids of our parents, the only ones that may greet us as PARENT."""
    version = negotiate(hello.version_min, hello.version_max)
    if isinstance(version, Reject):
        return version
    if hello.fabric != trust.fabric:
        return Reject(Code.WRONG_FABRIC)
    if hello.role not in accepts:
        return Reject(Code.WRONG_ROLE, f"no {hello.role.name.lower()} is accepted here")
    credential = _check_peer(hello.credential, link, trust, clocks_ms)
    if isinstance(credential, Reject):
        return credential
    if (hello.role == Role.POINT) == (credential.kind == NodeKind.RELAY):
        return Reject(Code.WRONG_ROLE, f"{credential.id} as {hello.role.name.lower()}")
    if hello.role == Role.PARENT and credential.id not in parents:
        return Reject(Code.WRONG_PEER, f"{credential.id} is no parent of this relay")
    return credential


def check_welcome(welcome: Welcome, link: Link, trust: Trust, clocks_ms: Clocks) -> Credential | Reject:
    """The dialler's side."""
    version = negotiate(welcome.version, welcome.version)
    if isinstance(version, Reject):
        return version
    if welcome.nonce != link.nonce:
        return Reject(Code.MALFORMED, "WELCOME answers another HELLO")
    credential = _check_peer(welcome.credential, link, trust, clocks_ms)
    if isinstance(credential, Reject):
        return credential
    if credential.kind != NodeKind.RELAY:
        return Reject(Code.WRONG_ROLE, f"{credential.id} is no relay")
    if link.expects and credential.id != link.expects:
        return Reject(Code.WRONG_PEER, f"dialled {link.expects}, found {credential.id}")
    return credential


def _check_peer(raw: bytes, link: Link, trust: Trust, clocks_ms: Clocks) -> Credential | Reject:
    credential = trust.check_raw(raw, clocks_ms)
    if isinstance(credential, Credential) and credential.curve_key != link.peer_key:
        return Reject(Code.WRONG_KEY, credential.id)
    return credential
