"""`fabric audit`: what relays and control points did, and whether that was rewritten since."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.audit.verifying import entries_of
from fabric.edge.face import as_identity
from fabric.protocol.audit.chain import Entry
from fabric.protocol.audit.checking import Found
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.auditing.logs import Log, log_in, log_of, named_log, verified
from relays.auditing.ocsf import entry_json, ocsf
from relays.cli.shared.exits import PARTLY, command
from relays.cli.shared.options import As, AsJson, needed
from relays.terminal import Screen, Table, say, say_json
from relays.wall import utc

app = typer.Typer(no_args_is_help=True, help="What a node did, in a log that shows whether it was rewritten.\n\nExample: fabric audit verify --as enterprise/hq")
Folder = Annotated[Path | None, typer.Option("--folder", metavar="PATH", help="A log's own folder, wherever it came from, instead of --as.")]
_ROWS = 50
_HEX_SHOWN = 12
# Long bytes that say nothing to a person.
_HIDDEN = ("credential", "head", "witness", "digest", "log", "before")


@app.callback()
def group() -> None:
    """Every relay and control point keeps a log of what it admitted, did and refused. Nothing labelled is in it."""


@app.command()
@command
def verify(
    identity: As = "",
    folder: Folder = None,
    against: Annotated[str | None, typer.Option("--against", metavar="LOG", help="The log of its parent: an id of this machine, or that log's folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a log is as it was written.

    It is, when each entry follows from the one before, and it goes as far as its signed heads.

    It asks nobody, and the node may run or not. Whoever has the node's keys can write another log that is whole by
    itself: --against compares it with the heads that its parent has.

    Exit codes: 0 whole, 1 not (E948, and which entry is the first that is wrong), there is no entry (E946), or it cannot
    be read (E947), 2 usage,
    3 whole but for what was being written when the node was killed: its next start cuts that off.

    Examples:

      fabric audit verify --as hq

      fabric audit verify --as fw-p1 --against plant-1
    """
    log = _named(identity, folder)
    found = verified(log, named_log(against) if against else None)
    if found.is_whole and not found.first:
        next_step = "start the node once, and verify it then; if it ever ran, its log was taken away"
        raise FabricError(Code.NO_AUDIT, f"{log.folder}: there is no entry in it, which shows nothing", next_step)
    if as_json:
        say_json(_verdict(found, against))
    else:
        _tell(found, log, against)
    if not found.is_whole:
        first = found.flaws[0]
        raise FabricError(Code.AUDIT_BROKEN, f"{found.node or log.folder}, entry {first.number:,}: {first.words}")
    if found.torn_bytes:
        raise typer.Exit(PARTLY)


@app.command()
@command
def show(
    identity: As = "",
    folder: Folder = None,
    action: Annotated[str, typer.Option("--action", metavar="ID", help="Only what is about this action; the beginning of its id will do.")] = "",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="Only this kind, or all of a group: link.refused, action.")] = "",
    since: Annotated[str | None, typer.Option("--since", metavar="1h", help="Only the last hour, or whatever it says.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, metavar="N", help="So many, the newest.")] = _ROWS,
    as_json: AsJson = False,
) -> None:
    """Show what is in a log, the newest at the end.

    It verifies nothing: `fabric audit verify` does.

    Exit codes: 0 shown, 1 there is no log, or it cannot be read, 2 usage.

    Examples:

      fabric audit show --as hq --kind action --since 1h

      fabric audit show --as fw-p1 --action 4f1c09 --json
    """
    log = _named(identity, folder)
    found = deque(_chosen(log, action, kind, since), maxlen=last)
    if as_json:
        for entry in found:
            say_json(entry_json(entry))
        return
    if not found:
        say(f"the audit log of {log.node or log.folder} has no such entry{_kinds_of(log) if kind else ''}")
        return
    # All of it or below its row: ids, which are most of it, do not fold.
    table = Table("entry", "at", "kind", "who", "what", aside=("what",))
    for entry in found:
        table.row(f"{entry.number:,}", utc(entry.at_ms), entry.kind, str(entry.fields.get("who", "")), _what(entry))
    Screen().table(table)


@app.command()
@command
def export(
    identity: As = "",
    folder: Folder = None,
    format_: Annotated[str, typer.Option("--format", metavar="ocsf|json", help="OCSF events, or the entries as they are.")] = "ocsf",
    since: Annotated[str | None, typer.Option("--since", metavar="1h", help="Only the last hour, or whatever it says.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write everything in a log as JSON lines, the oldest first.

    It is for whoever keeps it for longer. It verifies nothing.

    OCSF: Authentication (3002) for who is let in, leaves or is turned away, Detection Finding (2004) for a log below that
    was rewritten, API Activity (6003) for all else; `unmapped` has the entry itself.

    Exit codes: 0 written, 1 there is no log, or it cannot be read, 2 usage.

    Examples:

      fabric audit export --as hq --format ocsf > hq-audit.jsonl

      fabric audit export --as hq --format json --since 24h
    """
    del as_json  # it is always
    if format_ not in ("ocsf", "json"):
        raise FabricError(Code.USAGE, f"no format {format_!r}", "write --format ocsf, or --format json")
    log, fabric, node = _named(identity, folder), "", ""
    for entry in _chosen(log, "", "", None):
        fabric, node = str(entry.fields.get("fabric", fabric)), str(entry.fields.get("node", node))
        break
    for entry in _chosen(log, "", "", since):
        say_json(ocsf(entry, log.fabric or fabric, log.node or node) if format_ == "ocsf" else entry_json(entry))


def _named(identity: str, folder: Path | None) -> Log:
    if folder is not None:
        return log_in(folder, identity)
    return log_of(as_identity(needed(identity)))


def _chosen(log: Log, action: str, kind: str, since: str | None) -> Iterator[Entry]:
    from_ms = time.time_ns() // 1_000_000 - parse_duration(since) if since else 0
    for entry in entries_of(log.folder):
        about = entry.fields.get("action")
        if entry.at_ms < from_ms or (kind and not f"{entry.kind}.".startswith(f"{kind.rstrip('.')}.")):
            continue
        if not action or (isinstance(about, bytes) and about.hex().startswith(action.lower())):
            yield entry


def _kinds_of(log: Log) -> str:
    """For whoever named a kind that is not there: those that are."""
    found = sorted({entry.kind for entry in entries_of(log.folder)})
    return f": kinds in it are {', '.join(found)}" if found else ""


# -- verify -------------------------------------------------------------------------------------------------


def _verdict(found: Found, against: str | None) -> dict[str, Any]:
    return {
        "whole": found.is_whole, "node": found.node, "fabric": found.fabric, "log": found.log.hex(),
        "first": found.first, "last": found.last, "hash": found.hash.hex(), "first_ms": found.first_ms,
        "last_ms": found.last_ms, "dropped": found.dropped, "lost": found.lost, "cut": found.cut,
        "torn_bytes": found.torn_bytes, "heads": found.heads, "head": found.head, "witnessed": found.witnessed,
        "witnessed_to": found.witnessed_number, "witnessed_by": found.witnessed_by, "against": against or "",
        "signatures_checked": found.signatures_checked,
        "flaws": [{"entry": flaw.number, "what": flaw.what, "words": flaw.words} for flaw in found.flaws],
    }


def _tell(found: Found, log: Log, against: str | None) -> None:
    say(f"log      of {found.node or log.folder}{f' of {found.fabric}' if found.fabric else ''}, {found.log.hex()[:_HEX_SHOWN]}")
    if found.last:
        say(f"entries  {found.first:,} to {found.last:,}, {utc(found.first_ms)} to {utc(found.last_ms)}")
    if found.dropped:
        say(f"let go   entries 1 to {found.dropped:,}: the log has its size, and says so")
    if found.lost:
        say(f"lost     {found.lost:,} entries that it says it could not write")
    if found.cut:
        say(f"cut off  {found.cut} times, what was being written when the node was killed: it says so")
    if found.heads:
        say(f"heads    {found.heads:,}, the newest of entry {found.head:,}")
    if found.witnessed:
        say(f"seen     by {found.witnessed_by}, up to entry {found.witnessed_number:,}")
    if against and found.is_whole:
        say(f"against  {against}: it has no head that this log contradicts")
    if not found.signatures_checked:
        say("signed   not checked: no identity of its fabric is on this machine")
    for flaw in found.flaws:
        say(f"entry {flaw.number:,}: {flaw.words}")
    if found.torn_bytes:
        say(f"whole    but for {found.torn_bytes:,} bytes at its end, the beginning of an entry")
    elif found.is_whole:
        say("whole    yes")


# -- show ---------------------------------------------------------------------------------------------------


def _what(entry: Entry) -> str:
    shown = [(name, value) for name, value in entry.fields.items() if name not in ("who", *_HIDDEN)]
    return ", ".join(f"{name} {_shown(value)}" for name, value in shown if value not in ("", ()))


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:_HEX_SHOWN]
    return " ".join(value) if isinstance(value, tuple) else str(value)
