"""Exit codes and errors, the same for every command.

0 done, 1 failed, 2 usage, 3 partly, 4 nobody selected, 5 denied, 6 timed out or count short, 69
unreachable, 130 stopped by Ctrl-C, 143 by SIGTERM. What runs until it is stopped (`up`, `edge run`, `issuer run`, `relay
run`, `send --follow`) ends in order then, with 0. Errors go to standard error as code, cause and next command; with
`--json` as one object, whatever was wrong, also with the command line itself.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import typer

from fabric.edge.identity.home import home_path
from fabric.edge.logging.faults import raised_at
from fabric.protocol.base.errors import Code, FabricError
from relays.cli.shared.machine import machine_error
from relays.streams import ReaderGoneError
from relays.terminal import say, say_json, set_up
from relays.topology.problems import TopologyErrors

DONE, FAILED, USAGE, PARTLY, NOBODY, DENIED, SHORT, UNREACHABLE = 0, 1, 2, 3, 4, 5, 6, 69
INTERRUPTED, TERMINATED = 130, 143  # as shells have it: 128 and the signal's number

_EXITS = {
    Code.NOBODY: NOBODY,
    Code.TIMED_OUT: SHORT,
    Code.READER_FULL: SHORT,
    Code.EXPIRED: SHORT,
    Code.NOT_HELD: SHORT,
    Code.FETCH_STOPPED: SHORT,
    Code.CANNOT_RUN: USAGE,
    Code.HANDLER_UNFIT: USAGE,
    Code.UNREACHABLE: UNREACHABLE,
    Code.HANDSHAKE_FAILED: UNREACHABLE,
    Code.CLOSED: UNREACHABLE,
    Code.USAGE: USAGE,
    Code.KEY_TAKEN: USAGE,
    Code.BAD_LABEL: USAGE,
    Code.NO_RECIPIENTS: USAGE,
    Code.UNMATCHED_LABEL: USAGE,
    Code.NOT_LOWERED: USAGE,
    Code.NOT_WHOLE: USAGE,
    Code.BAD_SELECTOR: USAGE,
    Code.BAD_ACTION: USAGE,
    Code.BAD_TOPIC: USAGE,
    Code.TTL_TOO_LONG: USAGE,
    Code.BAD_INPUT: USAGE,
    Code.TOO_DEEP: USAGE,
    Code.NOT_AN_OUTBOX: USAGE,
    Code.WRONG_PASSPHRASE: DENIED,
    Code.NO_PASSPHRASE: DENIED,
}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def exit_code_of(code: Code) -> int:
    """2xx and 4xx are refusals of who one is and of what one may."""
    if code in _EXITS:
        return _EXITS[code]
    return DENIED if code.number // 100 in (2, 4) else FAILED


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: connections say goodbye, and what was done is told."""


def fail(error: FabricError, as_json: bool) -> NoReturn:
    """Tell the error and end the program with its exit code."""
    raise typer.Exit(tell(error, as_json))


def tell(error: FabricError, as_json: bool) -> int:
    """The error on standard error, and its exit code."""
    if isinstance(error, TopologyErrors):
        _tell_problems(error, as_json)
        return FAILED
    if as_json:
        code = error.code
        say_json({"error": {
            "code": code.label, "reason": code.reason, "cause": code.cause, "detail": error.detail,
            "next": error.next_step,
        }}, error=True)
    else:
        say(f"error {error}", f"  next: {error.next_step}", error=True)
    return exit_code_of(error.code)


def _tell_problems(error: TopologyErrors, as_json: bool) -> None:
    for problem in error.problems:
        if as_json:
            say_json(problem_json(problem), error=True)
        elif problem.severity == "error":
            say(str(problem), error=True)


def problem_json(problem: Any) -> dict[str, Any]:
    """A problem of a topology file, for `--json`."""
    return {
        "code": problem.code.label, "key": problem.key, "cause": problem.cause, "write": problem.write,
        "severity": problem.severity, "line": problem.line,
    }


def command(function: _Command) -> _Command:
    """Wrap a command so that no traceback ever reaches a person."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **{name: _own_home(value) for name, value in kwargs.items()})
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, people get it in our words
            raise typer.Exit(_ended(error, bool(kwargs.get("as_json")))) from None

    return wrapped  # type: ignore[return-value]


def _own_home(value: Any) -> Any:
    """`--outbox=~/box` reaches us as it stands: shells read the `~` of a word of its own only. A file `~x` is a file."""
    return home_path(value) if isinstance(value, Path) and value.parts[:1] == ("~",) else value


def _ended(error: BaseException, as_json: bool) -> int:
    """What ended a command, told as far as somebody is to know it; the exit code."""
    match error:
        case FabricError():
            return tell(error, as_json)
        case Terminated():
            return TERMINATED
        case KeyboardInterrupt():
            return INTERRUPTED
        case ReaderGoneError() | BrokenPipeError():
            return DONE
        case OSError():
            return tell(machine_error(error), as_json)
        case _:
            # A person gets a number and a place, never a traceback.
            return tell(FabricError(Code.INTERNAL, f"{type(error).__name__} at {raised_at(error)}"), as_json)


def run(program: Callable[..., object]) -> NoReturn:
    """Run a whole command line to its end. What is wrong with its arguments is told as everything else is: they hold
    names of files, which a shell may have found."""
    set_up()
    as_json = "--json" in sys.argv[1:]
    code: object
    with _terminable():
        try:
            code = program(prog_name="fabric", standalone_mode=False)
        except typer.Abort:  # the end of a standard input that was asked for something
            code = tell(FabricError(Code.BAD_INPUT, "standard input ended", "answer what is asked for"), as_json)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, people get it in our words
            # Typer's own errors, by what they can do: each of its versions keeps them elsewhere.
            code = _misused(error, as_json) if hasattr(error, "format_message") else _ended(error, as_json)
    sys.exit(code if isinstance(code, int) else DONE)


@contextmanager
def _terminable() -> Iterator[None]:
    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _misused(error: Any, as_json: bool) -> int:
    """A command line that cannot be read; or help, where nothing was asked for."""
    context, message = getattr(error, "ctx", None), str(error.format_message())
    code = int(getattr(error, "exit_code", USAGE))
    if context is None:
        tell(FabricError(Code.USAGE, message), as_json)
        return code
    if message == context.get_help():
        say(*message.split("\n"), error=True)
        return code
    if not as_json:
        say(*context.get_usage().split("\n"), error=True)
    next_step = f"see {context.command_path} --help"
    if context.parent is None and "--json" in message:
        next_step = f"write it behind the command: {context.command_path} COMMAND --json"
    tell(FabricError(Code.USAGE, message.removesuffix("."), next_step), as_json)
    return code
