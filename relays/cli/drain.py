"""`fabric drain`: take a relay out of service without anybody waiting."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from fabric.protocol.errors import Code, FabricError
from fabric.protocol.lifetime import parse_duration
from relays.cli.exits import PARTLY, command
from relays.cli.running import running_relays, states_of, the_one
from relays.drain import DrainFile, Draining, drain_path, end_draining, read_draining, write_draining
from relays.terminal import say, say_json

# Over what a relay needs to see the file, to end its last turn, and to write how it went.
_PATIENCE_S = 10.0


@command
def drain(
    relay: Annotated[str, typer.Argument(help="The relay that is to go.")],
    fabric: Annotated[str | None, typer.Option("--fabric", help="Which fabric; not needed where one runs.")] = None,
    within: Annotated[str, typer.Option("--within", metavar="10s", help="How long those are served who have no other relay.")] = "10s",
    back: Annotated[bool, typer.Option("--back", help="Bring a drained relay back.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Stop one relay of this machine after its children and control points have moved to their backups.

    It tells them to move, serves them until they have, hands on what it holds, and stops. It stays stopped, also over
    restarts of its machine, until `fabric drain RELAY --back`, or the next `fabric up`. Children go back by themselves.

    Exit codes: 0 everybody had moved, 3 some had no backup (they come back when the relay does), 6 it did not stop.

    Examples:

      fabric drain plant-2

      fabric drain plant-2 --back
    """
    name = fabric or the_one(f"fabric drain {relay} --fabric FABRIC", running_only=False)
    path = drain_path(name, relay)
    if back:
        if not end_draining(path):
            raise FabricError(Code.USAGE, f"{relay} is not drained", "see `fabric status`")
        if as_json:
            say_json({"relay": relay, "drained": False})
        else:
            say(f"{relay}: may run again")
        return
    if read_draining(path) is None and relay not in running_relays(name):
        known = ", ".join(running_relays(name))
        raise FabricError(Code.NOT_RUNNING, f"no relay {relay} of {name} runs here", f"write one of: {known}" if known else "")
    within_ms = parse_duration(within)
    write_draining(path, Draining(within_ms))
    state = _wait(name, relay, within_ms / 1000 + _PATIENCE_S, quiet=as_json)
    if as_json:
        say_json({"relay": relay, "drained": True, "left": list(state.left), "held": state.held})
    else:
        say(f"{relay}: drained" + (f", without another relay: {', '.join(state.left)}" if state.left else ""))
        if state.held:
            say(f"{state.held} message(s) wait on its disk until it is back: fabric drain {relay} --back")
    if state.left:
        raise typer.Exit(PARTLY)


def _wait(fabric: str, relay: str, timeout_s: float, *, quiet: bool) -> Draining:
    path, told = drain_path(fabric, relay), ""
    file = DrainFile(path)
    deadline = time.monotonic() + timeout_s
    while (state := file.look()) is not None and not state.gone:
        if time.monotonic() > deadline:
            raise FabricError(Code.TIMED_OUT, f"{relay} did not stop", f"look at {path.with_suffix('.log')}")
        (seen,) = states_of(fabric, [relay])
        words = f"{relay}: {len(seen.get('children', []))} children and {len(seen.get('points', []))} control points left"
        if not quiet and words != told and sys.stderr.isatty():
            say(words, error=True)
            told = words
        time.sleep(0.1)
    if state is None:
        raise FabricError(Code.USAGE, f"{relay} was called back", "see `fabric status`")
    return state
