"""Exit codes and errors, the same for every command.

0 done, 1 failed, 2 usage, 3 partly, 4 nobody selected, 5 denied, 6 timed out or count short, 7 held for approval,
69 unreachable. Errors go to standard error as code, cause and next command; with `--json` as one object.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import typer

from fabric.protocol.errors import Code, FabricError
from relays.logs import place_of
from relays.terminal import say, say_json, set_up
from relays.topology import TopologyErrors

DONE, FAILED, USAGE, PARTLY, NOBODY, DENIED, SHORT, HELD, UNREACHABLE = 0, 1, 2, 3, 4, 5, 6, 7, 69

_EXITS = {
    Code.NOBODY: NOBODY,
    Code.TIMED_OUT: SHORT,
    Code.EXPIRED: SHORT,
    Code.NOT_HELD: SHORT,
    Code.CANNOT_RUN: USAGE,
    Code.UNREACHABLE: UNREACHABLE,
    Code.HANDSHAKE_FAILED: UNREACHABLE,
    Code.CLOSED: UNREACHABLE,
    Code.USAGE: USAGE,
    Code.BAD_LABEL: USAGE,
    Code.BAD_SELECTOR: USAGE,
    Code.BAD_ACTION: USAGE,
    Code.BAD_TOPIC: USAGE,
    Code.TTL_TOO_LONG: USAGE,
    Code.BAD_INPUT: USAGE,
    Code.WRONG_PASSPHRASE: DENIED,
}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def exit_code_of(code: Code) -> int:
    """2xx and 4xx are refusals of who one is and of what one may."""
    if code in _EXITS:
        return _EXITS[code]
    return DENIED if code.number // 100 in (2, 4) else FAILED


def fail(error: FabricError, as_json: bool) -> NoReturn:
    """Tell the error and end the program with its exit code."""
    if isinstance(error, TopologyErrors):
        _tell_problems(error, as_json)
        raise typer.Exit(FAILED)
    if as_json:
        code = error.code
        say_json({"error": {
            "code": code.label, "reason": code.reason, "cause": code.cause, "detail": error.detail,
            "next": error.next_step,
        }}, error=True)
    else:
        say(f"error {error}", f"  next: {error.next_step}", error=True)
    raise typer.Exit(exit_code_of(error.code))


def _tell_problems(error: TopologyErrors, as_json: bool) -> None:
    for problem in error.problems:
        if as_json:
            say_json(problem_json(problem), error=True)
        elif problem.severity == "error":
            say(str(problem), error=True)


def problem_json(problem: Any) -> dict[str, Any]:
    return {
        "code": problem.code.label, "key": problem.key, "cause": problem.cause, "write": problem.write,
        "severity": problem.severity, "line": problem.line,
    }


def command(function: _Command) -> _Command:
    """Wrap a command so that no traceback ever reaches a person."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        as_json = bool(kwargs.get("as_json"))
        try:
            return function(*args, **kwargs)
        except FabricError as error:
            fail(error, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever read our output has had enough.
            sys.stderr.close()
            raise typer.Exit(DONE) from None
        except OSError as error:
            fail(FabricError(Code.MACHINE_REFUSED, f"{error.strerror or type(error).__name__}: {error.filename}"), as_json)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:  # noqa: BLE001 - a person gets a number and a place, never a traceback
            fail(FabricError(Code.INTERNAL, f"{type(error).__name__} at {place_of(error)}"), as_json)

    return wrapped  # type: ignore[return-value]


def run(program: Callable[..., object]) -> NoReturn:
    """Run a whole command line to its end. What is wrong with its arguments is told as everything else is: they hold
    names of files, which a shell may have found."""
    set_up()
    try:
        code = program(standalone_mode=False)
    except typer.Abort:
        say("stopped", error=True)
        code = FAILED
    except Exception as error:
        # Typer's own errors, by what they can do: each of its versions keeps them elsewhere.
        if not hasattr(error, "format_message"):
            raise
        say(*_usage_lines(error), error=True)
        code = getattr(error, "exit_code", USAGE)
    sys.exit(code if isinstance(code, int) else DONE)


def _usage_lines(error: Any) -> list[str]:
    context, message = getattr(error, "ctx", None), str(error.format_message())
    if context is None:
        return [f"Error: {message}"]
    if message == context.get_help():  # nothing was asked for
        return message.split("\n")
    usage = context.get_usage().split("\n")
    return [*usage, f"Try '{context.command_path} --help' for help.", "", f"Error: {message}"]
