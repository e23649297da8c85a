"""The identities that an authority makes from a topology (SPEC 6).

Guarantees: an identity that exists keeps its keys and its id; only what the topology changed of it is issued again,
and where nothing did, the authority's key is not needed. Only its public half goes into identities.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nacl.bindings

from fabric.edge.home import ids_folder
from fabric.edge.identity import (
    NEAREST,
    Defaults,
    Dial,
    Identity,
    dial_out,
    issuers_at,
    load_identity,
    save_identity,
)
from fabric.protocol.credentials import NodeKind
from relays.authority.directories import keep_directory
from relays.authority.keeping import Authority
from relays.authority.minting import claim, keys_of, mint
from relays.pins import write_pins
from relays.topology.model import PointSpec, RelaySpec, Topology

CREDENTIAL_LIFE_MS = 365 * 86_400_000


def make_identities(topology: Topology, authority: Authority, home: Path | None = None) -> list[str]:
    """Bring the identities on this machine, and the directory of relays, in step with a topology.

    The ids that were made or issued again. A control point that names no relay finds the nearest by the directory; the
    root stands in its identity for the case that there is none.
    """
    folder = ids_folder(topology.fabric, home)
    keys = {id_: keys_of(folder / id_) for id_ in [*topology.relays, *topology.points]}
    publics = {id_: nacl.bindings.crypto_scalarmult_base(curve) for id_, (curve, _) in keys.items()}
    made: list[str] = []
    for relay in topology.relays.values():
        extra = _relay_extra(topology, relay, publics)
        dialled = _parents(relay) if relay.dial == "parent" else ()
        dials = tuple(_dial(topology.relays[name], publics) for name in dialled)
        _make(relay_claim(topology, relay), keys[relay.id], authority, folder, topology, dials, extra, made)
    for point in topology.points.values():
        relay_id = point.relay or topology.root.id
        dials = tuple(_dial(topology.relays[name], publics) for name in (relay_id, *point.backups))
        credential = point_claim(topology, point, topology.relays[relay_id])
        extra = {"kind": "point"} if point.relay else {"kind": "point", NEAREST: True}
        _make(credential, keys[point.id], authority, folder, topology, dials, extra, made)
    for relay in topology.relays.values():
        write_pins(folder / relay.id, _pinned(topology, relay, publics, folder))
    keep_directory(topology, authority, home)
    return made


def _pinned(
    topology: Topology, relay: RelaySpec, publics: Mapping[str, bytes], folder: Path
) -> dict[str, bytes] | None:
    """Who dials this relay: children, parents of one that is dialled, control points, and issuers of this machine."""
    if relay.admission != "pinned":
        return None
    below = [r.id for r in topology.relays.values() if r.dial == "parent" and relay.id in _parents(r)]
    above = _parents(relay) if relay.dial == "child" else ()
    points = [p.id for p in topology.points.values() if relay.id in (p.relay or topology.root.id, *p.backups)]
    issuers = {issuer.id: issuer.credential.curve_key for issuer in issuers_at(folder, relay.id)}
    return {id_: publics[id_] for id_ in (*below, *above, *points)} | issuers


def _make(
    wanted: dict[str, Any],
    keys: tuple[bytes, bytes],
    authority: Authority,
    folder: Path,
    topology: Topology,
    dials: tuple[Dial, ...],
    extra: Mapping[str, Any],
    made: list[str],
) -> None:
    id_ = str(wanted["id"])
    now_ms = time.time_ns() // 1_000_000
    defaults = Defaults(topology.defaults.label, dict(topology.defaults.ttl_ms))
    known = _known(folder / id_)
    raw = known.credential.raw if known else b""
    same = known is not None and all(getattr(known.credential, name) == value for name, value in wanted.items())
    trusted = known is not None and known.authority_key == authority.public
    lasting = known is not None and known.credential.not_after_ms - now_ms > CREDENTIAL_LIFE_MS // 3
    if not (same and trusted and lasting):
        raw = mint(claim(wanted, keys, now_ms, CREDENTIAL_LIFE_MS), authority.signer, authority.public).raw
    elif known is not None and (known.dials, known.defaults, dict(known.extra)) == (dials, defaults, dict(extra)):
        return
    save_identity(
        folder / id_, raw, fabric=topology.fabric, id_=id_, authority_key=authority.public, secrets=keys,
        relay=dials[0] if dials else None, backups=dials[1:], defaults=defaults, extra=extra,
    )
    made.append(id_)


def _known(folder: Path) -> Identity | None:
    return load_identity(folder) if (folder / "identity.json").is_file() else None


def relay_claim(topology: Topology, relay: RelaySpec) -> dict[str, Any]:
    """What a relay's credential says, but for keys and time."""
    return {
        "fabric": topology.fabric,
        "id": relay.id,
        "kind": NodeKind.RELAY,
        "organisation": relay.organisation,
        "clearance": relay.clearance,
        "segment": relay.segment,
        "tags": tuple(sorted(relay.tags.items())),
    }


def point_claim(topology: Topology, point: PointSpec, relay: RelaySpec) -> dict[str, Any]:
    """What a control point's credential says, but for keys and time."""
    return {
        "fabric": topology.fabric,
        "id": point.id,
        "kind": NodeKind.OPERATOR if point.kind == "operator" else NodeKind.POINT,
        "principal": point.id,
        "organisation": point.organisation,
        "clearance": point.clearance,
        "segment": relay.segment,
        "tags": tuple(sorted({**point.tags, "role": point.role}.items())),
        "grants": topology.roles[point.role].grants,
    }


def _relay_extra(topology: Topology, relay: RelaySpec, publics: Mapping[str, bytes]) -> dict[str, Any]:
    dialled = [child for child in topology.relays.values() if child.dial == "child" and relay.id in _parents(child)]
    return {
        "kind": "relay",
        "listen": relay.listen,
        "parent": relay.parent or "",
        "parents": list(_parents(relay)),
        "children": [dial_out(_dial(child, publics)) for child in dialled],
    }


def _parents(relay: RelaySpec) -> tuple[str, ...]:
    """The preferred one first, then its backups in order; of the root none."""
    return () if relay.parent is None else (relay.parent, *relay.backups)


def _dial(relay: RelaySpec, publics: Mapping[str, bytes]) -> Dial:
    return Dial(relay.id, relay.advertise, publics[relay.id])
