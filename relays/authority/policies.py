"""The authority's approval policies on disk (SPEC 6.7), and a copy for everybody who is to have them from the start.

    FABRIC_HOME/<fabric>/policies                 the newest; the relays of this machine take them up by themselves
    FABRIC_HOME/<fabric>/ids/<id>/policies        the same, so that a node goes by them before it ever connects

Guarantees: a new version is signed only when a rule or a class changed; a copy that is newer than ours is not replaced.
Once there are policies a fabric always has some: a file without rules is told to all as one that asks for nobody.
"""

from __future__ import annotations

from pathlib import Path

from fabric.edge.identity.home import fabric_folder, ids_folder, write_private
from fabric.edge.identity.identity import POLICIES, own_policies
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.signing import Signer
from fabric.protocol.trust.policies import Policies, issue_policies, verify_policies
from relays.authority.keeping import Authority, alone
from relays.topology.model import Topology
from relays.wall import signing_ms


def read_policies(authority: Authority, home: Path | None = None) -> Policies:
    """What is on disk; none where there are none. Raises STALE_POLICIES for what is not the authority's."""
    path = fabric_folder(authority.fabric, home) / POLICIES
    if not path.is_file():
        return Policies()
    found = verify_policies(own_policies(path.parent), authority.public, authority.fabric)
    if isinstance(found, Reject):
        raise FabricError(found.code, str(path))
    return found


def are_in_step(topology: Topology, authority: Authority, home: Path | None = None) -> bool:
    """Whether the policies on disk say what the topology does."""
    known = read_policies(authority, home)
    return set(known.rules) == {spec.rule for spec in topology.approvals} and known.classes == topology.classes


def keep_policies(
    topology: Topology, authority: Authority, home: Path | None = None, *, only_first: bool = False
) -> Policies:
    """Bring the policies in step with a topology, and the copies with them; `only_first`: sign none but the first."""
    known = read_policies(authority, home)
    if not are_in_step(topology, authority, home) and not (only_first and known.version):
        signer = authority.signer  # somebody may have to type for it: not while others wait
        with alone(authority):
            known = _sign(topology, read_policies(authority, home), signer, authority, home)
    if known.version:
        for id_ in [*topology.relays, *topology.points]:
            _copy(known, ids_folder(topology.fabric, home) / id_, authority)
    return known


def _sign(
    topology: Topology, known: Policies, signer: Signer, authority: Authority, home: Path | None
) -> Policies:
    # The version follows the clock, so that one made after an old backup was restored is newer than all before it.
    now_ms = signing_ms()
    version = max(known.version + 1, now_ms // 1_000)
    rules = [spec.rule for spec in topology.approvals]
    raw = issue_policies(authority.fabric, version, now_ms, rules, topology.classes, signer)
    made = verify_policies(raw, authority.public, authority.fabric)
    if isinstance(made, Reject):
        raise FabricError(Code.TOPOLOGY_INVALID, f"approval: {made.detail}")  # the loader lets no such file through
    write_private(fabric_folder(authority.fabric, home) / POLICIES, raw)
    return made


def _copy(policies: Policies, folder: Path, authority: Authority) -> None:
    there = own_policies(folder)
    found = verify_policies(there, authority.public, authority.fabric)
    if there != policies.raw and (isinstance(found, Reject) or policies.supersedes(found)):
        write_private(folder / POLICIES, policies.raw)
