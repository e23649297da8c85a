"""The authority's directory of relays on disk (SPEC 6.6), and a copy for everybody who is to have it from the start.

    FABRIC_HOME/<fabric>/directory                 the newest; the relays of this machine take it up by themselves
    FABRIC_HOME/<fabric>/ids/<id>/directory        the same, so that a control point has it before it ever connects

Guarantees: a new version is signed only when a relay changed or the old one is about to end; a copy that is newer than
ours is not replaced.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path

from fabric.edge.identity.home import fabric_folder, ids_folder, revocations_path, write_private
from fabric.edge.identity.identity import DIRECTORY, load_identity, own_directory
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.trust.directory import Descriptor, RelayDirectory, issue_directory, verify_directory
from relays.authority.keeping import Authority
from relays.authority.lists import read_revocations
from relays.topology.model import RelaySpec, Topology
from relays.wall import signing_ms

DIRECTORY_LIFE_MS = 365 * 86_400_000


def directory_path(fabric: str, home: Path | None = None) -> Path:
    """Where this machine has the fabric's directory; `home` is FABRIC_HOME where it is not given."""
    return fabric_folder(fabric, home) / DIRECTORY


def keep_directory(
    topology: Topology, authority: Authority, ids: Collection[str], home: Path | None = None
) -> bool:
    """Bring what the directory says of these relays in step with their identities, and the copies with it.

    Others stay as it has them: False when any of those is out of step. A fabric that is too large for a directory has
    none, unless somebody needs it: then it raises TOO_LARGE.
    """
    fabric = topology.fabric
    path = directory_path(fabric, home)
    known, relays = _read(own_directory(path.parent), authority), _relays(topology, authority, home)
    partly = relays if set(topology.relays) <= set(ids) else _partly(known.relays, relays, ids)
    try:
        raw = known.raw if _is_in_step(known, partly) else _sign(path, known, partly, authority)
    except FabricError as error:
        if error.code is not Code.TOO_LARGE or topology.points_nearest():
            raise
        return True
    for id_ in [*topology.relays, *topology.points]:
        folder = ids_folder(fabric, home) / id_
        there = own_directory(folder)
        if there != raw and not _read(there, authority).supersedes(_read(raw, authority)):
            write_private(folder / DIRECTORY, raw)
    return partly == relays


def _relays(topology: Topology, authority: Authority, home: Path | None) -> tuple[Descriptor, ...]:
    """What the directory is to say: every relay of the topology that was not revoked."""
    revoked = read_revocations(revocations_path(topology.fabric, home), authority.public, topology.fabric).ids
    return tuple(_descriptor(relay, topology, home) for relay in topology.relays.values() if relay.id not in revoked)


def _partly(
    said: tuple[Descriptor, ...], wanted: tuple[Descriptor, ...], ids: Collection[str]
) -> tuple[Descriptor, ...]:
    """What is said by now, but of these relays what is wanted, and of those that are not in it yet."""
    before, now = {relay.id: relay for relay in said}, {relay.id: relay for relay in wanted}
    merged = {id_: now[id_] if id_ in now and id_ in ids else relay for id_, relay in before.items()}
    return tuple((merged | {id_: relay for id_, relay in now.items() if id_ not in before}).values())


def _is_in_step(known: RelayDirectory, relays: tuple[Descriptor, ...]) -> bool:
    """Whether it says that, for a while yet."""
    return known.relays == relays and known.not_after_ms - signing_ms() > DIRECTORY_LIFE_MS // 3


def _sign(path: Path, known: RelayDirectory, relays: tuple[Descriptor, ...], authority: Authority) -> bytes:
    # The version follows the clock, so that one made after an old backup was restored is newer than all before it.
    now_ms = signing_ms()
    version = max(known.version + 1, now_ms // 1_000)
    raw = issue_directory(authority.fabric, version, now_ms, now_ms + DIRECTORY_LIFE_MS, relays, authority.signer)
    write_private(path, raw)
    return raw


def _read(raw: bytes, authority: Authority) -> RelayDirectory:
    """What it says; nothing where it is not this authority's."""
    found = verify_directory(raw, authority.public, authority.fabric)
    return RelayDirectory() if isinstance(found, Reject) else found


def _descriptor(relay: RelaySpec, topology: Topology, home: Path | None) -> Descriptor:
    credential = load_identity(ids_folder(topology.fabric, home) / relay.id).credential
    return Descriptor(
        relay.id, (relay.advertise,), credential.curve_key, relay.segment,
        tuple(ipaddress.ip_network(network) for network in relay.serves), relay.clearance,
        credential.not_before_ms, credential.not_after_ms,
    )
