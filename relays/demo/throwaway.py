"""A fabric that exists for minutes: its home is a temporary folder, its relays end with it.

Guarantees: whatever happens in the block, every process that it started has ended and the home is gone when the
block is left; a relay that was frozen or taken away comes back when its block is left. Refuses to start where another
program has one of its ports, and says which.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fabric.edge.identity.home import fabric_folder, ids_folder
from fabric.edge.identity.identity import Identity, load_identity
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from relays.authority import init_authority, make_identities
from relays.last_words import last_words
from relays.process.status import read_status
from relays.supervisor import detach
from relays.topology import loader

_START_S = 30.0
# The supervisor gives its relays ten seconds.
_STOP_S = 15.0
_POLL_S = 0.02
_OTHER_PORTS = "stop it with `fabric down`, or run `./scripts/demo --topology FILE` with a copy that has other ports"


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises TIMED_OUT, with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FabricError(Code.TIMED_OUT, f"{what} ({seconds:.0f} s)")
        time.sleep(_POLL_S)


class Throwaway:
    """A context: the fabric of this topology file, running after `start` and gone at the end."""

    def __init__(self, file: Path) -> None:
        self.topology = loader.load(file)
        self.name = self.topology.fabric
        self.home: Path | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Throwaway:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when every relay is up and has its parent; raises why not."""
        _check_ports([(relay.id, relay.listen) for relay in self.topology.relays.values()])
        self.home = Path(tempfile.mkdtemp(prefix="fabric-demo-"))
        make_identities(self.topology, init_authority(self.name, self.home), self.home)
        self._run = make_private(fabric_folder(self.name, self.home) / "run")
        # In a session of its own: Ctrl-C is for the demo, which then stops everything in order.
        self._supervisor = detach(self.name, tuple(self.topology.relays), self.home, Path(__file__).parents[2])
        wait_until(self._all_up, _START_S, "all relays up")

    def _all_up(self) -> bool:
        assert self._supervisor is not None
        for relay in self.topology.relays:
            words = last_words(self.name, relay, self.home)
            if words is not None:
                code = next((c for c in Code if c.label == words.get("code")), Code.NOT_RUNNING)
                next_step = _OTHER_PORTS if code is Code.PORT_IN_USE else str(words.get("next", ""))
                raise FabricError(code, f"relay {relay}: {words.get('detail', '')}", next_step)
        if self._supervisor.poll() is not None:
            raise FabricError(Code.NOT_RUNNING, "the supervisor ended", "run `fabric up` with the same topology")
        states = [self.status(relay) for relay in self.topology.relays]
        return all(state.get("ready") and state["parent_link"] != "down" for state in states)

    # -- looking ----------------------------------------------------------------------------------------

    def status(self, relay: str) -> dict[str, Any]:
        """What the relay last wrote of itself, at most about a second old; empty before its first word."""
        return read_status(self._run / f"{relay}.json", time.time_ns() // 1_000_000) or {}

    def identity(self, id_: str) -> Identity:
        return load_identity(ids_folder(self.name, self.home) / id_)

    # -- trouble ----------------------------------------------------------------------------------------

    @contextmanager
    def frozen(self, relay: str) -> Iterator[None]:
        """The relay hangs: its process is there and does nothing."""
        pid = int(self.status(relay)["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def taken_away(self, relay: str) -> Iterator[None]:
        """The relay is killed, and its supervisor held so that it does not come back before the block is left."""
        assert self._supervisor is not None
        pid = int(self.status(relay)["pid"])
        self._supervisor.send_signal(signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            yield
        finally:
            self._supervisor.send_signal(signal.SIGCONT)

    # -- the end ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """All processes end, then the home goes. Safe to call at any moment; nothing interrupts it any more."""
        for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_, signal.SIG_IGN)
        if self.home is None:
            return
        if self._supervisor is not None:
            self._signal_relays(signal.SIGCONT)
            self._supervisor.send_signal(signal.SIGCONT)
            self._supervisor.terminate()
            try:
                self._supervisor.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()
            self._signal_relays(signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)

    def _signal_relays(self, signal_: signal.Signals) -> None:
        """Only to processes that are still ours: a number in a status file may be somebody else's by now."""
        for relay in self.topology.relays:
            pid = int(self.status(relay).get("pid", 0))
            with suppress(OSError):
                if pid and os.fsencode(str(self.home)) in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal_)


def _check_ports(addresses: list[tuple[str, str]]) -> None:
    for relay, address in addresses:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as door:
            # As libzmq does: a connection that lingers after its end is nobody's listener.
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind((host.strip("[]"), int(port)))
                door.listen()
            except OSError as error:
                raise FabricError(Code.PORT_IN_USE, f"{address}, where relay {relay} would listen",
                                  _OTHER_PORTS) from error
