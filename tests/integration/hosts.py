"""Hosts that only reach their neighbours: network namespaces joined by veth pairs, gone when the test is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration import warm
from tests.integration.harness import ROOT, Done, Running

# A command that goes over to a host before it begins, as `ip netns exec` does.
_COMMAND_THERE = """
import ctypes, os, sys
from relays.cli import main
with open("/run/netns/{netns}") as there:
    if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
os.chdir({home!r})
sys.argv[0] = "fabric"
main()
"""


def ip(*args: str) -> None:
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr}"


def can_make_hosts() -> bool:
    if shutil.which("ip") is None:
        return False
    name = f"mf-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made


class Host:
    """A machine with a FABRIC_HOME of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.netns = f"mf-{os.getpid()}-{name}"
        self.home = folder / f"home-{name}"
        self.home.mkdir(mode=0o700)

    def _environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FABRIC_")}
        return environment | {"FABRIC_HOME": str(self.home), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}

    def start(self, *command: str) -> Running:
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, *command], cwd=self.home, env=self._environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        return Running(process, command)

    def fabric(self, *args: str) -> Running:
        program = _COMMAND_THERE.format(netns=self.netns, home=str(self.home))
        return Running(warm.start(args, self._environment(), program=program), args)

    def run(self, *args: str) -> Done:
        return self.fabric(*args).wait()

    def reaches(self, address: str, port: int) -> bool:
        code = (
            "import socket, sys; s = socket.socket(); s.settimeout(1); "
            f"sys.exit(s.connect_ex(({address!r}, {port})) != 0)"
        )
        return self.start(sys.executable, "-c", code).wait().code == 0

    def destroy(self) -> None:
        found = subprocess.run(["ip", "netns", "pids", self.netns], capture_output=True, text=True)
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)


@contextmanager
def hosts(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """A row of hosts: the n-th and the next share the network 10.99.n.0/30, and nobody forwards."""
    made: dict[str, Host] = {}
    try:
        for name in names:
            made[name] = Host(name, folder)
            ip("netns", "add", made[name].netns)
            ip("-n", made[name].netns, "link", "set", "lo", "up")
        row = list(made.values())
        for n, (left, right) in enumerate(zip(row, row[1:], strict=False)):
            ip("-n", left.netns, "link", "add", f"down{n}", "type", "veth", "peer", "name", f"up{n}", "netns",
               right.netns)
            for host, device, last in ((left, f"down{n}", 1), (right, f"up{n}", 2)):
                ip("-n", host.netns, "addr", "add", f"10.99.{n}.{last}/30", "dev", device)
                ip("-n", host.netns, "link", "set", device, "up")
        yield made
    finally:
        for host in made.values():
            host.destroy()
