"""Where the topology and what the authority signed differ: who has an identity and is not in the file any more (which
takes nothing away from it), and who is in the file and was revoked (which gives nothing back to it).

    FABRIC_HOME/<fabric>/run/_topology.json    the ids of the topology that was run last on this machine

Only identities whose folder is on this machine are found: the authority keeps no other list of what it signed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from fabric.documents import parse_object
from fabric.edge.identity.home import fabric_folder, ids_folder, make_private, revocations_path, write_private
from fabric.edge.identity.identity import Identity, load_identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import NodeKind
from relays.authority.lists import read_revocations
from relays.topology.model import Topology
from relays.topology.problems import Problem
from relays.wall import wall_ms


def strays(fabric: str, known: Collection[str], home: Path | None = None) -> list[str]:
    """The ids on this machine that the authority vouches for, and that are none of `known`, by name.

    Left out: issuers and their members, who are in no file; whoever is revoked or whose time is over; folders that
    cannot be read.
    """
    found = [_identity(folder) for folder in sorted(ids_folder(fabric, home).glob("*/"))]
    return [
        identity.id for identity in found
        if identity is not None and identity.fabric == fabric and identity.id not in known and _counts(identity, home)
    ]


def barred(fabric: str, known: Collection[str], home: Path | None = None) -> list[str]:
    """Those of `known` that are revoked, as far as this machine knows: no relay lets them in."""
    folders = (ids_folder(fabric, home) / id_ for id_ in known)
    identity = next(filter(None, map(_identity, folders)), None)
    if identity is None:
        return []
    try:
        revoked = read_revocations(revocations_path(fabric, home), identity.authority_key, fabric).ids
    except (FabricError, OSError):
        return []
    return [id_ for id_ in known if id_ in revoked]


def barred_words(id_: str, fabric: str, home: Path | None = None) -> str:
    """What to say of one, with what helps."""
    return f"{id_} is in the topology and is revoked: no relay lets it in; {_anew(fabric, home)}"


def _anew(fabric: str, home: Path | None) -> str:
    folder = fabric_folder(fabric, home)
    return (
        "give it another id in the file, since one is never used again; or, of a fabric for trying things, begin anew: "
        f"`fabric down {fabric}`, delete {folder}, then `fabric up` as before"
    )


def check_strays(topology: Topology, home: Path | None = None) -> Iterator[Problem]:
    """Each as a warning about the topology's file."""
    for table, ids in (("relays", topology.relays), ("points", topology.points)):
        for id_ in barred(topology.fabric, list(ids), home):
            cause = f"{id_} is revoked: no relay lets it in"
            yield Problem(Code.REVOKED, f"{table}.{id_}", cause, _anew(topology.fabric, home), "warning")
    for id_ in strays(topology.fabric, [*topology.relays, *topology.points], home):
        cause = f"{id_} has an identity and is not in the file: it goes on as before"
        yield Problem(Code.TOPOLOGY_INVALID, "", cause, f"fabric revoke {id_}, or keep it in the file", "warning")


def keep_ids(topology: Topology, home: Path | None = None) -> None:
    """Remember who is in the topology that is run: `fabric status` has no file to ask."""
    folder = make_private(fabric_folder(topology.fabric, home) / "run")
    ids = [*topology.relays, *topology.points]
    write_private(folder / "_topology.json", json.dumps({"ids": ids}).encode())


def kept_ids(fabric: str, home: Path | None = None) -> list[str] | None:
    """Who was in the topology that was run last; None where that is not known."""
    try:
        document = parse_object((fabric_folder(fabric, home) / "run" / "_topology.json").read_bytes())
        return [str(id_) for id_ in document["ids"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stray_words(id_: str) -> str:
    """What to say of one, with the command that ends it."""
    return f"{id_} has an identity and is not in the topology: it goes on as before until `fabric revoke {id_}`"


def _identity(folder: Path) -> Identity | None:
    try:
        return load_identity(folder)
    except FabricError:
        return None


def _counts(identity: Identity, home: Path | None) -> bool:
    credential = identity.credential
    if credential.issuers or credential.kind is NodeKind.ISSUER:
        return False
    if credential.not_after_ms <= wall_ms():
        return False
    try:
        revoked = read_revocations(revocations_path(identity.fabric, home), identity.authority_key, identity.fabric)
    except FabricError:
        return True
    return identity.id not in revoked.ids
