"""The identities that an authority makes from a topology (SPEC 6).

Guarantees: an identity that exists keeps its keys and its id; only what the topology changed of it is issued again,
and where nothing did, the authority's key is not needed. Making one identity signs nobody else's. Only the authority's
public key goes into identities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nacl.bindings

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import (
    NEAREST,
    Defaults,
    Dial,
    Identity,
    dial_out,
    issuers_at,
    load_identity,
    save_identity,
)
from fabric.protocol.base.limits import READERS_BYTES
from fabric.protocol.trust.credentials import NodeKind
from relays.authority.directories import keep_directory
from relays.authority.keeping import Authority
from relays.authority.minting import Keys, claim, keys_of, mint
from relays.authority.policies import keep_policies
from relays.process.config import READERS
from relays.process.pins import write_pins
from relays.topology.model import PointSpec, RelaySpec, Topology
from relays.wall import signing_ms

CREDENTIAL_LIFE_MS = 365 * 86_400_000


class _Wanted(NamedTuple):
    """An identity as a topology has it: what its credential says, whom it dials, and what its relay is told besides."""

    claim: dict[str, Any]
    dials: tuple[Dial, ...]
    extra: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.claim["id"])


class Made(NamedTuple):
    """`made`: the ids that were issued. `left`: those that are not as the topology has them, and were not signed.

    `directory_left`: the directory says something else of a relay than the topology, and was not signed for it.
    """

    made: list[str]
    left: list[str]
    directory_left: bool


def make_identities(topology: Topology, authority: Authority, home: Path | None = None) -> list[str]:
    """Bring the identities on this machine, the directory of relays and the policies in step with a topology.

    The ids that were made or issued again. A control point that names no relay finds the nearest by the directory; the
    root stands in its identity for the case that there is none.
    """
    made = _make_all(topology, authority, [*topology.relays, *topology.points], home).made
    keep_policies(topology, authority, home)
    return made


def make_only(topology: Topology, authority: Authority, ids: Collection[str], home: Path | None = None) -> Made:
    """The same for these ids alone: what others have is never signed anew by the way, since running nodes take up
    what they find. Others that are missing are made: whom a relay dials must have keys. Policies are everybody's: they
    are signed only where there are none yet.
    """
    made = _make_all(topology, authority, ids, home)
    keep_policies(topology, authority, home, only_first=True)
    return made


def _make_all(topology: Topology, authority: Authority, ids: Collection[str], home: Path | None) -> Made:
    folder = ids_folder(topology.fabric, home)
    keys = {id_: keys_of(folder / id_) for id_ in [*topology.relays, *topology.points]}
    publics = {id_: nacl.bindings.crypto_scalarmult_base(curve) for id_, (curve, _) in keys.items()}
    made: list[str] = []
    left: list[str] = []
    for wanted in _wanted(topology, publics):
        known = _known(folder / wanted.id)
        if known is not None and _is_as(known, wanted, topology, authority):
            continue
        if known is not None and wanted.id not in ids:
            left.append(wanted.id)
            continue
        _save(folder / wanted.id, known, wanted, keys[wanted.id], topology, authority)
        made.append(wanted.id)
    for relay in topology.relays.values():
        if relay.id in ids or relay.id in made:
            write_pins(folder / relay.id, _pinned(topology, relay, publics, folder))
    in_step = keep_directory(topology, authority, ids, home)
    return Made(made, left, directory_left=not in_step)


def _wanted(topology: Topology, publics: Mapping[str, bytes]) -> Iterator[_Wanted]:
    """Every identity of a topology, relays first."""
    for relay in topology.relays.values():
        dialled = _parents(relay) if relay.dial == "parent" else ()
        dials = tuple(_dial(topology.relays[name], publics) for name in dialled)
        yield _Wanted(relay_claim(topology, relay), dials, _relay_extra(topology, relay, publics))
    for point in topology.points.values():
        relay_id = point.relay or topology.root.id
        dials = tuple(_dial(topology.relays[name], publics) for name in (relay_id, *point.backups))
        extra: dict[str, Any] = {"kind": "point"} if point.relay else {"kind": "point", NEAREST: True}
        for section, specs in (("sources", point.sources), ("sinks", point.sinks)):
            if specs:  # what its machine needs of the topology to run them
                extra[section] = {name: dict(spec.table) for name, spec in specs.items()}
        yield _Wanted(point_claim(topology, point, topology.relays[relay_id]), dials, extra)


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


def _is_credential(known: Identity, wanted: _Wanted, authority: Authority) -> bool:
    """Whether its credential says what is wanted, by this authority, for a while yet."""
    lasts_ms = known.credential.not_after_ms - signing_ms()
    return (
        all(getattr(known.credential, name) == value for name, value in wanted.claim.items())
        and known.authority_key == authority.public
        and lasts_ms > CREDENTIAL_LIFE_MS // 3
    )


def _is_as(known: Identity, wanted: _Wanted, topology: Topology, authority: Authority) -> bool:
    settings = (known.dials, known.defaults, dict(known.extra))
    return _is_credential(known, wanted, authority) and settings == (wanted.dials, _defaults(topology), wanted.extra)


def _defaults(topology: Topology) -> Defaults:
    return Defaults(topology.defaults.label, dict(topology.defaults.ttl_ms))


def _save(
    folder: Path, known: Identity | None, wanted: _Wanted, keys: Keys, topology: Topology, authority: Authority
) -> None:
    """Write it. It is signed only if the credential that it has is not as wanted."""
    if known is not None and _is_credential(known, wanted, authority):
        raw = known.credential.raw
    else:
        now_ms = signing_ms()
        raw = mint(claim(wanted.claim, keys, now_ms, CREDENTIAL_LIFE_MS), authority.signer, authority.public).raw
    save_identity(
        folder, raw, fabric=topology.fabric, id_=wanted.id, authority_key=authority.public, secrets=keys,
        relay=wanted.dials[0] if wanted.dials else None, backups=wanted.dials[1:], defaults=_defaults(topology),
        extra=wanted.extra,
    )


def _known(folder: Path) -> Identity | None:
    return load_identity(folder) if (folder / "identity.json").is_file() else None


def relay_claim(topology: Topology, relay: RelaySpec) -> dict[str, Any]:
    """What a relay's credential says, but for keys and time."""
    return {
        "fabric": topology.fabric,
        "id": relay.id,
        "kind": NodeKind.RELAY,
        "organisation": relay.organisation,
        "communities": relay.communities,
        "client_of": relay.client_of,
        "clearance": relay.clearance,
        "segment": relay.segment,
        "tags": tuple(sorted(relay.tags.items())),
        "carries_sealed": relay.carries_sealed,
    }


def point_claim(topology: Topology, point: PointSpec, relay: RelaySpec) -> dict[str, Any]:
    """What a control point's credential says, but for keys and time."""
    return {
        "fabric": topology.fabric,
        "id": point.id,
        "kind": NodeKind.OPERATOR if point.kind == "operator" else NodeKind.POINT,
        "principal": topology.principal_of(point.id),
        "organisation": point.organisation,
        "communities": point.communities,
        "client_of": point.client_of,
        "clearance": point.clearance,
        "segment": relay.segment,
        "tags": tuple(sorted({**point.tags, "role": point.role}.items())),
        "grants": topology.grants_of(point.id),
    }


def _relay_extra(topology: Topology, relay: RelaySpec, publics: Mapping[str, bytes]) -> dict[str, Any]:
    dialled = [child for child in topology.relays.values() if child.dial == "child" and relay.id in _parents(child)]
    return {
        "kind": "relay",
        "listen": relay.listen,
        "parent": relay.parent or "",
        "parents": list(_parents(relay)),
        "children": [dial_out(_dial(child, publics)) for child in dialled],
        **({READERS: relay.readers_bytes} if relay.readers_bytes != READERS_BYTES else {}),
    }


def _parents(relay: RelaySpec) -> tuple[str, ...]:
    """The preferred one first, then its backups in order; of the root none."""
    return () if relay.parent is None else (relay.parent, *relay.backups)


def _dial(relay: RelaySpec, publics: Mapping[str, bytes]) -> Dial:
    return Dial(relay.id, relay.advertise, publics[relay.id])
