"""Who asks, and who is where: what a command can know of that on this machine, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fabric.edge.identity.home import fabric_folder, revocations_path
from fabric.edge.identity.identity import Defaults, Identity, find_identity, own_policies
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.policies import Policies, verify_policies
from fabric.protocol.trust.revocations import Revocations
from relays.authority.lists import read_revocations
from relays.explaining import Asker, Tree, asker_of, tree_here, tree_of
from relays.topology import loader, model
from relays.wall import wall_ms

File = Annotated[Path | None, typer.Option(
    "--topology", metavar="FILE", exists=True, dir_okay=False,
    help="Who is where; default: the identities on this machine.",
)]


class Scene(NamedTuple):
    """`identity`: None where only the file knows the asker. `differs`: the file says other than the credential."""

    asker: Asker
    tree: Tree
    defaults: Defaults
    identity: Identity | None
    revocations: Revocations | None
    differs: bool
    policies: Policies  # the file's, where one is named; else the newest on this machine


def scene_of(name: str, file: Path | None) -> Scene:
    """A credential on this machine decides, as it does at relays; the file says who is where."""
    topology = None if file is None else loader.load(file)
    tree = Tree() if topology is None else tree_of(topology)
    placed = tree.points.get(name)
    try:
        here = find_identity(name if topology is None or "/" in name else f"{topology.fabric}/{name}")
    except FabricError as error:
        if error.code is not Code.NO_IDENTITY or topology is None or placed is None:
            raise
        defaults = Defaults(topology.defaults.label, topology.defaults.ttl_ms)
        nearest = topology.points[name].relay is None
        return Scene(Asker(placed.credential, placed.above, nearest=nearest), tree, defaults, None, None, False, rules_of(topology))
    if topology is not None and topology.fabric != here.fabric:
        raise FabricError(Code.WRONG_FABRIC, f"{here.id} is of {here.fabric}, {file} of {topology.fabric}")
    path = revocations_path(here.fabric)
    revocations = read_revocations(path, here.authority_key, here.fabric) if path.is_file() else None
    known = policies_here(here)
    policies = known if topology is None else rules_of(topology)
    placed = tree.points.get(here.id)
    asker = asker_of(here, revocations or Revocations(), wall_ms(), known)
    if placed is None:
        tree = tree if topology else tree_here(here.fabric)
        return Scene(asker, tree, here.defaults, here, revocations, False, policies)
    said, has = placed.credential, here.credential
    differs = any(
        getattr(said, name) != getattr(has, name)
        for name in ("grants", "clearance", "tags", "organisation", "communities", "client_of")
    )
    return Scene(replace(asker, relay=placed.above), tree, here.defaults, here, revocations, differs, policies)


def rules_of(topology: model.Topology) -> Policies:
    """As the authority would sign them."""
    rules = sorted([spec.rule for spec in topology.approvals], key=lambda rule: rule.demand)
    return Policies(0, 0, tuple(rules), topology.classes)


def policies_here(identity: Identity) -> Policies:
    """The newest of its authority's that this machine has."""
    newest = Policies()
    for folder in (fabric_folder(identity.fabric), identity.folder):
        found = verify_policies(own_policies(folder), identity.authority_key, identity.fabric)
        if isinstance(found, Policies) and found.supersedes(newest):
            newest = found
    return newest
