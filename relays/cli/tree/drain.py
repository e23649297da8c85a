"""`fabric drain`: take a relay out of service without anybody waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated

import typer

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.shared.exits import PARTLY, command
from relays.cli.shared.options import AsJson
from relays.cli.tree.running import one_of_here, running_relays, states_of, the_one
from relays.process.drain import NAMED_MAX, DrainFile, Draining, drain_path, end_draining, read_draining, write_draining
from relays.supervisor import supervisor_state
from relays.terminal import say, say_json

# Over what a relay needs to see the file, to end its last turn, and to write how it went.
_PATIENCE_S = 10.0


@command
def drain(
    relay: Annotated[str, typer.Argument(help="The relay that is to go.")],
    fabric: Annotated[str | None, typer.Option("--fabric", help="Which fabric; not needed where one runs.")] = None,
    within: Annotated[str, typer.Option("--within", metavar="10s", help="How long those are served who have no other relay.")] = "10s",
    back: Annotated[bool, typer.Option("--back", help="Bring a drained relay back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop one relay of this machine after its children and control points have moved to their backups.

    It tells them to move, serves them until they have, hands on what it holds, and stops. It stays stopped, also over
    restarts of its machine, until `fabric drain RELAY --back`, or the next `fabric up`. Children go back by themselves.

    What it cannot hand on within that time, because a reader further up is full and loses nothing, stays on its disk.
    So do actions that it holds for targets which are away: no other relay may hand them out. They go when the relay and
    the target are back, or end as expired.

    `--back` returns when it is up, or after ten seconds. One that is drained already is said to be.

    Exit codes: 0 everybody had moved, 3 some had no backup (they come back when the relay does), or something waits on
    its disk for a reader that is full or a target that is away (it goes when the relay is back), 6 it did not stop.

    Examples:

      fabric drain plant-2

      fabric drain plant-2 --back
    """
    name = one_of_here(fabric) or the_one(f"fabric drain {relay} --fabric FABRIC", running_only=False)
    path = drain_path(name, relay)
    if back:
        if not end_draining(path):
            raise FabricError(Code.USAGE, f"{relay} is not drained", "see `fabric status`")
        now = _wait_back(name, relay)
        if as_json:
            say_json({"relay": relay, "drained": False, "state": now or None})
        elif now == "up":
            say(f"{relay}: up again")
        elif now:
            say(f"{relay}: called back, and {now}: see `fabric status {name}`")
        else:
            say(f"{relay}: may run again; `fabric up` does not run here, so its service manager starts it")
        return
    known_state = read_draining(path)
    if known_state is not None and known_state.gone:
        _tell(name, relay, known_state, as_json, words="is drained already")
        return
    if known_state is None and relay not in running_relays(name):
        known = ", ".join(running_relays(name))
        raise FabricError(Code.NOT_RUNNING, f"no relay {relay} of {name} runs here", f"write one of: {known}" if known else "")
    within_ms = parse_duration(within)
    write_draining(path, Draining(within_ms))
    state = _wait(name, relay, within_ms / 1000 + _PATIENCE_S, quiet=as_json)
    _tell(name, relay, state, as_json, words="drained")


def _tell(fabric: str, relay: str, state: Draining, as_json: bool, *, words: str) -> None:
    if as_json:
        say_json({"relay": relay, "drained": True, "left": list(state.left), "held": state.held,
                  "waits_for": dict(state.waits_for), "actions": state.actions, "away": dict(state.away)})
    else:
        alone = f"; these have no other relay and wait for it: {', '.join(state.left)}" if state.left else ""
        say(f"{relay}: {words}{alone}")
        if state.held:
            say(f"{state.held} message(s) wait on its disk{_for_whom(state.waits_for)}")
        if state.actions:
            some = _number(state.actions, "action waits", "actions wait")
            say(f"{some} there for targets that are away, until these and the relay are back, or their time is over: "
                f"{_names(state.away)}{', ...' if len(state.away) == NAMED_MAX else ''}")
        say(f"bring it back with: fabric drain {relay} --fabric {fabric} --back", error=True)
    if state.left or state.waits_for or state.actions:
        raise typer.Exit(PARTLY)


def _for_whom(waits_for: Mapping[str, int]) -> str:
    return f", for readers that are full and lose nothing: {_names(waits_for)}" if waits_for else ""


def _names(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())


def _wait_back(fabric: str, relay: str) -> str:
    """Its state, once it is up or the time is over; empty where no supervisor of this machine runs it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        running = supervisor_state(fabric)
        if running is None or relay not in running["relays"]:
            return ""
        (seen,) = states_of(fabric, [relay])
        if seen["state"] == "up" or time.monotonic() >= deadline:
            return str(seen["state"])
        time.sleep(0.1)


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _wait(fabric: str, relay: str, timeout_s: float, *, quiet: bool) -> Draining:
    path, told = drain_path(fabric, relay), ""
    file = DrainFile(path)
    deadline = time.monotonic() + timeout_s
    while (state := file.look()) is not None and not state.gone:
        (seen,) = states_of(fabric, [relay])
        if time.monotonic() > deadline:
            raise FabricError(
                Code.TIMED_OUT, f"{relay} did not stop: it is {seen['state']}, and still asked to",
                f"to ask no more: fabric drain {relay} --fabric {fabric} --back; why is in {path.with_suffix('.log')}",
            )
        children = _number(len(seen.get("children", [])), "child", "children")
        words = f"{relay}: still here: {children} and {_number(len(seen.get('points', [])), 'control point', 'control points')}"
        held_back = {reader: int(of["held_back"]) for reader, of in seen.get("waits_for", {}).items() if of["held_back"]}
        words += f"; messages wait{_for_whom(held_back)}" if held_back else ""
        if not quiet and words != told and sys.stderr.isatty():
            say(words, error=True)
            told = words
        time.sleep(0.1)
    if state is None:
        raise FabricError(Code.USAGE, f"{relay} was called back", "see `fabric status`")
    return state
