"""`python -m relays.run FOLDER`: one relay in the foreground, with nothing loaded that it does not need.

This is what a service manager and the supervisor start. Exit codes: 0 stopped, 1 cannot run (the last line of the log
says why), 75 the spool or the relay itself failed and a restart from disk is due, 77 it was drained and is to stay
stopped.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

import structlog

from fabric.edge.identity.identity import load_identity
from fabric.edge.logging.faults import raised_at
from fabric.protocol.base.errors import Code, FabricError
from fabric.transport import require_zmq
from relays.last_words import CANNOT_RUN, OWN_FAULT
from relays.logs import set_up_logs
from relays.process.config import relay_config
from relays.process.descriptors import raise_limit
from relays.process.loop import RelayLoop
from relays.streams import open_streams

_PR_SET_PDEATHSIG = 1
EXIT_FAILED = 1
EXIT_RESTART = 75
EXIT_DRAINED = 77


def run_relay(folder: Path, home: Path | None) -> int:
    """Run until it is stopped; the exit code."""
    log = structlog.get_logger()
    try:
        require_zmq()
        identity = load_identity(folder)
        loop = RelayLoop(identity, relay_config(identity), home, raise_limit())
        if loop.drained:
            log.info("drained", relay=identity.id, next=f"fabric drain {identity.id} --back")
            return EXIT_DRAINED
        loop.run()
        if loop.drained:
            return EXIT_DRAINED
    except FabricError as error:
        log.error(
            CANNOT_RUN, relay=folder.name, code=error.code.label, cause=error.code.cause, detail=error.detail,
            next=error.next_step,
        )
        return EXIT_RESTART if error.code is Code.SPOOL_FAILED else EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - what is on disk is sound whatever this was: begin again from there
        fault = type(error).__name__
        log.error(OWN_FAULT, relay=folder.name, error=fault, at=raised_at(error))
        return EXIT_RESTART
    return 0


def stop_with(supervisor: int) -> None:
    """Linux tells a process when its parent dies. A supervisor that was killed must not leave relays that nobody can
    stop with `fabric down`; elsewhere than on Linux it does."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it died before it could be asked for
        os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Runs the relay; the exit code is as the module says."""
    parser = argparse.ArgumentParser(prog="python -m relays.run", description="Run one relay in the foreground.")
    parser.add_argument("folder", type=Path, help="the relay's identity folder, or its bundle")
    parser.add_argument("--home", type=Path, default=None, help="where state lives; default: FABRIC_HOME")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--supervisor", type=int, default=0, help="stop when this process, the parent, is gone")
    parsed = parser.parse_args(arguments)
    open_streams()
    set_up_logs(parsed.log_level)
    if parsed.supervisor:
        stop_with(parsed.supervisor)
    return run_relay(parsed.folder, parsed.home)


if __name__ == "__main__":
    sys.exit(main())
