"""Who joined: what the registers on this machine say, beside what a topology says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential
from relays.issuing.register import Register, register_path
from relays.topology.model import Topology
from relays.topology.problems import Problem


class Joined(NamedTuple):
    """A member of a register on this machine, and the id of the issuer whose register that is."""

    issuer: str
    credential: Credential


def members_here(fabric: str, home: Path | None = None) -> list[Joined]:
    """The members of every issuer on this machine, by id. What cannot be read any more is left out."""
    found: list[Joined] = []
    for path in sorted(ids_folder(fabric, home).glob("*/" + register_path(Path()).name)):
        try:
            issuer = load_identity(path.parent)
            with Register(path, read_only=True) as register:
                members = register.members()
        except FabricError:
            continue
        for member in members:
            credential = verify_credential(member.credential, issuer.authority_key, fabric)
            if not isinstance(credential, Reject):
                found.append(Joined(issuer.id, credential))
    return sorted(found, key=lambda joined: joined.credential.id)


def check_members(topology: Topology, members: list[Joined]) -> Iterator[Problem]:
    """Where those who joined and the file do not agree."""
    segments = {relay.segment for relay in topology.relays.values()}
    for issuer, credential in members:
        id_, role = credential.id, dict(credential.tags).get("role", "")
        if id_ in topology.points or id_ in topology.relays:
            table = "points" if id_ in topology.points else "relays"
            yield Problem(
                Code.REUSED_ID, f"{table}.{id_}", f"{id_} joined through {issuer}, with keys of its own",
                "use another name here: an id has one pair of keys",
            )
        if credential.segment not in segments:
            yield _warning(f"{id_} joined through {issuer} in segment {credential.segment}, which no relay has",
                           f"revoke it, or add a relay with segment = {credential.segment!r}")
        if role not in topology.roles:
            yield _warning(f"{id_} joined through {issuer} as {role}, which is no role here any more",
                           f"revoke it, or keep [roles.{role}]")
        elif topology.roles[role].grants != credential.grants:
            yield _warning(f"{id_} joined through {issuer} as {role} as it was then: its grants are others",
                           "delegate to the issuer anew, revoke it, and let it join again")


def _warning(cause: str, write: str) -> Problem:
    return Problem(Code.TOPOLOGY_INVALID, "", cause, write, "warning")
