"""Sources and sinks on the command line: run beside handlers by `fabric edge run`, `fabric edge status`, `edge kinds`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.edge.arguments.suggestions import near
from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import actions_meet
from relays.cli.edge.serving import Told
from relays.cli.shared.exits import FAILED, command
from relays.cli.shared.options import As, AsJson, needed
from relays.gateways.board import Change, Kept, State, read_status
from relays.gateways.declared import SINK_OPTIONS, Declared, declared_for
from relays.gateways.kinds import Option, Pulled, SinkKind, SourceKind
from relays.gateways.looking import ACTION, PAIR, TARGET_TYPE, LookHandler
from relays.gateways.registry import SINKS, SOURCES, Registry
from relays.gateways.running import Runner
from relays.streams import lossy
from relays.terminal import Cell, Screen, Table, columns_of, say, say_json
from relays.wall import utc, wall_ms

_OUTBOX = "outbox"
# What an option is for is below it where it had less than this beside it.
_HELP_COLUMNS = 42
_STYLES = {
    State.RUNNING: "green", State.WAITING: "yellow", State.STARTING: "yellow", State.FAILED: "red", State.UNFIT: "red",
}
_WRONG = (State.FAILED, State.UNFIT)


class Gateways:
    """The sources and sinks of `fabric edge run`: all that is declared for an identity, or `only` some."""

    def __init__(self, identity: Identity, only: Sequence[str], as_json: bool) -> None:
        """Raises USAGE where a name is none, BAD_IDENTITY."""
        declared = declared_for(identity)
        for name in only:
            if name not in declared.names:
                like = near(name, declared.names) or declared.names
                raise FabricError(
                    Code.USAGE, f"no source or sink of {identity.id} is named {name!r}",
                    f"write {' or '.join(like)}" if like else "declare it in the topology, then `fabric up` it",
                )
        self._identity = identity
        self._declared = declared.only(only) if only else declared
        self._known = declared.names
        self._as_json = as_json
        self._runner: Runner | None = None

    @property
    def names(self) -> list[str]:
        return self._declared.names

    def outbox(self, given: Path | None) -> Path | None:
        """Where what is published is kept: its own, in the identity's folder, unless another is given."""
        if given is not None or not self.names:
            return given
        self._runner = Runner(self._identity, self._declared, self._tell, self._known)
        return self._runner.folder / _OUTBOX

    def register(self, point: ControlPoint) -> None:
        """Before it connects: sources can be told to look now, where there are such and it is granted."""
        granted = self._identity.credential.grants.execute
        pulls = any(source.kind.pulls for source in self._declared.sources)
        if pulls and any(actions_meet(grant, PAIR) for grant in granted):
            look = LookHandler(self._pull, wall_ms)
            point.on_action(ACTION, TARGET_TYPE, idempotent=True)(Told(look, self._as_json))

    def _pull(self, name: str) -> Future[Pulled]:
        if self._runner is None:
            raise FabricError(Code.SOURCE_AWAY, "the sources of this control point have not begun")
        return self._runner.pull(name)

    def start(self, point: ControlPoint) -> None:
        """Begin all. Raises ALREADY_RUNNING."""
        if not self.names:
            return
        if self._runner is None:
            self._runner = Runner(self._identity, self._declared, self._tell, self._known)
        self._runner.start(point)

    def ended(self, error: FabricError) -> None:
        """The connection is over for good."""
        if self._runner is not None:
            self._runner.ended(error)

    def close(self, timeout_s: float) -> None:
        """All end in order."""
        if self._runner is not None:
            self._runner.close(timeout_s)

    def _tell(self, change: Change) -> None:
        error = change.error
        with lossy():
            if self._as_json:
                say_json({
                    change.section.removesuffix("s"): change.name, "state": str(change.state),
                    "code": error.code.label if error else "", "why": error.detail if error else "",
                    "next": error.next_step if error else "",
                })
            else:
                why = f": {error}; {error.next_step}" if error else ""
                say(f"{change.section.removesuffix('s')} {change.name}: {change.state}{why}")


@command
def status(
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """Show the sources and sinks of an identity on this machine: what each does, and how far it is.

    `taken` are records that are kept on this disk, and of a sink those that it has written; `rejected` what does not fit, or
    is refused; `lost` counts gaps in what a source reads; `left out` files that it takes for rotations from before it began.
    `refused` are records that were kept here, and that a relay refused later; `withheld` messages that a sink does not hand out,
    since they are above its `max_label`; `besides` what a sink did not write for a reason of its kind; `readers` who reads from a source now. It is as it was a moment ago, from a file in the
    identity's folder.

    Exit codes: 0 shown, 1 one of them failed or cannot be used, or nothing runs them, 2 usage.

    Examples:

      fabric edge status --as zeek-p1

      fabric edge status --as zeek-p1 --json
    """
    me = as_identity(needed(identity))
    kept, declared = read_status(me), declared_for(me)
    if as_json:
        say_json({"id": me.id, "running": kept.running, "at": kept.at_ms, "entries": list(kept.entries)})
    else:
        _draw_status(me, kept, declared)
    if any(entry.get("state") in _WRONG for entry in kept.entries) or (declared.names and not kept.running):
        raise typer.Exit(FAILED)


def _draw_status(me: Identity, kept: Kept, declared: Declared) -> None:
    if not kept.entries and not declared.names:
        say(f"no sources or sinks are declared for {me.id}")
        return
    table = Table("name", "kind", "state", "taken", "rejected", "lost", "left out", "refused", "withheld", "besides", "readers", "last", "since",
                  "at", folded=("state", "besides", "readers"),
                  aside=("at", "since", "last", "lost", "left out", "refused", "withheld", "besides", "readers"))
    shown = []
    for entry in kept.entries:
        shown.append(entry.get("name"))
        state, why = str(entry.get("state")), str(entry.get("why", ""))
        cell = Cell(f"{state}: {entry.get('code')} {why}" if why else state, _STYLES.get(State(state), ""))
        last_ms = int(entry.get("last_at_ms", 0))
        table.row(
            str(entry.get("name")), str(entry.get("kind")), cell, f"{int(entry.get('taken', 0)):,}",
            _some(entry, "rejected"), _some(entry, "lost"), _some(entry, "left_out"), _some(entry, "refused"), _some(entry, "withheld"),
            ", ".join(f"{int(count):,} {reason}" for reason, count in dict(entry.get("counts") or {}).items()), _readers(entry),
            utc(last_ms) if last_ms else "", utc(int(entry.get("since_ms", 0))), str(entry.get("position", "")),
        )
    for name in declared.names:
        if name not in shown:
            table.row(name, "", Cell("declared, and not run", "yellow"), *[""] * 11)
    if not kept.running:
        since = f" since {utc(kept.at_ms)}" if kept.at_ms else ""
        table.foot(Cell(f"nothing runs them{since}: fabric edge run --as {me.id}", "yellow"))
    Screen().table(table)


def _readers(entry: dict[str, Any]) -> Cell | str:
    away = str(entry.get("away", ""))
    return Cell(f"{int(entry.get('readers', 0)):,}, and nothing comes: {away}", "yellow") if away else _some(entry, "readers")


def _some(entry: dict[str, Any], name: str) -> str:
    return f"{int(entry[name]):,}" if entry.get(name) else ""


@command
def kinds(
    which: Annotated[list[str] | None, typer.Argument(metavar="[KIND]...", help="Only these.")] = None,
    identity: Annotated[str, typer.Option("--as", envvar="FABRIC_AS", metavar="ID", help="With --check: what is declared for this identity.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Look whether this machine has what the sources and sinks of --as ID need; exit code 1 where not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which kinds of sources and sinks a topology may declare for a control point; with a KIND, the options of it. With --json
    all have theirs.

    Packages in the same Python may bring more, as entry points of the groups message_fabric.sources and message_fabric.sinks.

    Exit codes: 0 shown, 1 with --check where something is missing, 2 there is no such kind.

    Examples:

      fabric edge kinds

      fabric edge kinds file

      fabric edge kinds --check --as zeek-p1
    """
    if check:
        _check(as_identity(needed(identity)), as_json)
        return
    found = [pair for registry in (SOURCES, SINKS) for pair in _kinds_of(registry, which)]
    missing = [name for name in which or () if name not in [kind.name for _, kind in found]]
    for name in missing:
        known = [*SOURCES.names(), *SINKS.names()]
        raise FabricError(Code.USAGE, f"there is no kind {name!r}", f"write {' or '.join(near(name, known) or known)}")
    if not which and not as_json:
        _draw_kinds(found)
        return
    for number, (what, kind) in enumerate(found):
        if as_json:
            options = [{"name": o.name, "value": o.metavar, "help": o.help, "needed": o.needed} for o in _options(kind)]
            say_json({"name": kind.name, "what": what, "summary": kind.summary, "options": options})
        else:
            if number:
                say("")
            _draw_kind(what, kind)


def _kinds_of(
    registry: Registry[SourceKind] | Registry[SinkKind], which: Sequence[str] | None
) -> list[tuple[str, SourceKind | SinkKind]]:
    return [(registry.what, registry.kind(name)) for name in registry.names() if not which or name in which]


def _options(kind: SourceKind | SinkKind) -> Sequence[Option]:
    """Its own, and of a sink those that every sink has."""
    return [*SINK_OPTIONS, *kind.options] if isinstance(kind, SinkKind) else kind.options


def _draw_kinds(found: Sequence[tuple[str, SourceKind | SinkKind]]) -> None:
    table = Table("kind", "is a", "what", folded=("what",))
    for what, kind in found:
        table.row(kind.name, what, kind.summary)
    table.foot("its options: fabric edge kinds KIND")
    Screen().table(table)


def _draw_kind(what: str, kind: SourceKind | SinkKind) -> None:
    title = f"{kind.name} ({what}): {kind.summary}"
    options = [
        (f"{option.name} = {option.metavar}", f"{option.help}{' Has to be there.' if option.needed else ''}")
        for option in _options(kind)
    ]
    if 0 < columns_of(sys.stdout) < max(len(written) for written, _ in options) + _HELP_COLUMNS:
        say(title, "", *(line for written, help_ in options for line in (written, f"    {help_}")))
        return
    table = Table("", "what", title=title, folded=("what",), lines=False)
    for written, help_ in options:
        table.row(written, help_)
    Screen().table(table)


def _check(me: Identity, as_json: bool) -> None:
    declared = declared_for(me)
    problems: list[tuple[str, FabricError]] = [(unfit.name, unfit.error) for unfit in declared.unfit]
    for name, need in declared.missing():
        problems.append((name, FabricError(Code.SOURCE_UNFIT, f"{need.what}: {need.problem}", need.next_step)))
    wrong = {name for name, _ in problems}
    for name in declared.names:
        if name not in wrong:
            say_json({"name": name, "code": "", "why": "", "next": ""}) if as_json else say(f"{name}: all is there")
    for name, error in problems:
        if as_json:
            say_json({"name": name, "code": error.code.label, "why": error.detail, "next": error.next_step})
        else:
            say(f"{name}: {error}; {error.next_step}")
    if problems:
        raise typer.Exit(FAILED)
