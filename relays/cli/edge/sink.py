"""`fabric sink test`: whether the receiver of a sink takes a message, before there is one that matters."""

from __future__ import annotations

from typing import Annotated

import typer

from fabric.edge.face import as_identity
from relays.cli.shared.exits import command
from relays.cli.shared.options import As, AsJson, needed
from relays.gateways.declared import SINKS_KEY, declared_for, one_named
from relays.gateways.trial import hand_over
from relays.terminal import say, say_json

app = typer.Typer(no_args_is_help=True, help="Whether the receiver of a sink takes a message.\n\nExample: fabric sink test hook --as hook-1")


@app.callback()
def _group() -> None:
    """Whether the receiver of a sink takes a message."""


@app.command()
@command
def test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the sink, as the topology has it.")],
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """Hand one marked message over, as the sink would, and say whether it was taken, or why not. No relay is needed, and
    `fabric edge run` may be at work.

    The message is on the first topic of the sink, informational and CLEAR; its content is {"test": true, ...}. Only
    sinks that hand over to other systems can be tried; those that write files here cannot.

    Exit codes: 0 it was taken, 1 it was not, 2 usage, or the sink cannot be used as it is declared.

    Example: fabric sink test hook --as hook-1
    """
    me = as_identity(needed(identity))
    declared = declared_for(me)
    message = hand_over(one_named(name, declared.sinks, SINKS_KEY, declared, me.id), me)
    if as_json:
        say_json({"sink": name, "taken": message.id, "topic": message.topic})
    else:
        say(f"sink {name}: its receiver took a message: {message.topic}, {message.id}")
