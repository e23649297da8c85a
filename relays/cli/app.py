"""All commands, in the order in which somebody meets them.

Each is in a module of a room, and only that of the command that is run is imported: with all of them every command
would take half a second longer to begin.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import fabric
from relays.cli.help_texts import put_right
from relays.terminal import say

# A command's name: its module and what it is called there, and its line in `fabric --help`.
_COMMANDS = {
    "topology": ("tree.topology:app", "Check and draw topology files."),
    "up": ("tree.running:up", "Run the relays of a topology on this machine."),
    "down": ("tree.running:down", "Stop what `fabric up -d` started."),
    "status": ("tree.running:status", "How each relay is, and what waits there."),
    "drain": ("tree.drain:drain", "Stop one relay, after everybody has left it."),
    "nearest": ("looking.nearest:nearest", "Which relay is the nearest from this machine, and why."),
    "publish": ("messages.points:publish", "Publish one message."),
    "send": ("messages.sending:send", "Publish a file of JSON lines, a message each."),
    "subscribe": ("messages.points:subscribe", "Print messages as they come."),
    "relabel": ("messages.relabelling:relabel", "Re-issue what was received at a lower label."),
    "notices": ("messages.notices:notices", "What relays could not deliver, and why."),
    "act": ("actions.asking:act", "Ask for a response action, and see what becomes of it."),
    "actions": ("actions.recorded:actions", "What was asked for, and how it stands."),
    "action": ("actions.recorded:action", "All that is known of one action."),
    "artifacts": ("actions.artifacts:artifacts", "What an action left at its targets."),
    "fetch": ("actions.artifacts:fetch", "Get what an action left."),
    "cancel": ("actions.cancelling:cancel", "End an action that was asked for."),
    "leases": ("actions.leases:leases", "Effects that are in force, and until when."),
    "release": ("actions.leases:release", "End the effect of an action before its time."),
    "extend": ("actions.leases:extend", "Have the effect of an action last longer."),
    "approvals": ("actions.approvals:approvals", "What waits for an approval of yours."),
    "approve": ("actions.deciding:approve", "Approve an action that is held."),
    "deny": ("actions.deciding:deny", "Deny an action that is held."),
    "bench": ("messages.bench:bench", "Measure a running tree with test records."),
    "edge": ("edge.commands:app", "Run sources, sinks and handlers of a control point."),
    "source": ("edge.source:app", "What a source makes of records, before they are sent."),
    "sink": ("edge.sink:app", "Whether the receiver of a sink takes a message."),
    "deadletter": ("edge.deadletter:app", "What sources and sinks rejected: see it, replay it, drop it."),
    "audit": ("looking.audit:app", "What a node did, and whether its log was rewritten."),
    "explain": ("looking.explain:app", "Why somebody may or may not, and how far it gets."),
    "relay": ("tree.relay:app", "Run one relay on its own machine."),
    "bundle": ("tree.relay:bundle", "What one relay needs on its own machine."),
    "authority": ("members.authority:app", "The key that signs credentials, and who may sign for it."),
    "issuer": ("members.joining:issuer_app", "The process that answers those who join."),
    "token": ("members.joining:token_app", "Tokens with which control points join."),
    "join": ("members.joining:join", "Become a member, with a token."),
    "credential": ("members.credential:app", "What credentials say, and how long they last."),
    "revoke": ("members.revoking:revoke_", "Put identities on the authority's revocation list."),
}


class _Lazily(MutableMapping[str, Any]):
    """Commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._names = list(_COMMANDS)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = _made(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._names += [] if name in self._names else [name]
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        self._names.remove(name)
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _made(name: str) -> Any:
    where, summary = _COMMANDS[name]
    module, _, attribute = where.partition(":")
    found = getattr(importlib.import_module(f"relays.cli.{module}"), attribute)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    command: Any = typer.main.get_group(alone).commands[name]
    command.short_help = summary
    put_right(command)
    return command


class _Commands(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Lazily()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The library would import every command to ask for its line."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Message Fabric: signed, labelled security messages through a tree of relays. "
    "State lives in FABRIC_HOME. Exit codes: 0 done, 1 failed, 2 usage, 3 partly, 4 nobody selected, 5 denied, "
    "6 timed out or count short, 69 unreachable, 130 and 143 stopped by Ctrl-C and SIGTERM; what runs until it is "
    "stopped (up, edge run, issuer run, relay run, send --follow) ends in order then, with 0.\n\n"
    "Examples:\n\n\b\n  fabric up -d --dev topologies/minimal.toml\n  fabric status\n  fabric publish --help",
)


def _version(value: bool) -> None:
    if value:
        say(f"message-fabric {fabric.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what happens on the connection.")] = False,
) -> None:
    """Message Fabric."""
    del version
    from relays.logs import set_up_logs  # nothing that is only shown, help or a version, needs it

    set_up_logs("debug" if verbose else "error")
