"""Where a revocation list is in force: what the relays of this machine know of themselves and of those below them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from fabric.edge.home import fabric_folder
from fabric.edge.identity import Identity
from fabric.protocol.credentials import NodeKind
from relays.credentials import identities_here
from relays.status import read_status


class Reached(NamedTuple):
    relay: str
    at_ms: int  # by the root's time


def expected_relays(fabric: str, home: Path | None = None) -> set[str]:
    """Every relay that this machine knows: those with an identity here, and those below them."""
    known = {
        identity.id for identity in identities_here(fabric, home)
        if isinstance(identity, Identity) and identity.credential.kind is NodeKind.RELAY
    }
    return known | set(_applied(fabric, home))


def reached(fabric: str, version: int, home: Path | None = None) -> dict[str, Reached]:
    """The relays at which this version, or a newer one, is in force."""
    return {
        relay: Reached(relay, at_ms) for relay, (known, at_ms) in _applied(fabric, home).items() if known >= version
    }


def _applied(fabric: str, home: Path | None) -> dict[str, tuple[int, int]]:
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
