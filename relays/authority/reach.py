"""Where a revocation list is in force: what the relays of this machine know of themselves and of those below them."""

from __future__ import annotations

import time
from pathlib import Path

from fabric.edge.identity.home import fabric_folder
from fabric.edge.identity.identity import Identity
from fabric.protocol.trust.credentials import NodeKind
from relays.authority.credentials import identities_here
from relays.process.status import read_status


def relays_here(fabric: str, home: Path | None = None) -> set[str]:
    """The relays that have an identity on this machine. Reads and verifies all of them."""
    return {
        identity.id for identity in identities_here(fabric, home)
        if isinstance(identity, Identity) and identity.credential.kind is NodeKind.RELAY
    }


def applied(fabric: str, home: Path | None = None) -> dict[str, tuple[int, int]]:
    """Of every relay that one of this machine knows of: the version in force there, and since when by fabric time."""
    now_ms = time.time_ns() // 1_000_000
    found: dict[str, tuple[int, int]] = {}
    for path in sorted((fabric_folder(fabric, home) / "run").glob("*.json")):
        state = read_status(path, now_ms)
        for relay, (version, at_ms) in (state or {}).get("applied", {}).items():
            # Of the same version the earliest that is said: a relay says again when it came back.
            known = found.get(relay)
            if known is None or version > known[0] or (version == known[0] and at_ms < known[1]):
                found[relay] = (version, at_ms)
    return found
