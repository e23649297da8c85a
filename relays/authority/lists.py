"""The authority's revocation list on disk (SPEC 6.4). The relays of this machine take it up by themselves."""

from __future__ import annotations

import time
from pathlib import Path

from fabric.edge.home import fabric_folder, write_private
from fabric.protocol.errors import FabricError, Reject
from fabric.protocol.revocations import Revocations, issue_revocations, verify_revocations
from relays.authority.keeping import Authority

_DAY_MS = 86_400_000
LIST_LIFE_MS = 30 * _DAY_MS


def revocations_path(fabric: str, home: Path | None = None) -> Path:
    return fabric_folder(fabric, home) / "revocations"


def read_revocations(path: Path, authority_key: bytes, fabric: str) -> Revocations:
    """What is on disk; nothing revoked where there is no list. Raises for one that is not the authority's."""
    if not path.is_file():
        return Revocations()
    known = verify_revocations(path.read_bytes(), authority_key, fabric)
    if isinstance(known, Reject):
        raise FabricError(known.code, str(path))
    return known


def revoke(authority: Authority, ids: list[str], home: Path | None = None) -> Revocations:
    """Add ids to the list and write its next version.

    The version follows the clock, so that a list made after an old backup was restored is newer than all before it.
    """
    path = revocations_path(authority.fabric, home)
    known = read_revocations(path, authority.public, authority.fabric)
    now_ms = time.time_ns() // 1_000_000
    version = max(known.version + 1, now_ms // 1_000)
    raw = issue_revocations(
        authority.fabric, version, now_ms, now_ms + LIST_LIFE_MS, sorted(known.ids.union(ids)), authority.signer
    )
    write_private(path, raw)
    return read_revocations(path, authority.public, authority.fabric)
