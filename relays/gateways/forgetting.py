"""Sinks that are declared no more: their relay is told, so that nothing waits for them, and what they remembered goes.

Guarantees: a sink that is declared, or whose declaration cannot be used, keeps what waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import structlog

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import FabricError

SUFFIX = ".outbox"
# What SQLite and an outbox keep beside the file, its lock last.
_BESIDE = ("", "-wal", "-shm", "-journal", ".ballast", ".clock", ".lock")
_CLOSE_S = 5.0


def outbox_of(folder: Path, name: str) -> Path:
    """Where the sink of this name remembers its session."""
    return folder / f"{name}{SUFFIX}"


def left_behind(folder: Path, declared: Collection[str]) -> list[Path]:
    """Outboxes of sinks that are not declared. Empty where there is no folder."""
    return sorted(path for path in folder.glob(f"?*{SUFFIX}") if path.name.removesuffix(SUFFIX) not in declared)


class Forgetting:
    """One sink that is declared no more. `run` on a thread of its own; `stop` from any."""

    def __init__(self, identity: Identity, outbox: Path) -> None:
        self._outbox = outbox
        self._point = ControlPoint(identity, outbox=outbox, connect_timeout_s=None, wait_for_relay=True)
        self._stopped = threading.Event()
        self._log = structlog.get_logger().bind(sink=outbox.name.removesuffix(SUFFIX))

    def run(self) -> None:
        """Until its relay has confirmed it. What goes wrong is logged, and tried again at the next start."""
        try:
            self._point.connect()
            for pattern in self._point.wanted:
                self._point.forget(pattern)
            self._point.wait_ready()
            self._point.close(_CLOSE_S)
            if not self._stopped.is_set():
                for suffix in _BESIDE:
                    self._outbox.with_name(self._outbox.name + suffix).unlink(missing_ok=True)
                self._log.info("declared no more: nothing waits for it")
        except (FabricError, OSError) as error:
            with suppress(FabricError):
                self._point.close(0.0)
            if not self._stopped.is_set():
                self._log.warning("declared no more, and its relay was not told", why=str(error))

    def stop(self) -> None:
        """It is enough for now."""
        self._stopped.set()
        with suppress(FabricError):
            self._point.close(0.0)
