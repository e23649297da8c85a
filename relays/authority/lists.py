"""The authority's revocation list on disk (SPEC 6.4). The relays of this machine take it up by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabric.edge.identity.home import revocations_path, write_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.base.signing import Signer
from fabric.protocol.trust.revocations import Revocations, issue_revocations, verify_revocations
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS
from relays.authority.keeping import Authority, alone
from relays.authority.policies import read_policies
from relays.wall import signing_ms

_DAY_MS = 86_400_000
LIST_LIFE_MS = 30 * _DAY_MS
# The frame in which it travels adds so much.
_FRAMING_BYTES = 16


def read_revocations(path: Path, authority_key: bytes, fabric: str) -> Revocations:
    """What is on disk; nothing revoked where there is no list. Raises for one that is not the authority's."""
    if not path.is_file():
        return Revocations()
    known = verify_revocations(path.read_bytes(), authority_key, fabric)
    if isinstance(known, Reject):
        raise FabricError(known.code, str(path))
    return known


def revoke(authority: Authority, ids: Sequence[str], home: Path | None = None, why: str = "") -> Revocations:
    """Add ids to the list, if any, and sign its next version. What it was for is kept beside the authority's key.

    The version follows the clock, so that a list made after an old backup was restored is newer than all before it.
    """
    signer = authority.signer  # somebody may have to type for it: not while others wait for the list
    with alone(authority):
        return _sign_next(authority, signer, ids, home, why)


def allow_from(authority: Authority, floor: int, home: Path | None = None) -> Revocations:
    """Sign the list as it is, with this as the lowest version of the protocol that may be spoken; 0: any.

    Raises UNKNOWN_VERSION for one that this program does not speak itself: whoever asks for it cuts off its own relays.
    """
    if not 0 <= floor <= PROTOCOL_VERSIONS[1]:
        raise FabricError(
            Code.UNKNOWN_VERSION, f"this program speaks version {PROTOCOL_VERSIONS[1]} of the protocol at most",
            "install a later one here and at every relay first",
        )
    signer = authority.signer
    with alone(authority):
        return _sign_next(authority, signer, (), home, "", floor)


def _sign_next(
    authority: Authority, signer: Signer, ids: Sequence[str], home: Path | None, why: str, floor: int | None = None
) -> Revocations:
    """`floor` None: as it was."""
    path = revocations_path(authority.fabric, home)
    known = read_revocations(path, authority.public, authority.fabric)
    now_ms = signing_ms()
    version = max(known.version + 1, now_ms // 1_000)
    raw = issue_revocations(
        authority.fabric, version, now_ms, now_ms + LIST_LIFE_MS, sorted(known.ids.union(ids)), signer,
        max(known.policies, read_policies(authority, home).version), known.floor if floor is None else floor,
    )
    made = verify_revocations(raw, authority.public, authority.fabric)
    if isinstance(made, Reject) or len(raw) > FRAME_BYTES_MAX - _FRAMING_BYTES:
        raise FabricError(
            Code.TOO_LARGE, f"a list of {len(known.ids.union(ids))} ids",
            "begin a new fabric, or delegate to issuers: one that is revoked takes its members along",
        )
    if ids:
        _note(authority, {"at_ms": now_ms, "version": version, "ids": list(ids), "why": why})
    write_private(path, raw)
    return made


def keep_list(authority: Authority, home: Path | None = None) -> bool:
    """Sign the list that is there, or a first one, when a third of its life or less is left, or when it names older
    policies than there are; whether that was due.

    A fabric has a list from its first day: who knows one can tell an old one from none.
    """
    known = read_revocations(revocations_path(authority.fabric, home), authority.public, authority.fabric)
    due = (
        known.not_after_ms - signing_ms() <= LIST_LIFE_MS // 3
        or known.policies < read_policies(authority, home).version
    )
    if due:
        revoke(authority, (), home)
    return due


def _note(authority: Authority, said: dict[str, Any]) -> None:
    path = authority.folder / "revoked.jsonl"
    before = path.read_bytes() if path.is_file() else b""
    write_private(path, before + json.dumps(said).encode() + b"\n")


def reasons(authority: Authority) -> dict[str, str]:
    """Why each id was revoked, where it was said on this machine."""
    path = authority.folder / "revoked.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {id_: said["why"] for said in map(json.loads, lines) for id_ in said["ids"]}
