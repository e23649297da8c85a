"""A plant's own issuer: what it may give, written into its credential and beside it.

    ids/<issuer>/identity.json   also holds "roles": name -> grants, so that it needs no topology file to hand them out

Guarantees: an issuer may give no more than the roles, segments and names that it was made with, however it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import Defaults, Dial, Identity, load_identity, save_identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import (
    Credential,
    Grants,
    Issuing,
    Keep,
    NodeKind,
    encode_grants,
    name_ok,
)
from fabric.protocol.vocabulary.tlp import Label
from relays.authority.keeping import Authority
from relays.authority.minting import claim, keys_of, mint
from relays.process.pins import add_pin
from relays.topology.model import RelaySpec, Topology
from relays.wall import signing_ms

ISSUER_LIFE_MS = 365 * 86_400_000


@dataclass(frozen=True)
class Delegation:
    """What an issuer is to be able to give. Empty means: what follows from its relay."""

    id: str
    relay: str
    roles: tuple[str, ...]
    ids: tuple[str, ...] = ()
    kinds: tuple[NodeKind, ...] = (NodeKind.POINT,)
    segments: tuple[str, ...] = ()
    clearance: Label | None = None
    communities: tuple[str, ...] = ()
    client_of: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    principals: tuple[str, ...] = ()
    life_ms: int = ISSUER_LIFE_MS


def delegate(
    topology: Topology, wanted: Delegation, by: Authority | Identity, home: Path | None = None
) -> Credential:
    """Make an issuer on this machine, or issue one that is here anew, by the authority or by an issuer above it."""
    relay = topology.relays.get(wanted.relay)
    if relay is None:
        raise FabricError(Code.USAGE, f"no relay {wanted.relay}", f"write one of: {', '.join(topology.relays)}")
    unknown = [role for role in wanted.roles if role not in topology.roles]
    if unknown or not wanted.roles:
        raise FabricError(
            Code.USAGE, f"no role {unknown[0]}" if unknown else "an issuer without a role can give nothing",
            f"write --role with one of: {', '.join(topology.roles)}",
        )
    if not name_ok(wanted.id) or wanted.id in topology.relays or wanted.id in topology.points:
        raise FabricError(Code.USAGE, f"{wanted.id!r} is no free name", "use lower case letters, digits and -")
    folder = ids_folder(topology.fabric, home) / wanted.id
    keys = keys_of(folder)
    own: dict[str, Any] = {
        "fabric": topology.fabric, "id": wanted.id, "kind": NodeKind.ISSUER, "organisation": relay.organisation,
        "communities": relay.communities, "client_of": relay.client_of,
        "clearance": Label.CLEAR, "segment": relay.segment, "issuing": _issuing(topology, wanted),
    }
    above = by.credential if isinstance(by, Identity) else None
    authority_key = by.authority_key if isinstance(by, Identity) else by.public
    now_ms = signing_ms()
    made = mint(claim(own, keys, now_ms, wanted.life_ms, above), by.signer, authority_key, above)
    save_identity(
        folder, made.raw, fabric=topology.fabric, id_=wanted.id, authority_key=authority_key, secrets=keys,
        relay=_dial(topology, wanted.relay, home),
        defaults=Defaults(topology.defaults.label, dict(topology.defaults.ttl_ms)),
        extra={
            "kind": "issuer", "at": wanted.relay,
            "roles": {role: encode_grants(topology.roles[role].grants) for role in wanted.roles},
        },
    )
    _pin(topology, relay, made, home)
    return made


def _pin(topology: Topology, relay: RelaySpec, issuer: Credential, home: Path | None) -> None:
    """A relay that lets only pinned keys knock takes this one, within a second when it runs on this machine."""
    if relay.admission == "pinned":
        add_pin(ids_folder(topology.fabric, home) / relay.id, issuer.id, issuer.curve_key)


def _issuing(topology: Topology, wanted: Delegation) -> Issuing:
    relay = topology.relays[wanted.relay]
    ids = wanted.ids or (f"{wanted.relay}-*",)
    return Issuing(
        ids=ids,
        kinds=wanted.kinds,
        segments=wanted.segments or (relay.segment,),
        organisations=(relay.organisation,),
        clearance=relay.clearance if wanted.clearance is None else wanted.clearance,
        communities=wanted.communities or relay.communities,
        client_of=wanted.client_of or relay.client_of,
        tags=(*(("role", role) for role in wanted.roles), *wanted.tags),
        principals=wanted.principals or ids,
        grants=_together([topology.roles[role].grants for role in wanted.roles]),
    )


def _together(grants: Sequence[Grants]) -> Grants:
    keep = reduce(Keep.with_, (each.kept for each in grants)) if any(each.keep for each in grants) else None
    every: dict[str, Any] = {
        name: tuple(dict.fromkeys(grant for each in grants for grant in getattr(each, name)))
        for name in ("publish", "subscribe", "request", "execute", "approve", "declassify")
    }
    return Grants(**every, keep=keep)


def _dial(topology: Topology, relay: str, home: Path | None) -> Dial:
    known = load_identity(ids_folder(topology.fabric, home) / relay)
    return Dial(relay, topology.relays[relay].advertise, known.credential.curve_key)
