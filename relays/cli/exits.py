"""Exit codes and errors, the same for every command.

0 done, 1 failed, 2 usage, 3 partly, 4 nobody selected, 5 denied, 6 timed out or count short, 7 held for approval,
69 unreachable. Errors go to standard error as code, cause and next command; with `--json` as one object.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import typer

from fabric.protocol.errors import Code, FabricError
from relays.logs import place_of
from relays.topology import TopologyErrors

DONE, FAILED, USAGE, PARTLY, NOBODY, DENIED, SHORT, HELD, UNREACHABLE = 0, 1, 2, 3, 4, 5, 6, 7, 69

_EXITS = {
    Code.NOBODY: NOBODY,
    Code.TIMED_OUT: SHORT,
    Code.EXPIRED: SHORT,
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
        print(json.dumps({"error": {
            "code": code.label, "reason": code.reason, "cause": code.cause, "detail": error.detail,
            "next": error.next_step,
        }}), file=sys.stderr)
    else:
        print(f"error {error}", file=sys.stderr)
        print(f"  next: {error.next_step}", file=sys.stderr)
    raise typer.Exit(exit_code_of(error.code))


def _tell_problems(error: TopologyErrors, as_json: bool) -> None:
    for problem in error.problems:
        if as_json:
            print(json.dumps(problem_json(problem)), file=sys.stderr)
        elif problem.severity == "error":
            print(problem, file=sys.stderr)


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
