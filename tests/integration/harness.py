"""A fabric of real processes for tests: made in a folder of its own, on free ports, and gone afterwards.

Nothing here waits for a fixed time: every wait is for a condition, with a deadline that fails in words. Whatever was
started has this fabric's FABRIC_HOME in its environment; that is how the end finds all of it, even after a failure.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity, load_identity
from relays.topology.loader import load as topology_of
from tests.integration import warm
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
FABRIC = [sys.executable, "-m", "relays.cli"]
_PORT = re.compile(r"\bPORT-([a-z0-9-]+)")
_T = TypeVar("_T")

# hq red - mid amber - low green - plant amber, which may not dial out. What the plant labels amber ends below low.
TOPOLOGY = """
fabric = "trial"
organisation = "acme"
defaults = { label = "amber", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:PORT-hq" }
mid   = { segment = "mid",   clearance = "amber", listen = "127.0.0.1:PORT-mid",   parent = "hq" }
low   = { segment = "low",   clearance = "green", listen = "127.0.0.1:PORT-low",   parent = "mid" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "low", dial = "child" }

[roles]
sensor   = { publish = [{ topic = "detections.>", severity_max = "critical" }] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
edr      = { execute = ["scan *"], publish = ["detections.edr.>"] }

[roles.soar]
subscribe = ["detections.>"]
request = [
    { action = "deny ipv4_net", to = "role=firewall", severity_max = "high" },
    { action = "scan *", to = "role=edr" },
]

[points]
zeek-p     = { relay = "plant", role = "sensor",   clearance = "amber" }
analyst-p  = { relay = "plant", role = "analyst",  clearance = "amber", kind = "operator" }
fw-p       = { relay = "plant", role = "firewall", clearance = "amber" }
fw-m       = { relay = "mid",   role = "firewall", clearance = "amber" }
edr-m      = { relay = "mid",   role = "edr",      clearance = "amber" }
sensor-m   = { relay = "mid",   role = "sensor",   clearance = "amber" }
analyst-m  = { relay = "mid",   role = "analyst",  clearance = "amber", kind = "operator" }
keeper-m   = { relay = "mid",   role = "analyst",  clearance = "amber", keep = { bytes = "64MB", for = "1d" } }
waiter-m   = { relay = "mid",   role = "analyst",  clearance = "amber", keep = { bytes = "1MB", full = "wait" } }
leaver-m   = { relay = "mid",   role = "analyst",  clearance = "amber", keep = { bytes = "1MB", full = "wait" } }
guest-m    = { relay = "mid",   role = "sensor",   clearance = "amber" }
guest-p    = { relay = "plant", role = "sensor",   clearance = "amber" }
analyst-hq = { relay = "hq",    role = "analyst",  clearance = "red",   kind = "operator" }
soar-hq    = { relay = "hq",    role = "soar",     clearance = "red" }
soar-2     = { relay = "hq",    role = "soar",     clearance = "red" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""


def with_free_ports(text: str) -> str:
    """PORT-name becomes a free port, the same for the same name."""
    ports = {name: str(free_port()) for name in dict.fromkeys(_PORT.findall(text))}
    return _PORT.sub(lambda found: ports[found[1]], text)


def wait_for(condition: Callable[[], _T], what: str, timeout_s: float = 60.0) -> _T:
    """What the condition returned when it first was true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    args: Sequence[str]
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """Standard error as the one object that `--json` promises."""
        (line,) = self.err.splitlines()
        return dict(json.loads(line)["error"])

    def expect(self, code: int) -> Done:
        assert self.code == code, f"{' '.join(self.args)}: exit code {self.code}, not {code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.out + self.err, self.err
        return self


class Running:
    """A command that runs, its lines as they come."""

    def __init__(self, process: subprocess.Popen[str] | warm.Command, args: Sequence[str]) -> None:
        self.process = process
        self.args = args
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=lambda s=stream, k=kept: k.extend(s), daemon=True)
            for stream, kept in ((_lines(process.stdout), self.out), (_lines(process.stderr), self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_line(self, part: str, timeout_s: float = 60.0) -> str:
        """The first line of output or errors with this in it."""

        def found() -> str | None:
            return next((line for line in [*self.out, *self.err] if part in line), None)

        line = wait_for(lambda: found() or self.process.poll() is not None, f"{part!r} from {self.args}", timeout_s)
        seen = found()
        assert seen, f"{' '.join(self.args)} ended ({line}) without {part!r}\n{self.out}\n{self.err}"
        return seen

    def wait(self, timeout_s: float = 60.0) -> Done:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{' '.join(self.args)} did not end in {timeout_s:.0f} s\n{self.err}") from None
        for reader in self._readers:
            reader.join(5)
        return Done(self.args, code, "\n".join(self.out), "\n".join(self.err))

    def stop(self, signal_: int = signal.SIGTERM) -> Done:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal_)
        return self.wait()


def begin(
    home: Path, *args: str, stdin: int = subprocess.DEVNULL, program: str = "", anew: bool = False
) -> Running:
    """A command with this home. `stdin`: `subprocess.PIPE`, or it has nothing to read. `program`: what to run instead
    of the command, as after `python -c`. `anew`: as whoever types it begins it, which takes longer: what it takes of
    time and memory is its own then."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FABRIC_")}
    environment |= {"FABRIC_HOME": str(home), "COLUMNS": "160"}
    if anew:
        assert not program
        return Running(subprocess.Popen(
            [*FABRIC, *args], cwd=ROOT, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        ), args)
    return Running(warm.start(args, environment, with_stdin=stdin == subprocess.PIPE, program=program), args)


def _lines(stream: Any) -> Iterator[str]:
    return (line.rstrip("\n") for line in stream)


# How a fault that a relay contained stands in its log, as JSON.
FAULTS = ('"event": "fault"',)


class House:
    """One fabric. `folder` is the test's own. `anew`: its commands begin as those of users do, as for `begin`."""

    def __init__(self, folder: Path, topology: str = TOPOLOGY, *, anew: bool = False) -> None:
        self._anew = anew
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.file = folder / "topology.toml"
        self.file.write_text(with_free_ports(topology))
        found = re.search(r'^fabric = "(.+)"', topology, re.MULTILINE)
        assert found
        self.fabric = found[1]
        self.relays = tuple(topology_of(self.file).relays)
        self.folder = self.home / self.fabric
        self.work = folder
        self._commands: list[Running] = []

    # -- commands -----------------------------------------------------------------------------------------

    def start(
        self, *args: str, stdin: int = subprocess.DEVNULL, home: Path | None = None, program: str = ""
    ) -> Running:
        """`home`: that of another machine, where it is not this house's own. `program`: see `begin`."""
        running = begin(home or self.home, *args, stdin=stdin, program=program, anew=self._anew)
        self._commands = [each for each in self._commands if each.process.poll() is None] + [running]
        return running

    def cli(self, *args: str, timeout_s: float = 60.0) -> Done:
        return self.start(*args).wait(timeout_s)

    def up(self) -> None:
        self.cli("up", "-d", "--dev", "--json", str(self.file), timeout_s=45).expect(0)

    def down(self) -> None:
        self.cli("down", self.fabric, timeout_s=40).expect(0)

    # -- state --------------------------------------------------------------------------------------------

    def states(self) -> dict[str, dict[str, Any]]:
        """From `fabric status --json`."""
        return {state["relay"]: state for state in self.cli("status", self.fabric, "--json").lines}

    def state(self, relay: str) -> dict[str, Any]:
        """What a relay wrote last, without a command in between; empty before it wrote anything."""
        try:
            return dict(json.loads((self.folder / "run" / f"{relay}.json").read_text()))
        except (OSError, ValueError):
            return {}

    def fresh_state(self, relay: str) -> dict[str, Any]:
        """What the relay writes from now on."""
        now_ms = time.time_ns() // 1_000_000
        wait_for(lambda: self.state(relay).get("at_ms", 0) > now_ms, f"a new state of {relay}")
        return self.state(relay)

    def pid(self, relay: str) -> int:
        return int(self.state(relay)["pid"])

    def is_whole(self) -> bool:
        """Every relay runs, is fresh, and has its parent."""
        now_ms = time.time_ns() // 1_000_000
        states = [self.state(relay) for relay in self.relays]
        return all(
            state.get("ready") and now_ms - state["at_ms"] < 2_500 and state["parent_link"] != "down"
            and os.path.exists(f"/proc/{state['pid']}")
            for state in states
        )

    def wait_whole(self) -> None:
        wait_for(self.is_whole, "all relays up", 40)

    def wait_connected(self, relay: str, point: str) -> None:
        wait_for(lambda: point in self.state(relay).get("points", []), f"{point} at {relay}")

    def wait_routes(self, relay: str, count: int) -> None:
        wait_for(lambda: self.state(relay).get("routes", -1) >= count, f"{count} routes at {relay}")

    def identity(self, id_: str) -> Identity:
        return load_identity(self.folder / "ids" / id_)

    def point(self, id_: str, outbox: Path | None = None) -> ControlPoint:
        return ControlPoint(self.identity(id_), outbox=outbox)

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.folder / "run").glob("*.log*")}

    def assert_logs_clean(self, *secrets: str) -> None:
        """No traceback, and none of what nobody may see."""
        for name, text in self.logs().items():
            for forbidden in ("Traceback", "fault of its own", *FAULTS, *secrets):
                assert forbidden not in text, f"{forbidden} in {name}:\n{text[-3000:]}"

    def assert_no_faults(self) -> None:
        """A relay that goes on after a fault of its own had one nevertheless."""
        for name, text in self.logs().items():
            for fault in FAULTS:
                assert fault not in text, f"{name}:\n{text[text.index(fault) - 300 :][:1_000]}"

    # -- processes ----------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Every process that was started for this fabric, whoever its parent is by now."""
        wanted = f"FABRIC_HOME={self.work}/".encode()
        # In /proc is the environment of their beginning, which was another process's.
        found = [each.process.pid for each in self._commands if each.process.poll() is None]
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if any(entry.startswith(wanted) for entry in path.read_bytes().split(b"\0")):
                    found.append(int(path.parent.name))
        return found

    @contextmanager
    def frozen(self, pid: int) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill_relay(self, relay: str) -> int:
        """kill -9, as soon as it runs; the process id that is gone."""

        def killed() -> int:
            with suppress(KeyError, ProcessLookupError):
                pid = self.pid(relay)
                os.kill(pid, signal.SIGKILL)
                return pid
            return 0

        return wait_for(killed, f"a process of {relay} to kill")

    def wait_restarted(self, relay: str, old_pid: int) -> None:
        wait_for(lambda: self.state(relay).get("pid", old_pid) != old_pid, f"another process of {relay}", 30)
        self.wait_whole()

    def destroy(self) -> None:
        """Nothing of it is left, supervisors first: they would start the others again."""
        supervisor = self.folder / "run" / "_supervisor.json"
        with suppress(OSError, ValueError, KeyError):
            os.kill(int(json.loads(supervisor.read_text())["pid"]), signal.SIGKILL)
        for _ in range(50):
            left = self.processes()
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        raise AssertionError(f"still there: {self.processes()}")


@contextmanager
def house_in(folder: Path, topology: str = TOPOLOGY, *, anew: bool = False) -> Iterator[House]:
    house = House(folder, topology, anew=anew)
    try:
        yield house
        house.assert_no_faults()
    finally:
        house.destroy()
