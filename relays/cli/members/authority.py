"""`fabric authority ...`: the key that signs, and who may sign for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from fabric.edge.identity.home import ids_folder, revocations_path
from fabric.edge.identity.identity import Identity, load_identity
from fabric.edge.publishing.options import to_label
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.trust.credentials import name_ok
from relays.authority import (
    Authority,
    Delegation,
    allow_from,
    authorities,
    back_up,
    delegate,
    keep_list,
    keep_policies,
    new_authority,
    open_authority,
    read_policies,
    reasons,
    restore_authority,
)
from relays.authority.credentials import description, identities_here
from relays.authority.lists import read_revocations
from relays.cli.shared.exits import command
from relays.cli.shared.options import AlsoFabric, to_kinds, to_names, to_tags, wall_ms
from relays.cli.shared.passphrase import PassphraseFile, passphrase_from
from relays.cli.tree.running import running_relays, tell_unreached
from relays.terminal import say, say_json
from relays.topology import loader
from relays.wall import of_version

app = typer.Typer(no_args_is_help=True, help="The key that signs credentials, and who may sign for it.\n\nExample: fabric authority show enterprise")
Fabric = Annotated[str | None, typer.Argument(help="The fabric's name, as in its topology; the same as --fabric.")]
OrFabric = Annotated[str | None, typer.Argument(help="Which fabric; not needed where one authority is.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object.")]
Names = list[str] | None


@app.callback()
def group() -> None:
    """The key that signs credentials. Keep its folder on one machine, and a backup of it offline."""


@app.command()
@command
def init(fabric: Fabric = None, fabric_: AlsoFabric = None, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Make the authority of a fabric on this machine. One that is there stays, and is named (E940).

    Its key is kept sealed under a passphrase. Compare the fingerprint by eye where somebody joins.

    Exit codes: 0 made, 1 there is one already, 5 no passphrase.

    Examples:

      fabric authority init enterprise

      fabric authority init enterprise --passphrase-file /run/secrets/authority
    """
    name = fabric or fabric_
    if not name:
        raise FabricError(Code.USAGE, "of which fabric?", "name it as its topology does: fabric authority init FABRIC")
    if not name_ok(name):
        raise FabricError(Code.USAGE, f"{name!r} is no fabric's name", "use lower case letters, digits and -")
    _tell(new_authority(name, passphrase=passphrase_from(passphrase_file, new=True)), as_json)


@app.command()
@command
def show(fabric: OrFabric = None, fabric_: AlsoFabric = None, as_json: AsJson = False) -> None:
    """The authority's fingerprint, to compare by eye; how its key is kept; its revocation list; and of which organisations
    the identities on this machine are: whose clients, in which communities.

    Exit codes: 0 shown, 1 it is not here.

    Example: fabric authority show enterprise
    """
    _tell(_the_one(fabric or fabric_), as_json)


def _the_one(fabric: str | None) -> Authority:
    here = authorities()
    if not fabric and len(here) != 1:
        raise FabricError(
            Code.USAGE, f"of which fabric? There are {', '.join(here)}" if here else "no authority is on this machine",
            "name it" if here else "make one: fabric authority init FABRIC",
        )
    return open_authority(fabric or here[0])


@app.command()
@command
def backup(
    output: Annotated[Path, typer.Option("-o", "--output", help="A new file.")],
    fabric: OrFabric = None,
    fabric_: AlsoFabric = None,
    as_json: AsJson = False,
) -> None:
    """One file with the sealed key and the revocation list, for a safe. It is worth nothing without the passphrase.

    Exit codes: 0 written, 1 it is not here.

    Example: fabric authority backup enterprise -o enterprise-authority.json
    """
    authority = _the_one(fabric or fabric_)
    back_up(authority, output)
    if as_json:
        say_json({"fabric": authority.fabric, "file": str(output), "key": authority.public.hex()})
    else:
        say(f"{output}: the authority of {authority.fabric}, sealed", f"fingerprint {authority.fingerprint}")


@app.command()
@command
def restore(
    file: Annotated[Path, typer.Argument(help="What `fabric authority backup` wrote.", exists=True, dir_okay=False)],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take an authority from its backup to this machine. The passphrase is tried first.

    Exit codes: 0 restored, 1 failed, 5 wrong passphrase.

    Example: fabric authority restore enterprise-authority.json
    """
    _tell(restore_authority(file, passphrase_from(passphrase_file)), as_json)


def _tell(authority: Authority, as_json: bool) -> None:
    if as_json:
        say_json({
            "revocations": _revocations(authority), "fabric": authority.fabric, "key": authority.public.hex(), "fingerprint": authority.fingerprint,
            "folder": str(authority.folder), "protected": authority.protected,
            "organisations": [
                {"organisation": of.name, "client_of": of.client_of, "communities": of.communities, "identities": count}
                for of, count in _organisations(authority.fabric).items()
            ],
        })
        return
    said = _revocations(authority)
    kept = "sealed under a passphrase" if authority.protected else "without a passphrase: for trying things only"
    say(f"authority of {authority.fabric} in {authority.folder}, {kept}", f"fingerprint {authority.fingerprint}")
    if said["version"]:
        left = format_duration(max(0, (said["until_ms"] - wall_ms()) // 3_600_000 * 3_600_000))
        say(f"revocation list {of_version(said['version'])}, for another {left}")
        if said["floor"]:
            say(f"protocol {said['floor']} is the lowest that is allowed")
    for id_, why in said["revoked"].items():
        say(f"  {id_}{': ' + why if why else ''}")
    for of, count in _organisations(authority.fabric).items():
        said_of = [f"client of {', '.join(of.client_of)}"] if of.client_of else []
        said_of += [f"in {', '.join(of.communities)}"] if of.communities else []
        say("; ".join([f"organisation {of.name}: {count:,} identities on this machine", *said_of]))


class _Organisation(NamedTuple):
    """What credentials say of whose they are."""

    name: str
    client_of: tuple[str, ...]
    communities: tuple[str, ...]


def _organisations(fabric: str) -> Counter[_Organisation]:
    """How many identities of a fabric there are on this machine of each; those that cannot be read are left out."""
    found = [each.credential for each in identities_here(fabric) if isinstance(each, Identity)]
    return Counter(_Organisation(each.organisation, each.client_of, each.communities) for each in found)


def _revocations(authority: Authority) -> dict[str, Any]:
    """The list on this machine: who is on it, why, and how long it holds."""
    path = revocations_path(authority.fabric)
    known, why = read_revocations(path, authority.public, authority.fabric), reasons(authority)
    return {
        "version": known.version, "floor": known.floor, "until_ms": known.not_after_ms,
        "revoked": {id_: why.get(id_, "") for id_ in sorted(known.ids)},
    }


@app.command("policies")
@command
def policies_(
    file: Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False)],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign the approval policies of a topology file, where they changed. Relays that run here take them up within a
    second, and pass them on to every node; `fabric status` shows who has which.

    Exit codes: 0 they are as the file has them, 1 failed, 5 wrong passphrase.

    Example: fabric authority policies topologies/enterprise.toml
    """
    topology = loader.load(file)
    authority = open_authority(topology.fabric, passphrase=passphrase_from(passphrase_file))
    before = read_policies(authority)
    found = keep_policies(topology, authority)
    if found.version:
        keep_list(authority)  # it says their version: whoever has the list knows that they are to come
    changed = found.version != before.version
    if as_json:
        say_json({
            "fabric": topology.fabric, "version": found.version, "changed": changed,
            "rules": [rule.name for rule in found.rules], "classes": dict(found.classes),
        })
        return
    if not found.version:
        say(f"{file} asks for no approvals, and there were none")
        return
    say(f"approval policies {of_version(found.version)}, {'signed now' if changed else 'as before'}: "
        f"{', '.join(rule.name for rule in found.rules) or 'no rule'}")


@app.command("floor")
@command
def floor_(
    version: Annotated[int, typer.Argument(min=0, help="The lowest that may be spoken; 0 allows any.")],
    fabric: OrFabric = None,
    fabric_: AlsoFabric = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which version of the protocol links have at least. It travels with the revocation list: links of a lower
    version are cut, and whoever speaks no higher one is refused (E105). `fabric status` shows who that would be: look
    before you raise it. A lower floor is signed the same way.

    Exit codes: 0 signed, 1 it is not here, or this program speaks no such version, 5 wrong passphrase.

    Example: fabric authority floor 1 enterprise
    """
    named = _the_one(fabric or fabric_).fabric
    made = allow_from(open_authority(named, passphrase=passphrase_from(passphrase_file)), version)
    if as_json:
        say_json({"fabric": named, "floor": made.floor, "version": made.version, "relays_here": running_relays(named)})
    else:
        say(f"{named}: {f'version {made.floor} of the protocol or later' if made.floor else 'any version of the protocol'}")
        tell_unreached(named)


@app.command("delegate")
@command
def delegate_(
    issuer: Annotated[str, typer.Argument(metavar="ISSUER", help="A name for the issuer.")],
    file: Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False)],
    relay: Annotated[str, typer.Option("--relay", help="The relay that it is at; it serves this one and all below.")],
    role: Annotated[list[str], typer.Option("--role", help="A role that it may give; again for more.")],
    segment: Annotated[Names, typer.Option("--segment", help="Default: the relay's; again for more.")] = None,
    clearance: Annotated[str | None, typer.Option("--clearance", help="The highest that it may give. Default: the relay's.")] = None,
    ids: Annotated[Names, typer.Option("--ids", metavar="PATTERN", help="Ids that it may give. Default: RELAY-*")] = None,
    kind: Annotated[Names, typer.Option("--kind", help="point (default), operator, relay or issuer; again for more.")] = None,
    principal: Annotated[Names, typer.Option("--principal", metavar="PATTERN", help="Default: as --ids.")] = None,
    tag: Annotated[Names, typer.Option("--tag", metavar="NAME=VALUE", help="A tag that it may give; VALUE may end in *.")] = None,
    community: Annotated[Names, typer.Option("--community", help="A community that it may give. Default: the relay's; again for more.")] = None,
    client_of: Annotated[Names, typer.Option("--client-of", help="A provider whose client it may make. Default: the relay's.")] = None,
    life: Annotated[str, typer.Option("--life", metavar="365d", help="How long the issuer's own credential is valid.")] = "365d",
    by: Annotated[str | None, typer.Option("--by", metavar="ISSUER", help="An issuer on this machine that signs, instead of the authority.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an issuer: it gives credentials within what is said here and nothing else, and every relay checks that.

    Start it with `fabric issuer run`, on this machine or, with its folder, on one at its relay.

    Exit codes: 0 issued, 1 the authority is not here, 5 wrong passphrase, or more than whoever signs may give.

    Examples:

      fabric authority delegate plant-1-issuer topologies/enterprise.toml --relay plant-1 --role sensor --role firewall

      fabric authority delegate plant-1-issuer topologies/enterprise.toml --relay plant-1 --role sensor \\
             --segment plant-1 --segment cell-1a --ids 'p1-*' --clearance green --life 90d
    """
    topology = loader.load(file)
    label = None if clearance is None else to_label(clearance)
    wanted = Delegation(
        issuer, relay, tuple(role), tuple(ids or ()), to_kinds(kind or ["point"]),
        tuple(segment or ()), label, to_names(community, "--community", patterns=True),
        to_names(client_of, "--client-of", patterns=True), to_tags(tag), tuple(principal or ()), parse_duration(life),
    )
    above = (
        load_identity(ids_folder(topology.fabric) / by) if by is not None
        else open_authority(topology.fabric, passphrase=passphrase_from(passphrase_file))
    )
    made = delegate(topology, wanted, above)
    if as_json:
        say_json(description(made))
    else:
        say(f"issued {issuer} in {ids_folder(topology.fabric) / issuer}",
            f"start it with: fabric issuer run --as {topology.fabric}/{issuer}")
