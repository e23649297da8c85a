"""The authority of a fabric on one machine, and the identities that it makes from a topology (SPEC 6).

Guarantees: an identity that exists keeps its keys and its id; only what the topology changed of it is issued again.
The authority's key never leaves its folder; only its public half goes into identities.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nacl.bindings

from fabric.edge.home import fabric_folder, make_private, write_private
from fabric.edge.identity import Defaults, Dial, Identity, dial_out, load_identity, save_identity
from fabric.protocol.chain import issue
from fabric.protocol.credentials import Credential, NodeKind
from fabric.protocol.errors import Code, FabricError, Reject
from fabric.protocol.revocations import issue_revocations, verify_revocations
from fabric.protocol.signing import Signer, signing_public
from relays.topology.model import PointSpec, RelaySpec, Topology

_DAY_MS = 86_400_000
CREDENTIAL_LIFE_MS = 365 * _DAY_MS
LIST_LIFE_MS = 30 * _DAY_MS
# A credential is valid from a little before it was issued, for clocks that are a little behind.
_BACKDATE_MS = 3_600_000


@dataclass(frozen=True)
class Authority:
    fabric: str
    folder: Path
    signer: Signer

    @property
    def fingerprint(self) -> str:
        """The public key in groups of four, to compare by eye."""
        text = self.signer.public.hex()
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def open_authority(fabric: str, home: Path | None = None) -> Authority:
    folder = fabric_folder(fabric, home) / "authority"
    try:
        seed = bytes.fromhex((folder / "key").read_text().strip())
        return Authority(fabric, folder, Signer(seed))
    except FileNotFoundError:
        raise FabricError(
            Code.NO_AUTHORITY, str(folder), f"run `fabric authority init {fabric}`, or use `--dev` for a throwaway one"
        ) from None
    except (OSError, ValueError) as error:
        raise FabricError(Code.NO_AUTHORITY, f"{folder}/key cannot be read") from error


def init_authority(fabric: str, home: Path | None = None) -> Authority:
    """A new key, or the one that is there."""
    folder = fabric_folder(fabric, home) / "authority"
    if not (folder / "key").exists():
        make_private(folder)
        write_private(folder / "key", os.urandom(32).hex().encode() + b"\n")
    return open_authority(fabric, home)


def ids_folder(fabric: str, home: Path | None = None) -> Path:
    return fabric_folder(fabric, home) / "ids"


def make_identities(topology: Topology, authority: Authority, home: Path | None = None) -> list[str]:
    """Bring the identities on this machine in step with a topology; the ids that were made or issued again."""
    folder = ids_folder(topology.fabric, home)
    keys = {id_: _keys(folder / id_) for id_ in [*topology.relays, *topology.points]}
    publics = {id_: nacl.bindings.crypto_scalarmult_base(curve) for id_, (curve, _) in keys.items()}
    made: list[str] = []
    for relay in topology.relays.values():
        extra = _relay_extra(topology, relay, publics)
        dialled = _parents(relay) if relay.dial == "parent" else ()
        dials = tuple(_dial(topology.relays[name], publics) for name in dialled)
        _make(_relay_credential(topology, relay), keys[relay.id], authority, folder, topology, dials, extra, made)
    for point in topology.points.values():
        relay_id = point.relay or topology.root.id
        dials = tuple(_dial(topology.relays[name], publics) for name in (relay_id, *point.backups))
        credential = _point_credential(topology, point, topology.relays[relay_id])
        _make(credential, keys[point.id], authority, folder, topology, dials, {"kind": "point"}, made)
    return made


def _keys(folder: Path) -> tuple[bytes, bytes]:
    if (folder / "identity.json").is_file():
        known = load_identity(folder)
        return known.curve_secret, known.sign_seed
    return os.urandom(32), os.urandom(32)


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
    trusted = known is not None and known.authority_key == authority.signer.public
    lasting = known is not None and known.credential.not_after_ms - now_ms > CREDENTIAL_LIFE_MS // 3
    if not (same and trusted and lasting):
        curve, sign = keys
        credential = Credential(
            **wanted,
            curve_key=nacl.bindings.crypto_scalarmult_base(curve),
            sign_key=signing_public(sign),
            not_before_ms=now_ms - _BACKDATE_MS,
            not_after_ms=now_ms + CREDENTIAL_LIFE_MS,
            serial=now_ms,
        )
        raw = issue(credential, authority.signer)
    elif known is not None and (known.dials, known.defaults, dict(known.extra)) == (dials, defaults, dict(extra)):
        return
    save_identity(
        folder / id_, raw, fabric=topology.fabric, id_=id_, authority_key=authority.signer.public, secrets=keys,
        relay=dials[0] if dials else None, backups=dials[1:], defaults=defaults, extra=extra,
    )
    made.append(id_)


def _known(folder: Path) -> Identity | None:
    return load_identity(folder) if (folder / "identity.json").is_file() else None


def _relay_credential(topology: Topology, relay: RelaySpec) -> dict[str, Any]:
    return {
        "fabric": topology.fabric,
        "id": relay.id,
        "kind": NodeKind.RELAY,
        "organisation": relay.organisation,
        "clearance": relay.clearance,
        "segment": relay.segment,
        "tags": tuple(sorted(relay.tags.items())),
    }


def _point_credential(topology: Topology, point: PointSpec, relay: RelaySpec) -> dict[str, Any]:
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


def revoke(fabric: str, ids: list[str], home: Path | None = None) -> int:
    """Add ids to the fabric's revocation list and write its next version; running relays pick it up by themselves."""
    authority = open_authority(fabric, home)
    path = revocations_path(fabric, home)
    version, revoked = 0, frozenset[str]()
    if path.is_file():
        known = verify_revocations(path.read_bytes(), authority.signer.public, fabric)
        if isinstance(known, Reject):
            raise FabricError(known.code, str(path))
        version, revoked = known.version, known.ids
    now_ms = time.time_ns() // 1_000_000
    raw = issue_revocations(
        fabric, version + 1, now_ms, now_ms + LIST_LIFE_MS, sorted(revoked.union(ids)), authority.signer
    )
    write_private(path, raw)
    return version + 1


def revocations_path(fabric: str, home: Path | None = None) -> Path:
    return fabric_folder(fabric, home) / "revocations"
