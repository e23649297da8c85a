"""Who may open a link (SPEC 7.1): HELLO answered by WELCOME or REJECT.

Guarantees: an open link's peer holds a credential of this fabric's authority that is valid now, is not revoked,
names the CURVE key of this very connection, and fits the role that it claims. The dialler checks the listener the
same way, and that it is the relay that it dialled. Refuses everything else with a code that says which of these
failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.links.link import Link
from fabric.protocol.trust.credentials import Clocks, Credential, NodeKind
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Hello, Role, Welcome


def negotiate(version_min: int, version_max: int, floor: int = 0) -> int | Reject:
    """The highest version that both speak, of those that whoever dialled says. Below `floor` there is none."""
    version = min(version_max, PROTOCOL_VERSIONS[1])
    if version < max(version_min, PROTOCOL_VERSIONS[0], floor):
        return _no_version((version_min, version_max), PROTOCOL_VERSIONS, floor)
    return version


def check_floor(version: int, floor: int) -> Reject | None:
    """Whether this version may go on being spoken on a link that is open."""
    return Reject(Code.UNKNOWN_VERSION, f"{version} is spoken here{_lowest(floor)}") if version < floor else None


def _no_version(dialled: tuple[int, int], listens: tuple[int, int], floor: int) -> Reject:
    """The same words are read on both sides."""
    there, here = (str(low) if low == high else f"{low} to {high}" for low, high in (dialled, listens))
    return Reject(Code.UNKNOWN_VERSION, f"who dialled speaks {there}, who listens {here}{_lowest(floor)}")


def _lowest(floor: int) -> str:
    return f", and {floor} is the lowest that the fabric allows" if floor else ""


def check_hello(
    hello: Hello, link: Link, trust: TrustStore, parents: Sequence[str], accepts: tuple[Role, ...], clocks_ms: Clocks
) -> Credential | Reject:
    """The listener's side. `parents`: ids of our parents, the only ones that may greet us as PARENT."""
    version = negotiate(hello.version_min, hello.version_max, trust.floor(hello.revocations_version))
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


def check_welcome(welcome: Welcome, link: Link, trust: TrustStore, clocks_ms: Clocks) -> Credential | Reject:
    """The dialler's side."""
    floor = trust.floor(welcome.revocations_version)
    if isinstance(negotiate(welcome.version, welcome.version, floor), Reject):
        return _no_version(PROTOCOL_VERSIONS, (welcome.version, welcome.version), floor)
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


def _check_peer(raw: bytes, link: Link, trust: TrustStore, clocks_ms: Clocks) -> Credential | Reject:
    credential = trust.check_raw(raw, clocks_ms)
    if isinstance(credential, Credential) and credential.curve_key != link.peer_key:
        return Reject(Code.WRONG_KEY, credential.id)
    return credential
