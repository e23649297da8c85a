"""`fabric up`, `down`, `status`: a whole topology on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.edge.identity.home import fabric_folder, fabric_home, fabrics, revocations_path
from fabric.protocol.base.errors import Code, FabricError, describe
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.trust.credentials import name_ok
from relays.authority import (
    barred,
    barred_words,
    init_authority,
    keep_ids,
    keep_list,
    kept_ids,
    make_identities,
    open_authority,
    stray_words,
    strays,
)
from relays.cli.shared.exits import FAILED, PARTLY, SHORT, command
from relays.cli.shared.options import AlsoFabric
from relays.cli.shared.passphrase import PassphraseFile, passphrase_from
from relays.cli.tree import versions
from relays.cli.tree.waits import lines_of
from relays.last_words import last_words
from relays.process.drain import drain_path, read_draining
from relays.process.status import STALE_MS, read_status
from relays.supervisor import Supervisor, detach, stop_supervisor, supervisor_state
from relays.terminal import Cell, Screen, Table, say, say_json
from relays.topology import asserts
from relays.wall import of_version, utc, wall_ms

_START_S = 30.0
_WHOLE_S = 3.0
# Of several fabrics, the command for so many is written out.
_NAMED_MAX = 3
_State = dict[str, Any]


@command
def up(
    file: Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False)],
    only: Annotated[list[str] | None, typer.Option("--only", metavar="RELAY", help="Run only this relay; again for more.")] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Leave it running; stop it with `fabric down`.")] = False,
    dev: Annotated[bool, typer.Option("--dev", help="Make a throwaway authority if there is none.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="States as one object a line, when they change.")] = False,
) -> None:
    """Make the identities that are missing, then run the relays of a topology. Ctrl-C stops all. A topology whose
    [[assert]] does not hold is not run.

    Exit codes: 0 stopped, or running (-d); 1 failed, or no relay came up (-d); 3 only some did. A relay that did not
    is tried again until `fabric down`.

    Examples:

      fabric up --dev topologies/minimal.toml

      fabric up -d --only hq topologies/enterprise.toml
    """
    topology = asserts.load_proven(file)
    unknown = [name for name in only or [] if name not in topology.relays]
    if unknown:
        raise FabricError(Code.USAGE, f"no relay {unknown[0]}", f"write one of: {', '.join(topology.relays)}")
    if supervisor_state(topology.fabric) is not None:
        raise FabricError(Code.ALREADY_RUNNING, topology.fabric, f"run `fabric down {topology.fabric}` first")
    if dev:
        init_authority(topology.fabric)
    authority = open_authority(topology.fabric, passphrase=passphrase_from(passphrase_file))
    made = make_identities(topology, authority)
    keep_list(authority)
    keep_ids(topology)
    _tell_strays(topology.fabric, as_json)
    relays = [name for name in topology.relays if not only or name in only]
    if made and not as_json:
        say(f"issued {len(made)} identities in {fabric_folder(topology.fabric) / 'ids'}", error=True)
    if detach:
        _detach(topology.fabric, relays, as_json)
        return
    supervisor = Supervisor(topology.fabric, relays)
    if as_json or not sys.stdout.isatty():
        supervisor.run(_line_printer(topology.fabric, relays, as_json))
        return
    say("Ctrl-C stops it", error=True)
    with Screen().moving() as live:
        supervisor.run(lambda: live.update(_table(topology.fabric, states_of(topology.fabric, relays))))
    say(f"{topology.fabric}: stopped", error=True)


def _detach(fabric: str, relays: list[str], as_json: bool) -> None:
    process = detach(fabric, relays, fabric_home())
    deadline = time.monotonic() + _START_S
    failed: dict[str, _State] = {}
    whole_by: float | None = None
    while True:
        states = states_of(fabric, relays)
        failed |= {state["relay"]: state for state in states if state["state"] == "down"}
        # Below a relay that cannot run nobody finds a parent, however long we wait.
        settled = ("up", "orphan") if failed else ("up",)
        if all(state["state"] in settled or state["relay"] in failed for state in states):
            # Each writes its state once a second: a parent is not to be shown without the child that is at it.
            whole_by = whole_by or time.monotonic() + _WHOLE_S
            if agree(states) or time.monotonic() >= whole_by:
                break
        if process.poll() is not None:
            raise FabricError(Code.NOT_RUNNING, fabric, f"read {fabric_folder(fabric) / 'run' / '_supervisor.log'}")
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    states = [state if state["state"] == "up" else failed.get(state["relay"], state) for state in states]
    _show(fabric, states, as_json)
    down = [state for state in states if state["state"] != "up"]
    if not as_json:
        say(f"stop it with: fabric down {fabric}", error=True)
    if down:
        raise typer.Exit(FAILED if len(down) == len(states) else PARTLY)


def agree(states: list[_State]) -> bool:
    """Whether whoever has its link to a parent is among that parent's children, of those that are up."""
    children = {state["relay"]: state.get("children", []) for state in states if state["state"] == "up"}
    return all(
        state["relay"] in children.get(state.get("parent_now") or "", [state["relay"]])
        for state in states if state["state"] == "up"
    )


def _line_printer(fabric: str, relays: list[str], as_json: bool) -> Any:
    told: dict[str, str] = {}

    def every() -> None:
        for state in states_of(fabric, relays):
            if told.get(state["relay"]) != state["state"]:
                told[state["relay"]] = state["state"]
                words = f" ({state['why']})" if state.get("why") else ""
                if as_json:
                    say_json(state)
                else:
                    say(f"{state['relay']}: {state['state']}{words}")

    return every


@command
def down(
    fabric: Annotated[str | None, typer.Argument(help="Which fabric; not needed where one runs.")] = None,
    fabric_: AlsoFabric = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """Stop what `fabric up -d` started.

    Exit codes: 0 stopped, 1 not running, 6 it did not stop in time.

    Example: fabric down enterprise
    """
    name = one_of_here(fabric or fabric_) or the_one("fabric down FABRIC", running_only=True)
    stop_supervisor(name)
    if as_json:
        say_json({"stopped": name})
    else:
        say(f"{name}: stopped")


@command
def status(
    fabric: Annotated[str | None, typer.Argument(help="Which fabric; not needed where one is.")] = None,
    fabric_: AlsoFabric = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object per relay and line.")] = False,
    wait: Annotated[str | None, typer.Option("--wait", metavar="20s", help="Wait until all are up.")] = None,
) -> None:
    """Show how the relays on this machine are: state, parent and control points of each, and how many messages it did not
    pass on, by reason (a message is a record, or a batch of them). Below: for whom messages wait, how many, and since
    when, where that is for longer than a second or for somebody who is away; --json has them in `waiting`.

    Exit codes: 0 all up, 3 some are not, 6 not all up in the time of --wait, 1 not running.

    Example: fabric status --wait 20s
    """
    name = one_of_here(fabric or fabric_) or the_one("fabric status FABRIC", running_only=False)
    deadline = time.monotonic() + (parse_duration(wait) / 1000 if wait else 0)
    while True:
        states = states_of(name, running_relays(name))
        if (states and all(state["state"] == "up" for state in states)) or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    if not states:
        raise FabricError(Code.NOT_RUNNING, name)
    _show(name, states, as_json)
    _tell_strays(name, as_json)
    if any(state["state"] != "up" for state in states):
        raise typer.Exit(SHORT if wait else PARTLY)


def _tell_strays(fabric: str, as_json: bool) -> None:
    """On standard error, with --json as an object each: whoever was taken out of the file and goes on all the same, and whoever is
    in it and may not."""
    known = kept_ids(fabric)
    if known is None:
        return
    for id_ in strays(fabric, known):
        _warn(stray_words(id_), as_json)
    for id_ in barred(fabric, known):
        _warn(barred_words(id_, fabric), as_json)


def _warn(words: str, as_json: bool) -> None:
    say_json({"warning": words}, error=True) if as_json else say(f"warning {words}", error=True)


def one_of_here(name: str | None) -> str | None:
    """A name that was given. Raises NOT_RUNNING, with those that there are, where it is none of this machine's."""
    if name and name_ok(name) and fabrics() and name not in fabrics():
        raise FabricError(Code.NOT_RUNNING, f"there is no {name}", f"write one of: {', '.join(fabrics())}")
    return name


def the_one(like: str, *, running_only: bool) -> str:
    """The fabric that is meant where none is named. `like`: the command that names one, with FABRIC in its place."""
    known = [name for name in fabrics() if supervisor_state(name) is not None]
    if not known and not running_only:
        known = [name for name in fabrics() if running_relays(name)] or fabrics()
    if not known:
        raise FabricError(Code.NOT_RUNNING, "there is none" if not fabrics() else f"there are {', '.join(fabrics())}")
    if len(known) > 1:
        choices = " or ".join(f"`{like.replace('FABRIC', name)}`" for name in known[:_NAMED_MAX])
        forgotten = "" if running_only else f"; a fabric that is not wanted any more is a folder in {fabric_home()}"
        raise FabricError(
            Code.USAGE, f"{len(known)} fabrics are on this machine: {', '.join(known)}", f"write {choices}{forgotten}"
        )
    return known[0]


def running_relays(fabric: str) -> list[str]:
    """What the supervisor here runs; without one, relays that a service manager started and that are alive."""
    running = supervisor_state(fabric)
    if running is not None:
        return [str(relay) for relay in running["relays"]]
    now_ms = time.time_ns() // 1_000_000
    found = []
    for path in sorted((fabric_folder(fabric) / "run").glob("*.json")):
        state = read_status(path, now_ms)
        if state is not None and state.get("relay") == path.stem and state["age_ms"] <= STALE_MS:
            found.append(path.stem)
    return found


def tell_unreached(fabric: str) -> None:
    """On standard error, where no relay that runs here hears of a list that was signed: nobody obeys it yet."""
    if not running_relays(fabric):
        say(f"no relay of {fabric} runs on this machine, so it is in force nowhere yet: relays that start here take it",
            f"  up; where the root runs elsewhere, copy {revocations_path(fabric)} to the same place there", error=True)


def states_of(fabric: str, relays: list[str]) -> list[_State]:
    """Each relay's last state, with `state` as up, starting, orphan (no parent), draining, drained, hanging
    or down, and `why`."""
    now_ms = time.time_ns() // 1_000_000
    run = fabric_folder(fabric) / "run"
    states = []
    for relay in relays:
        state = read_status(run / f"{relay}.json", now_ms) or {"relay": relay, "pid": 0, "age_ms": STALE_MS + 1}
        words = last_words(fabric, relay)
        if (draining := read_draining(drain_path(fabric, relay))) is not None and draining.gone:
            state.update(state="drained", why=f"until `fabric drain {relay} --back`", pid=0)
        elif words is not None:
            state.update(state="down", why=_last_words(words))
        elif state["pid"] == 0:
            state["state"] = "starting"
        elif state["age_ms"] > STALE_MS:
            state["state"] = "hanging"
        elif not state["ready"]:
            state["state"] = "starting"
        else:
            alone = "orphan" if state["parent_link"] == "down" else "up"
            state["state"] = "draining" if state.get("draining") else alone
            if state["state"] == "orphan":
                state["why"] = f"no parent takes it: {state.get('parent') or 'none is named'} is tried again and again"
            if state.get("rewritten"):
                code = Code.FORKED_LOG
                state["why"] = f"{describe(code, ', '.join(list(state['rewritten'])[:_NAMED_MAX]))}; {code.next_step}"
            if state.get("clock_suspect"):
                state["why"] = _clock_words(int(state["clock_behind_ms"]))
            if state.get("revocations_over"):
                code = Code.LIST_EXPIRED
                state["why"] = f"{code.label} {code.cause}: {code.next_step}"
            if not state.get("intake_open", True):
                state["why"] = "its disk is short: it takes nothing in until there is room"
        states.append(state)
    return states


def _last_words(words: _State) -> str:
    """Number, cause, what it is about and what helps, as an error of a command has them."""
    code = next((code for code in Code if code.label == words.get("code")), None)
    if code is None:
        return str(words.get("detail") or words.get("cause") or words.get("event", ""))
    return f"{describe(code, str(words.get('detail') or ''))}; {words.get('next') or code.next_step}"


def _clock_words(offset_ms: int) -> str:
    code = Code.CLOCK_SUSPECT
    off = format_duration(abs(offset_ms) // 1_000 * 1_000)
    return f"{code.label} its clock is {off} {'behind' if offset_ms > 0 else 'ahead of'} the root's: {code.next_step}"


def _show(fabric: str, states: list[_State], as_json: bool) -> None:
    if as_json:
        for state in states:
            say_json(state)
    else:
        Screen().table(_table(fabric, states))


def _table(fabric: str, states: list[_State]) -> Table:
    up_, now_ms = sum(state["state"] == "up" for state in states), wall_ms()
    aside = ("control points", "")
    table = Table(
        "relay", "state", "clearance", "parent", *aside, aside=aside, folded=aside,
        title=f"fabric {fabric}, {utc(now_ms)}: {up_} of {len(states)} relays up",
    )
    for state in states:
        style = {"up": "green", "down": "red", "hanging": "red"}.get(state["state"], "yellow")
        table.row(
            state["relay"], Cell(state["state"], style), state.get("clearance", ""), _parent_of(state),
            _named(state, "points"), "; ".join(filter(None, _remarks(state))),
        )
    for words in _policy_lines(states):
        table.foot(words)
    for line in versions.lines_of(states):
        table.foot(line)
    for line in lines_of(states, now_ms):
        table.foot(line)
    return table


def _policy_lines(states: list[_State]) -> Iterator[str]:
    """Which approval policies are in force, where there are any; and who has others."""
    versions = {state["relay"]: int(state.get("policies", 0)) for state in states if state["pid"]}
    newest = max(versions.values(), default=0)
    behind = [f"{relay} ({of_version(version) if version else 'none'})"
              for relay, version in versions.items() if version != newest]
    if newest:
        more = f" and {len(behind) - _NAMED_MAX} more" if len(behind) > _NAMED_MAX else ""
        where = f"not yet at {', '.join(behind[:_NAMED_MAX])}{more}" if behind else "at every relay that runs"
        yield f"approval policies {of_version(newest)}: {where}"


def _remarks(state: _State) -> Iterator[str]:
    """What somebody may have to look after; nothing of a relay that is well and idle."""
    counters = state.get("counters", {})
    yield str(state.get("why") or "")
    yield from versions.refusal_words(state)
    if state["state"] == "hanging":
        yield f"process {state['pid']}"
    yield _faults(sum(value for key, value in counters.items() if key.startswith("faults:")))
    yield _waited_for(state)
    yield _counted("not passed on", {
        key.split(":", 1)[1]: value for key, value in counters.items()
        if key.startswith(("refused:", "ended:")) and not key.endswith((":no_interest", ":unknown_version"))
    })
    by = {id_: issuer for id_, issuer in state.get("vouched_for", {}).items() if id_ in state.get("children", ())}
    yield ", ".join(f"child {id_} by {issuer}" for id_, issuer in by.items())


def _counted(words: str, counts: dict[str, int]) -> str:
    return f"{words}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}" if counts else ""


def _faults(count: int) -> str:
    """Those of the relay's own program, each of which ended a link."""
    return f"{Code.INTERNAL.label} {count} faults: see its log" if count else ""


def _waited_for(state: _State) -> str:
    """Readers that are full and lose nothing: what is held back for each, and what was refused here because of it."""
    readers = sorted(state.get("waits_for", {}).items(), key=lambda item: -int(item[1]["held_back"]))
    words = []
    for id_, reader in readers[:_NAMED_MAX]:
        held_back, refused = int(reader["held_back"]), int(reader["refused"])
        words.append(f"{id_}: {held_back:,} not taken" if held_back else f"{id_}: it is full, {refused:,} times refused")
    return f"waits for {', '.join(words)}" if words else ""


def _parent_of(state: _State) -> str:
    """Whose child it is now; one that is not the preferred is said to be a backup."""
    preferred, now = state.get("parent") or "-", state.get("parent_now") or ""
    return f"{now} (backup)" if now and now != preferred else preferred


def _named(state: _State, who: str) -> str:
    """Its peers; of those who joined, through whom."""
    by = state.get("vouched_for", {})
    return " ".join(f"{id_} (by {by[id_]})" if id_ in by else id_ for id_ in state.get(who, []))
