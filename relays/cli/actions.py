"""`fabric act` and `fabric edge run`: asking for response actions, and executing them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from fabric.documents import TooDeepError, parse_json
from fabric.edge.blocking import ControlPoint
from fabric.edge.handlers import Answer
from fabric.edge.messages import Action, Outcome
from fabric.edge.point import Request
from fabric.protocol.actions import End, Status
from fabric.protocol.errors import Code, FabricError
from fabric.protocol.lifetime import parse_duration
from relays.cli.exits import FAILED, PARTLY, SHORT, command
from relays.cli.options import As, AsJson, Label_, Outbox_, Severity_, Ttl, needed
from relays.logs import set_up_logs
from relays.terminal import Cell, Moving, Screen, Table, json_text, say, say_json

edge = typer.Typer(no_args_is_help=True, help="Be a control point.")
# What a handler may print: a result travels in one part.
_RESULT_BYTES_MAX = 128_000
_STYLES = {End.COMPLETED: "green", End.FAILED: "red", End.REFUSED: "red", End.UNKNOWN: "yellow"}


def parse_args(given: list[str] | None) -> dict[str, Any]:
    args: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise FabricError(Code.USAGE, f"{text!r} is no argument", "write e.g. --arg duration=3600")
        try:
            args[name] = parse_json(value)
        except TooDeepError:
            raise FabricError(Code.TOO_DEEP, f"--arg {name}") from None
        except ValueError:
            args[name] = value
    return args


@command
def act(
    action: Annotated[str, typer.Argument(help="An OpenC2 action: deny, contain, scan, ...")],
    target: Annotated[str, typer.Argument(help="An OpenC2 target: ipv4_net=203.0.113.9")],
    to: Annotated[str, typer.Option("--to", help="Who: 'role=firewall and segment=ot-1'. Empty is nobody; all is everyone granted.")],
    identity: As = "",
    arg: Annotated[list[str] | None, typer.Option("--arg", metavar="K=V", help="An argument; again for more.")] = None,
    severity: Severity_ = "high",
    label: Label_ = None,
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for results.")] = "5s",
    as_json: AsJson = False,
) -> None:
    """Ask for a response action and show what becomes of it at each target.

    Exit codes: 0 all completed, 1 all failed, 3 some did, 4 nobody selected, 5 denied, 6 expired or unknown, 69 unreachable.

    Example: fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall' --as soar-1 --ttl 60s
    """
    options: dict[str, Any] = {"severity": severity, "label": label, "ttl": ttl, "wait_ms": parse_duration(wait)}
    screen = Screen()
    live = not as_json and screen.is_terminal
    outcomes: list[Outcome] = []
    with ControlPoint(needed(identity)) as point, screen.moving() if live else nullcontext() as view:

        def watch(request: Request) -> None:
            if isinstance(view, Moving):
                view.update(_table(request, f"{action} {target}"))

        for outcome in point.request(action, target, to=to, args=parse_args(arg), watch=watch, **options):
            outcomes.append(outcome)
            if as_json:
                say_json(outcome.to_json())
            elif not live:
                say(_line(outcome))
    raise typer.Exit(_exit_of(outcomes))


def _line(outcome: Outcome) -> str:
    why = f" {outcome.code} {outcome.reason}" if outcome.code else ""
    result = f" {json_text(outcome.result, ascii_only=False)}" if outcome.result else ""
    return f"{outcome.target or 'all'}: {outcome.end}{why}{result} ({outcome.took_ms} ms)"


def _table(request: Request, title: str) -> Table:
    columns = ("target", "end", "why", "result", "ms")
    table = Table(*columns, title=title, folded=columns)
    for target in request.targets or tuple(request.outcomes):
        outcome = request.outcomes.get(target)
        if outcome is None:
            table.row(target, "...", "", "", "")
            continue
        table.row(
            target or "all", Cell(outcome.end, _STYLES.get(outcome.end, "yellow")),
            f"{outcome.code} {outcome.reason}".strip(),
            json_text(outcome.result, ascii_only=False) if outcome.result else "", str(outcome.took_ms),
        )
    return table


def _exit_of(outcomes: list[Outcome]) -> int:
    # A target that was unknown and then answered counts by its last word.
    ends = {outcome.target: outcome.end for outcome in outcomes}
    good = sum(end is End.COMPLETED for end in ends.values())
    if good == len(ends):
        return 0
    if good:
        return PARTLY
    late = all(end in (End.EXPIRED, End.UNKNOWN) for end in ends.values())
    return SHORT if late else FAILED


@edge.command("run")
@command
def run(
    on: Annotated[list[str], typer.Option("--on", metavar="'ACTION TARGET'", help="What to execute: 'deny ipv4_net', 'scan *'; again for more.")],
    exec_: Annotated[str, typer.Option("--exec", metavar="COMMAND", help="Run for each action: JSON on standard input, a JSON object on standard output.")],
    identity: As = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="30s", help="A handler that takes longer is stopped; its action failed.")] = "30s",
    outbox: Outbox_ = None,
    as_json: AsJson = False,
) -> None:
    """Execute actions with a command of yours. Runs until Ctrl-C.

    The command gets {"action", "target", "args", "requester", "severity", "label", "issued_at", "deadline", "id"}. Exit
    code 0 is completed, with what it printed as the result; anything else is failed.

    Exit codes: 0 stopped, 1 cannot run, 5 denied, 69 unreachable.

    Example: fabric edge run --as fw-1 --on 'deny ipv4_net' --exec ./handler
    """
    set_up_logs("info", True if as_json else None)
    argv = shlex.split(exec_)
    if not argv or shutil.which(argv[0]) is None:
        raise FabricError(Code.USAGE, f"{exec_!r} cannot be run", "name an executable file")
    handler = CommandHandler(argv, parse_duration(timeout) / 1000, as_json)
    stop = threading.Event()
    ended: list[FabricError] = []
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, lambda _s, _f: stop.set())
    with ControlPoint(needed(identity), outbox=outbox) as point:

        def end(error: FabricError) -> None:
            ended.append(error)
            stop.set()

        point.on_end(end)
        for text in on:
            action, _, target_type = text.partition(" ")
            point.on_action(action, target_type.strip())(handler)
        point.wait_ready()
        if as_json:
            say_json({"ready": point.identity.id})
        else:
            say(f"{point.identity.id}: ready for {', '.join(on)}")
        stop.wait()
        if ended:
            raise ended[0]


class CommandHandler:
    """An action to a command's standard input, its standard output to a result."""

    def __init__(self, argv: list[str], timeout_s: float, as_json: bool) -> None:
        self._argv = argv
        self._timeout_s = timeout_s
        self._as_json = as_json

    def __call__(self, action: Action) -> Answer:
        answer = self._run(action)
        words = {"action": action.action, "target_type": action.target_type, "from": action.requester,
                 "end": str(answer.end), "code": answer.code.label if answer.code else ""}
        if self._as_json:
            say_json(words)
        else:
            say(f"{action.action} {action.target_type} from {action.requester}: {answer.end} {words['code']}")
        return answer

    def _run(self, action: Action) -> Answer:
        try:
            process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, start_new_session=True
            )
        except OSError:
            return _failed()
        try:
            output, _ = process.communicate(json.dumps(action.to_json()).encode(), timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            # The handler's whole group goes: what it started is not left running.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return _failed({"error": "timed out"})
        if process.returncode != 0:
            return _failed({"error": f"exit code {process.returncode}"})
        return _answer(output)


def _answer(output: bytes) -> Answer:
    if len(output) > _RESULT_BYTES_MAX:
        return _failed({"error": "the handler's output is too large"})
    if not output.strip():
        return Answer()
    try:
        result = parse_json(output)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        return _failed({"error": "the handler's output is not a JSON object"})
    return Answer(result=result)


def _failed(result: dict[str, Any] | None = None) -> Answer:
    return Answer(End.FAILED, int(Status.INTERNAL_ERROR), result, Code.HANDLER_FAILED)


