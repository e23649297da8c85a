"""A firewall that dies, as by kill -9, at a named point on the way of an action; and then is there again.

`python -m tests.integration.mortal IDENTITY RAN OUTBOX IDEMPOTENT`: each line on standard input has points. For each a
process that dies there is started, after the death of the one before, and then one that does not. `RAN` gets a line for
each time that something is done, on disk before the handler goes on. The empty line ends it.

Each is a fork of this process, which has read all modules and neither threads nor sockets of its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fabric.edge.acting.executing import Executing
from fabric.edge.blocking import ControlPoint
from fabric.edge.connection.dialling import Dialling
from fabric.edge.identity.identity import load_identity
from fabric.protocol.core.ledger_ops import KeepAnswer, KeepIntent, KeepTold
from fabric.spool import Spool

# In the order of an action's way. Those that end in "..." are before it, those without after it.
POINTS = (
    "taking...", "taken", "acknowledged", "beginning...", "begun", "handler called", "done", "answering...",
    "answered", "publishing...", "published", "sent", "telling...", "told",
)
# The handler may have been called, and nobody knows what it did.
IN_BETWEEN = ("begun", "handler called", "done", "answering...")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _step_of(ops: Any) -> set[str]:
    """Which steps of an action a commit has."""
    names = {
        KeepIntent: lambda op: ("beginning...", "begun") if op.begun else ("taking...", "taken"),
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
        send(self, frames)
        if frames and point == "acknowledged" and "taken" in passed:
            die()
        if frames and point == "sent" and "published" in passed:
            die()

    Spool.commit, Dialling.send = committing, sending  # type: ignore[method-assign]
    made = Executing.__init__

    def making(self: Executing, connection: Any, publish: Callable[..., Any], *args: Any) -> None:
        def publishing(*given: Any) -> Any:
            if point == "publishing...":
                die()
            # What is published goes by the connection's thread, which may be quicker than this one.
            passed.add("published")
            future = publish(*given)
            if point == "published":
                die()
            return future

        made(self, connection, publishing, *args)

    Executing.__init__ = making  # type: ignore[method-assign]


def serve(folder: Path, ran: Path, outbox: Path | None, idempotent: bool, point: str) -> None:
    """Until SIGTERM, or what it is armed for."""
    if point:
        arm(point)
    with ControlPoint(load_identity(folder), outbox=outbox) as wall:

        @wall.on_action("deny", "ipv4_net", idempotent=idempotent)
        def deny(action: Any) -> dict[str, str]:
            if point == "handler called":
                die()
            descriptor = os.open(ran, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, f"{action.id}\n".encode())
            os.fsync(descriptor)
            os.close(descriptor)
            if point == "done":
                die()
            return {"done": action.id}

        wall.wait_ready()
        print("ready", flush=True)
        wall.run_forever()


def _fork(*args: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        serve(*args)
    finally:
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
            print("died" if status == signal.SIGKILL else f"status {status}", flush=True)
        if not points:
            break
        living = _fork(*given, "")


if __name__ == "__main__":
    main()
