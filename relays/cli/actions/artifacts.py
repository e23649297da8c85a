"""`fabric artifacts` and `fabric fetch`: what actions left at their targets, and getting it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.fetching.fetch import Fetched
from fabric.edge.requesting.accounts import find_account
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.sizes import format_size
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.shared.exits import DONE, PARTLY, command, tell
from relays.cli.shared.machine import machine_error
from relays.cli.shared.options import As, AsJson, needed
from relays.terminal import Cell, Screen, Table, say, say_json
from relays.wall import utc, wall_ms

_ID_CHARS = 12
# What ends the connection ends the others, too.
_FOR_ALL = (Code.CLOSED, Code.UNREACHABLE, Code.REVOKED, Code.HANDSHAKE_FAILED)


@command
def artifacts(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other has.")],
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """List what an action left at its targets: files of its handlers, and results too large for a message.

    It reads the identity's book, as `fabric actions` does: whether a target still has them it does not know. They are kept
    for 7 days, unless newer ones of the same requester take their place.

    Exit codes: 0 done, 1 there are none, or no such action, 2 usage.

    Example: fabric artifacts 4f1c09 --as soar-1
    """
    found = _left_by(needed(identity), id_)
    if as_json:
        for artifact in found:
            say_json(artifact.to_json())
        return
    table = Table("target", "name", "size", "label", "until", "sha256", aside=("sha256", "until"))
    for artifact in found:
        over = artifact.until_ms <= wall_ms()
        table.row(
            artifact.target, artifact.name, format_size(artifact.bytes), artifact.label.short,
            Cell(f"{utc(artifact.until_ms)}{' (over)' if over else ''}", "yellow" if over else ""), artifact.sha256,
        )
    table.foot(f"get them with: fabric fetch {found[0].action[:_ID_CHARS]} --as {identity}")
    Screen().table(table)


@command
def fetch(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other has.")],
    name: Annotated[str, typer.Argument(help="The artifact's name, as `fabric artifacts` shows it; all without one.")] = "",
    from_: Annotated[str, typer.Option("--from", metavar="TARGET", help="Only what this target has.")] = "",
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="The folder to put them into.")] = Path(),
    timeout: Annotated[str, typer.Option("--timeout", metavar="60s", help="Without a byte for so long it stops.")] = "60s",
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """Get what an action left at its targets, into files. Of several targets each has a folder of its own.

    Only who asked for the action gets anything, and needs no grant or approval for that. It travels in small pieces on the
    lowest lane, so that nothing urgent waits for it, and under its label: a relay that may not have it lets nothing pass.

    A file that is not whole ends in `.part`. The same command goes on where that ends, after whatever ended it, and asks for
    nothing that is there. A file has its name when its SHA-256 is the one that the result named; one that has the name
    already is never written to, and counts as fetched where it is the same.

    Exit codes: 0 all are there, 1 none, 2 usage, 3 some, 5 denied, 6 none came whole within the time, 69 unreachable.

    Example: fabric fetch 4f1c09 dump.pcap --as soar-1 --output evidence
    """
    timeout_s = parse_duration(timeout) / 1000
    found = [
        artifact for artifact in _left_by(needed(identity), id_)
        if (not name or name in (artifact.name, artifact.id)) and (not from_ or artifact.target == from_)
    ]
    if not found:
        raise FabricError(
            Code.NO_ARTIFACT, " of ".join(filter(None, [name, from_])),
            f"see what there is: fabric artifacts {id_} --as {identity}",
        )
    with ControlPoint(as_identity(needed(identity))) as point:
        code = fetch_all(point, found, output, timeout_s, as_json=as_json)
    raise typer.Exit(code)


def fetch_all(
    point: ControlPoint, found: Sequence[Artifact], folder: Path, timeout_s: float, *, as_json: bool
) -> int:
    """Each into a file of that folder; the exit code. What is wrong with one is told, and the others are fetched."""
    apart = len({artifact.target for artifact in found}) > 1
    codes: list[int] = []
    screen = Screen(error=True)
    with screen.transfers(shown=screen.is_terminal and not as_json) as begin:
        for artifact in found:
            path = (folder / artifact.target if apart else folder) / artifact.name
            bar, waits, began_s = begin(artifact.name, artifact.bytes), "", time.monotonic()
            resumed = 0

            def tell_progress(fetched: Fetched) -> None:
                nonlocal waits, resumed
                bar.update(fetched.bytes)  # noqa: B023 - called before the next one begins
                resumed = fetched.resumed
                if fetched.waits and fetched.waits != waits:
                    _tell_waits(artifact, fetched, as_json=as_json)  # noqa: B023
                waits = fetched.waits

            try:
                point.fetch(artifact, path, progress=tell_progress, timeout_s=timeout_s)
            except FabricError as error:
                codes.append(tell(error, as_json))
                if error.code in _FOR_ALL:
                    break
            except OSError as error:
                codes.append(tell(machine_error(error), as_json))
            else:
                codes.append(DONE)
                _tell_fetched(artifact, path, resumed, time.monotonic() - began_s, as_json=as_json)
    wrong = [code for code in codes if code != DONE]
    return (wrong[0] if len(wrong) == len(codes) else PARTLY) if wrong else DONE


def _tell_waits(artifact: Artifact, fetched: Fetched, *, as_json: bool) -> None:
    if as_json:
        said = {"waits": fetched.waits, "name": artifact.name, "target": artifact.target, "bytes": fetched.bytes}
        say_json(said, error=True)
    else:
        say(f"{artifact.name}: {fetched.bytes:,} of {fetched.size:,} bytes; {fetched.waits}", error=True)


def _tell_fetched(artifact: Artifact, path: Path, resumed: int, took_s: float, *, as_json: bool) -> None:
    if as_json:
        say_json({**artifact.to_json(), "path": str(path), "resumed": resumed})
        return
    came = artifact.bytes - resumed
    if resumed == artifact.bytes and resumed:
        say(f"{path}: it was here, whole: {format_size(resumed)}, {artifact.label.spelling}, from {artifact.target}")
        return
    before = f", {format_size(resumed)} of it were here before" if resumed else ""
    rate = f", {format_size(int(came / took_s))} a second" if came and took_s > 1 else ""
    say(f"{path}: {format_size(artifact.bytes)}, {artifact.label.spelling}, from {artifact.target}{before}{rate}")


def _left_by(identity: str, id_: str) -> tuple[Artifact, ...]:
    """Raises NO_ACTION, NO_ARTIFACT, BOOK_FAILED."""
    account = find_account(as_identity(identity).folder, id_)
    if not account.artifacts:
        raise FabricError(Code.NO_ARTIFACT, f"{id_} left nothing to fetch", f"see what became of it: fabric action {id_} --as {identity}")
    return account.artifacts


def tell_left(found: Sequence[Artifact], identity: str) -> None:
    """After an action: what it left, and how to get it."""
    by_target: dict[str, list[str]] = {}
    for artifact in found:
        said = f"{artifact.name} ({format_size(artifact.bytes)}, {artifact.label.spelling})"
        by_target.setdefault(artifact.target, []).append(said)
    for target, names in by_target.items():
        say(f"left at {target}: {', '.join(names)}")
    if found:
        say(f"  get it with: fabric fetch {found[0].action[:_ID_CHARS]} --as {identity}")
