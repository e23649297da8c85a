"""`fabric authority init` and `fabric revoke`: who is in, and who no longer is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fabric.edge.home import fabric_folder
from fabric.protocol.credentials import name_ok
from fabric.protocol.errors import Code, FabricError
from relays.authority import init_authority, revoke
from relays.cli.exits import command

app = typer.Typer(no_args_is_help=True, help="The key that signs credentials.")
Fabric = Annotated[str, typer.Argument(help="The fabric's name, as in its topology.")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.callback()
def group() -> None:
    """The key that signs credentials. Keep its folder on one machine, and a copy of it offline."""


@app.command()
@command
def init(fabric: Fabric, as_json: AsJson = False) -> None:
    """Make the authority of a fabric on this machine; nothing happens when it is there.

    Example: fabric authority init enterprise
    """
    if not name_ok(fabric):
        raise FabricError(Code.USAGE, f"{fabric!r} is no fabric's name", "use lower case letters, digits and -")
    authority = init_authority(fabric)
    if as_json:
        print(json.dumps({"fabric": fabric, "key": authority.signer.public.hex(), "folder": str(authority.folder)}))
    else:
        print(f"authority of {fabric} in {authority.folder}\nfingerprint {authority.fingerprint}")


@command
def revoke_(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Relays or control points that must go.")],
    fabric: Annotated[str, typer.Option("--fabric", help="The fabric's name.")],
    as_json: AsJson = False,
) -> None:
    """Put identities on the authority's revocation list. The relays of this machine take it up within a second and
    pass it down; live links are cut. An id that was revoked is never used again.

    Example: fabric revoke zeek-p1 --fabric enterprise
    """
    for id_ in ids:
        if not (fabric_folder(fabric) / "ids" / id_).is_dir():
            raise FabricError(Code.NO_IDENTITY, id_, f"name one of those in {fabric_folder(fabric) / 'ids'}")
    version = revoke(fabric, ids)
    print(json.dumps({"version": version, "revoked": ids}) if as_json else f"revoked {', '.join(ids)} (list {version})")
