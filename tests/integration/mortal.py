"""A firewall that dies, as by kill -9, at a named point on the way of an action; and then is there again.

`main` with the arguments IDENTITY RAN OUTBOX IDEMPOTENT: each line on standard input has points. For each a
process that dies there is started, after the death of the one before, and then one that does not. `RAN` gets a line for
each time that something is done, on disk before the handler goes on. The empty line ends it.

Each is a fork of this process, which has read all modules and neither threads nor sockets of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from fabric.edge.blocking import ControlPoint
from fabric.edge.connection.dialling import Dialling
from fabric.edge.identity.identity import load_identity
from fabric.protocol.core.ledger_ops import ForgetLease, KeepAnswer, KeepIntent, KeepLease, KeepTold
from fabric.spool import Spool

# In the order of an action's way. Those that end in "..." are before it, those without after it.
POINTS = (
    "taking...", "taken", "acknowledged", "beginning...", "begun", "handler called", "done", "answering...",
    "answered", "publishing...", "sent", "telling...", "told",
)
# Of its effect, where that has a duration.
ENDS = ("revert called", "reverted", "over...", "over", "forgetting...", "forgotten")
# The handler may have been called, and nobody knows what it did.
IN_BETWEEN = ("begun", "handler called", "done", "answering...")


def say(line: str) -> None:
    """In one piece, or not at all: the next moment may be its last."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _step_of(ops: Any) -> set[str]:
    """Which steps of an action a commit has."""
    names = {
        KeepIntent: lambda op: ("beginning...", "begun") if op.begun else ("taking...", "taken"),
        KeepLease: lambda op: ("over...", "over") if op.word else (),
        ForgetLease: lambda _: ("forgetting...", "forgotten"),
        KeepAnswer: lambda _: ("answering...", "answered"), KeepTold: lambda _: ("telling...", "told"),
    }
    return {step for op in ops if type(op) in names for step in names[type(op)](op)}


def arm(point: str) -> None:
    """This process dies there."""
    commit, send = Spool.commit, Dialling.send
    passed: set[str] = set()

    def committing(self: Spool, ops: Any) -> None:
        steps = _step_of(ops)
        if point in steps and point.endswith("..."):
            die()
        commit(self, ops)
        if point in steps:
            die()
        passed.update(steps)

    def sending(self: Dialling, frames: Any) -> None:
        if frames and point == "publishing..." and "answered" in passed:
            die()
        send(self, frames)
        if frames and point == "acknowledged" and "taken" in passed:
            die()
        if frames and point == "sent" and "answered" in passed:
            die()

    Spool.commit, Dialling.send = committing, sending  # type: ignore[method-assign]


def serve(folder: Path, ran: Path, outbox: Path | None, idempotent: bool, point: str) -> None:
    """Until SIGTERM, or what it is armed for."""
    if point:
        arm(point)
    with ControlPoint(load_identity(folder), outbox=outbox) as wall:

        def note(line: str) -> None:
            descriptor = os.open(ran, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
            os.close(descriptor)

        def allow(action: Any) -> None:
            if point == "revert called":
                die()
            note(f"-{action.id}")
            if point == "reverted":
                die()

        @wall.on_action("deny", "ipv4_net", idempotent=idempotent, revert=allow)
        def deny(action: Any) -> dict[str, str]:
            if point == "handler called":
                die()
            note(action.id)
            if point == "done":
                die()
            return {"done": action.id}

        wall.wait_ready()
        say("ready")
        wall.run_forever()


def _fork(*args: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        serve(*args)
    except BaseException:  # noqa: BLE001 - a fork that goes on would be a second program
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Standard output has `ready` for each process, and `died` for each that did as it was to."""
    folder, ran = Path(sys.argv[1]), Path(sys.argv[2])
    given = folder, ran, Path(sys.argv[3]) if sys.argv[3] else None, sys.argv[4] == "idempotent"
    living = 0
    for line in sys.stdin:
        if living:
            os.kill(living, signal.SIGTERM)
            os.waitpid(living, 0)
        points = line.split(",") if line.strip() else []
        for point in points:
            _, status = os.waitpid(_fork(*given, point.strip()), 0)
            say("died" if status == signal.SIGKILL else f"status {status}")
        if not points:
            break
        living = _fork(*given, "")
