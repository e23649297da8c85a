"""`fabric relay run` and `fabric bundle`: one relay, here or on a machine of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError
from relays.authority import are_in_step, make_only, open_authority
from relays.bundle import make_bundle
from relays.cli.shared.exits import command
from relays.cli.shared.passphrase import PassphraseFile, passphrase_from
from relays.logs import set_up_logs
from relays.run import run_relay
from relays.terminal import say, say_json
from relays.topology import asserts

app = typer.Typer(no_args_is_help=True, help="Run one relay on its own machine.\n\nExample: fabric relay run hq topologies/minimal.toml")


@app.command("run")
@command
def run(
    name: Annotated[str, typer.Argument(help="The relay's id.")],
    source: Annotated[Path, typer.Argument(help="A topology file, or the relay's bundle.", exists=True)],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Logs as JSON, also on a terminal.")] = False,
) -> None:
    """One relay in the foreground, as a service manager starts it. Stops on SIGTERM.

    Exit codes: 0 stopped, 1 cannot run, 75 restart me, 77 drained.

    Example: fabric relay run hq topologies/minimal.toml
    """
    set_up_logs(log_level, True if as_json else None)
    if source.is_dir():
        folder = source
        if load_identity(folder).id != name:
            raise FabricError(Code.USAGE, f"{source} is not the bundle of {name}", "name the relay that it was made for")
    else:
        topology = asserts.load_proven(source)
        if name not in topology.relays:
            raise FabricError(Code.USAGE, f"no relay {name}", f"write one of: {', '.join(topology.relays)}")
        folder = ids_folder(topology.fabric) / name
        if not folder.is_dir():
            make_only(topology, open_authority(topology.fabric, passphrase=passphrase_from(passphrase_file)), [name])
    raise typer.Exit(run_relay(folder, None))


@command
def bundle(
    name: Annotated[str, typer.Argument(help="The relay's id.", metavar="RELAY")],
    file: Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    sign: Annotated[list[str] | None, typer.Option("--sign", metavar="ID", help="Issue this one again too, where the file says something else of it; again for more.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """What one relay needs on its own machine: its configuration and keys only, a systemd unit, a start script.

    Whoever has no identity yet is given one. Of those who have, only this relay is issued again, where the file says
    something else of it, and whoever --sign names: others are named and left as they are, because running nodes take up
    a new credential by themselves.

    Exit codes: 0 done, 1 the authority is not here, 5 wrong passphrase.

    Examples:

      fabric bundle plant-1 topologies/enterprise.toml -o /tmp/plant-1

      fabric bundle plant-1 topologies/enterprise.toml -o /tmp/plant-1 --sign fw-p1
    """
    topology = asserts.load_proven(file)
    if name not in topology.relays:
        raise FabricError(Code.USAGE, f"no relay {name}", f"write one of: {', '.join(topology.relays)}")
    unknown = [id_ for id_ in sign or [] if id_ not in topology.relays and id_ not in topology.points]
    if unknown:
        raise FabricError(Code.USAGE, f"{file} has no {unknown[0]}", "name a relay or a control point of the file")
    authority = open_authority(topology.fabric, passphrase=passphrase_from(passphrase_file))
    made, left, directory_left = make_only(topology, authority, [name, *(sign or [])])
    policies_left = not are_in_step(topology, authority)
    files = make_bundle(ids_folder(topology.fabric) / name, output)
    if as_json:
        say_json({"relay": name, "folder": str(output), "files": files, "issued": made, "left": left,
                  "directory_left": directory_left, "policies_left": policies_left})
        return
    if made:
        say(f"issued: {', '.join(made)}")
    if left:
        say(f"left as they are, though {file} says something else of them: {', '.join(left)}",
            f"  next: where it is meant, {' '.join(f'--sign {id_}' for id_ in left)}")
    if directory_left:
        say(f"left as it is, though {file} says something else of other relays: the directory of relays",
            f"  next: where it is meant, fabric up {file}")
    if policies_left:
        say(f"left as they are, though {file} asks for other approvals: the policies of all nodes",
            f"  next: where it is meant, fabric authority policies {file}")
    say(f"{output}: {', '.join(files)}", f"Copy it to the relay's machine and run {output.name}/start there.")
