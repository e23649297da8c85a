"""`fabric edge run --exec`: an action to a command's standard input, its exit and its output to an answer.

Exit code 0 is completed, with the JSON object that was printed as the result; anything else is failed. Output that
cannot be read as one object is failed too: whoever wrote the handler has to look. What such an object holds and cannot
be sent is left out of it, named, and changes nothing about the end (`fabric.edge.acting.handlers`). Standard error is this
control point's log's: its last 4 kB, escaped.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from fabric.documents import parse_object
from fabric.edge.acting.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End, Status
from relays.cli.execution import OUTPUT_BYTES_MAX, Halt, Ran, run
from relays.cli.runnable import why_not
from relays.streams import lossy
from relays.terminal import say, say_json
from relays.wall import utc, wall_ms

# What a shell and `env` end with when they found nothing to run.
_NOTHING_TO_RUN = (126, 127)
_CANCELLED = "cancelled"


def command_of(text: str) -> list[str]:
    """A command line's words. Raises USAGE, or CANNOT_RUN where it is known by now that it cannot be run."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise FabricError(Code.USAGE, f"--exec: {str(error).lower()}", "close what was opened") from None
    if not argv or not argv[0] or "\0" in text:
        raise FabricError(Code.USAGE, "--exec names no command", "name an executable file")
    problem = why_not(argv[0])
    if problem:
        raise FabricError(Code.CANNOT_RUN, problem)
    return argv


class CommandHandler:
    """Of any thread. `stop` kills what runs, and lets nothing begin."""

    def __init__(self, argv: Sequence[str], timeout_s: float, as_json: bool) -> None:
        self._argv = list(argv)
        self._timeout_s = timeout_s
        self._as_json = as_json
        self._halt = Halt()
        self._log = structlog.get_logger()

    def stop(self) -> None:
        """From any thread, and from a handler of signals."""
        self._halt.tell()

    def __call__(self, action: Action) -> Answer:
        answer = self._run(action)
        with lossy():  # a reader that left, or a disk that is full, makes no failure of what was executed
            self._tell(action, answer)
        return answer

    def _tell(self, action: Action, answer: Answer) -> None:
        code = answer.code.label if answer.code else ""
        if self._as_json:
            say_json({"action": action.action, "target_type": action.target_type, "from": action.requester,
                      "end": str(answer.end), "code": code})
        else:
            ended = " ".join(filter(None, [str(answer.end), code, answer.reason]))
            # What it is about is for who looks on: standard output that is no terminal is somebody's log.
            target = action.target.text if sys.stdout.isatty() else action.target_type
            say(f"{utc(wall_ms())[11:]}  {action.action} {target} from {action.requester}: {ended}")

    def _run(self, action: Action) -> Answer:
        given = json.dumps(action.to_json()).encode()
        cancelled = Halt(_CANCELLED)
        action.control.on_cancel(cancelled.tell)
        try:
            ran = run(self._argv, given, self._timeout_s, (self._halt, cancelled), Progress(action, self._log))
        except (OSError, ValueError) as error:
            return self._cannot_run(why_not(self._argv[0]) or _words(error), action)
        finally:
            cancelled.close()
        if ran.errors or ran.code != 0:
            write = self._log.info if ran.code == 0 else self._log.warning
            write("handler ended", action=action.action, id=action.id, exit=ran.killed or ran.code,
                  said=ran.errors.decode(errors="backslashreplace").rstrip())
        if ran.killed:
            answer = _failed(ran.killed)
            return replace(answer, code=Code.CANCELLED, reason="") if ran.killed == _CANCELLED else answer
        if ran.code in _NOTHING_TO_RUN and (problem := why_not(self._argv[0])):
            return self._cannot_run(problem, action)
        if ran.code != 0:
            return _failed(_exit_words(ran))
        return _answer(ran)

    def _cannot_run(self, problem: str, action: Action) -> Answer:
        self._log.error("handler cannot be run", action=action.action, id=action.id, why=problem)
        return Answer(
            End.FAILED, int(Status.INTERNAL_ERROR), {"error": problem}, Code.CANNOT_RUN, reason=_one_line(problem)
        )


class Progress:
    """What a command says of its progress: a line of JSON, {"progress": 0.4, "note": "40 of 100"}, either or both.

    Of one action the first line that is anything else is named in the log, without what is in it.
    """

    def __init__(self, action: Action, log: structlog.typing.FilteringBoundLogger) -> None:
        self._action = action
        self._log = log
        self._warned = False

    def __call__(self, line: bytes) -> None:
        try:
            said = parse_object(line)
            self._action.control.report(said.get("progress"), said.get("note", ""))
        except (ValueError, FabricError) as error:
            if not self._warned:
                self._warned = True
                why = error.next_step if isinstance(error, FabricError) else "write one JSON object a line"
                self._log.warning("progress not understood", action=self._action.action, id=self._action.id, next=why)


def _words(error: Exception) -> str:
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__).lower()


def _exit_words(ran: Ran) -> str:
    assert ran.code is not None
    return f"exit code {ran.code}" if ran.code >= 0 else f"killed by signal {-ran.code}"


def _answer(ran: Ran) -> Answer:
    if ran.out_bytes > OUTPUT_BYTES_MAX:
        return _failed(f"the handler printed {ran.out_bytes:,} bytes, of which {OUTPUT_BYTES_MAX:,} are read")
    return answer_in(ran.out)


def answer_in(out: bytes) -> Answer:
    """What a handler printed: nothing, or the JSON object that is its result."""
    if not out.strip():
        return Answer()
    try:
        # NaN and infinity are let in: they are left out of the result by name, and the rest of it counts.
        result: Any = json.loads(out)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        return _failed("the handler's output is not a JSON object")
    return Answer(result=result)


def _failed(why: str) -> Answer:
    return Answer(End.FAILED, int(Status.INTERNAL_ERROR), {"error": why}, Code.HANDLER_FAILED, reason=_one_line(why))


def _one_line(words: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in words)
