"""All commands, in the order in which somebody meets them."""

from __future__ import annotations

from typing import Annotated

import typer

import fabric
from relays.cli import (
    actions,
    authority,
    credential,
    drain,
    explain,
    joining,
    nearest,
    notices,
    points,
    relay,
    revoking,
    running,
    topology,
)
from relays.logs import set_up_logs
from relays.terminal import say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Message Fabric: signed, labelled security messages through a tree of relays. "
    "State lives in FABRIC_HOME. Exit codes: 0 done, 1 failed, 2 usage, 3 partly, 4 nobody selected, 5 denied, "
    "6 timed out or count short, 69 unreachable, 130 and 143 stopped by Ctrl-C and SIGTERM; what runs until it is "
    "stopped (up, edge run, issuer run, relay run, send --follow) ends in order then, with 0.",
)


def _version(value: bool) -> None:
    if value:
        say(f"message-fabric {fabric.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what happens on the connection.")] = False,
) -> None:
    """Message Fabric."""
    del version
    set_up_logs("debug" if verbose else "error")


app.add_typer(topology.app, name="topology")
app.command()(running.up)
app.command()(running.down)
app.command()(running.status)
app.command()(drain.drain)
app.command()(nearest.nearest)
app.command()(points.publish)
app.command()(points.send)
app.command()(points.subscribe)
app.command()(notices.notices)
app.command()(actions.act)
app.add_typer(actions.edge, name="edge")
app.add_typer(explain.app, name="explain")
app.add_typer(relay.app, name="relay")
app.command()(relay.bundle)
app.add_typer(authority.app, name="authority")
app.add_typer(joining.issuer_app, name="issuer")
app.add_typer(joining.token_app, name="token")
app.command()(joining.join)
app.add_typer(credential.app, name="credential")
app.command("revoke")(revoking.revoke_)
