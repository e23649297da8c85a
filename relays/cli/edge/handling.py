"""`fabric edge run --exec`: an action to a command's standard input, its exit and its output to an answer.

Exit code 0 is completed, with the JSON object that was printed as the result; anything else is failed. Output that
cannot be read as one object is failed too: whoever wrote the handler has to look. What such an object holds and cannot
be sent is left out of it, named, and changes nothing about the end (`fabric.edge.handling.handlers`). Standard error is this
control point's log's: its last 4 kB, escaped.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from fabric.documents import parse_object
from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End, Status
from relays.cli.edge.execution import LINE_BYTES_MAX, OUTPUT_BYTES_MAX, Halt, Ran, run
from relays.cli.edge.runnable import why_not

# What a shell and `env` end with when they found nothing to run.
_NOTHING_TO_RUN = (126, 127)
_CANCELLED = "cancelled"
# Whether a command is to do what an action says, or to end what it did for it: by this name in its environment.
PHASE = "FABRIC_PHASE"
_EXECUTE, _REVERT = "execute", "revert"


def command_of(text: str) -> list[str]:
    """A command line's words. Raises USAGE, or CANNOT_RUN where it is known by now that it cannot be run."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise FabricError(Code.USAGE, f"--exec: {str(error).lower()}", "close what was opened") from None
    if not argv or not argv[0] or "\0" in text:
        raise FabricError(Code.USAGE, "--exec names no command", "name an executable file")
    problem = why_not(argv[0])
    if not problem:
        return argv
    # A path with a space in it that nobody quoted a second time.
    if len(argv) > 1 and (Path(text).is_file() or Path(text).is_dir()):
        problem = why_not(text)
        if not problem:
            return [text]
    raise FabricError(Code.CANNOT_RUN, problem)


class CommandHandler:
    """Of any thread. `stop` kills what runs, and lets nothing begin."""

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        self._argv = list(argv)
        self._timeout_s = timeout_s
        self._halt = Halt()
        self._log = structlog.get_logger()

    def stop(self) -> None:
        """From any thread, and from a handler of signals."""
        self._halt.tell()

    def __call__(self, action: Action) -> Answer:
        return self._run(action, _EXECUTE)

    def undo(self, action: Action) -> Answer:
        """The same command, told to end what it did for this action."""
        return self._run(action, _REVERT)

    def _run(self, action: Action, phase: str) -> Answer:
        given = json.dumps({**action.to_json(), "phase": phase}).encode()
        cancelled = Halt(_CANCELLED)
        action.control.on_cancel(cancelled.tell)
        progress = Progress(action, self._log)
        try:
            # What it leaves is for the result of an action: a revert has none.
            folder = self._folder(action) if phase == _EXECUTE else None
            ran = run(
                self._argv, given, self._timeout_s, (self._halt, cancelled), progress, folder, {PHASE: phase}
            )
        except (OSError, ValueError) as error:
            return self._cannot_run(why_not(self._argv[0]) or _words(error), action)
        finally:
            cancelled.close()
            progress.close()
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

    def _folder(self, action: Action) -> Path | None:
        """Where its command may leave files. An action is executed without, where there can be none."""
        try:
            return action.control.folder
        except (OSError, FabricError) as error:
            if not isinstance(error, FabricError) or error.code is not Code.USAGE:  # where nothing is kept, none is meant
                name = type(error).__name__
                self._log.error("no folder for artifacts", action=action.action, id=action.id, error=name)
            return None

    def _cannot_run(self, problem: str, action: Action) -> Answer:
        self._log.error("handler cannot be run", action=action.action, id=action.id, why=problem)
        return Answer(
            End.FAILED, int(Status.INTERNAL_ERROR), {"error": problem}, Code.CANNOT_RUN, reason=_one_line(problem)
        )


class Progress:
    """What a command says of its progress: a line of JSON, {"progress": 0.4, "note": "40 of 100"}, either or both.

    Of one action it is in the log, when it is over, how many lines were anything else, and what was wrong with the first
    of them, without what is in it.
    """

    def __init__(self, action: Action, log: structlog.typing.FilteringBoundLogger) -> None:
        self._action = action
        self._log = log
        self._wrong = 0
        self._first = ""  # what to write instead of the first one

    def __call__(self, line: bytes) -> None:
        try:
            if len(line) > LINE_BYTES_MAX:
                raise FabricError(Code.USAGE, "a line that is too long", f"write lines of {LINE_BYTES_MAX:,} bytes at most")
            said = parse_object(line)
            if not said.keys() & {"progress", "note"}:
                raise FabricError(Code.USAGE, "a line that says nothing", 'write "progress", "note", or both')
            self._action.control.report(said.get("progress"), said.get("note", ""))
        except (ValueError, FabricError) as error:
            self._wrong += 1
            why = error.next_step if isinstance(error, FabricError) else "write one JSON object a line"
            self._first = self._first or why

    def close(self) -> None:
        """Nothing more is said."""
        if self._wrong:
            self._log.warning("progress not understood", action=self._action.action, id=self._action.id,
                              lines=self._wrong, next=self._first)


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
