"""One action to many control points below many relays, until all results are back.

A root with relays below it, each with control points of its own, which have ledgers on disk like any other. The
command's figure is of the whole command, Python's start included; the others are of a program that is connected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

from fabric.edge.requesting.request import Request
from scripts.comparison.figures import Figure, Window, percentile
from scripts.comparison.processes import Cpu, Failed, Program
from tests.integration.harness import ROOT, House, house_in, wait_for

# From the second approval on, where two are due.
CONNECTED = (Figure("first", "s", "less"), Figure("half", "s", "less"), Figure("last", "s", "less"))
FIGURES = (Figure("command", "s", "less", 2.0), *CONNECTED)
# Each control point is a process of its own elsewhere. Here so many processes share them that not all of the machine is
# their memory, and so few share one that they do not wait for each other's turn in it.
_PROCESSES_MAX = 25
_COME_S = 180.0
_COMMAND_S = 120.0


def topology(relays: int, points: int, approved: bool) -> str:
    """hq above `relays` relays, which share the points. `approved`: two approvers have to say yes."""
    below = "\n".join(
        f'r{n} = {{ segment = "s{n}", clearance = "red", listen = "127.0.0.1:PORT-r{n}", parent = "hq" }}'
        for n in range(relays)
    )
    walls = "\n".join(
        f'{name} = {{ relay = "r{n % relays}", role = "firewall", clearance = "red" }}'
        for n, name in enumerate(names(points))
    )
    asks = 'require = 2\nfrom = ["lead"]\nwithin = "5m"' if approved else "require = 0"
    return f"""
fabric = "bench"
organisation = "acme"
defaults = {{ label = "green", ttl = {{ event = "1h", action = "60s", result = "1h" }} }}

[relays]
hq = {{ segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }}
{below}

[roles]
firewall = {{ execute = ["deny ipv4_net"] }}
soar = {{ request = [{{ action = "deny *", to = "role=firewall" }}] }}
lead = {{ approve = [{{ class = "contain", to = "role=firewall" }}] }}

[points]
soar-1 = {{ relay = "hq", role = "soar", clearance = "red" }}
lead-1 = {{ relay = "hq", role = "lead", clearance = "red", principal = "anna" }}
lead-2 = {{ relay = "hq", role = "lead", clearance = "red", principal = "ben" }}
{walls}

[[approval]]
when = {{ class = "contain" }}
{asks}
"""


def names(points: int) -> list[str]:
    return [f"fw-{n}" for n in range(points)]


class Fanout:
    """Seconds until the first result, half of them and the last, of one action after the other."""

    does = (
        "the relays, the control points and who asks share this machine; each target verifies the action, has it in a "
        "ledger on disk before it acts, and signs its result; processor time is per target"
    )

    def __init__(self, house: House, relays: int, targets: Sequence[Program], points: int, *, approved: bool) -> None:
        self._house, self._points, self._approved = house, points, approved
        self._addresses = cycle(f"192.0.2.{n}" for n in range(1, 255))
        self._cpu = Cpu({
            "hq": house.pid("hq"), "relays": [house.pid(f"r{n}") for n in range(relays)],
            "targets": [program.pid for program in targets], "requester": os.getpid(),
        })

    def window(self, seconds: float) -> Window:
        """Of one action, or of two where no approval is due; that takes as long as it takes."""
        command = {} if self._approved else {"command": self._command()}
        self._cpu.begin()
        took_s = self._connected()
        figures = {"first": took_s[0], "half": percentile(took_s, 0.5), "last": took_s[-1]}
        return Window({**command, **figures}, self._cpu.per_record(self._points))

    def _command(self) -> float:
        began_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "relays.cli", "act", "deny", f"ipv4_net={next(self._addresses)}",
             "--to", "role=firewall", "--as", "soar-1", "--json"],
            cwd=ROOT, env={**os.environ, "FABRIC_HOME": str(self._house.home)}, capture_output=True, text=True,
            timeout=_COMMAND_S, check=False,
        )
        took_s = time.perf_counter() - began_s
        ends = [json.loads(line).get("end") for line in done.stdout.splitlines()]
        if ends.count("completed") != self._points:
            raise Failed(f"{ends.count('completed')} of {self._points} targets completed. {done.stderr[-300:].strip()}")
        return took_s

    def _connected(self) -> list[float]:
        """Seconds until each result, from the asking, or from the second approval."""
        at_s: list[float] = []
        with ExitStack() as stack:
            soar = stack.enter_context(self._house.point("soar-1"))
            leads = [stack.enter_context(self._house.point(f"lead-{n}")) for n in (1, 2)] if self._approved else []
            began_s = time.perf_counter()

            def watch(request: Request) -> None:
                nonlocal began_s
                if request.targets:
                    for lead in leads:
                        asked = next(iter(lead.approvals(timeout_s=30)))
                        began_s = time.perf_counter()
                        lead.approve(asked)
                    leads.clear()

            target = f"ipv4_net={next(self._addresses)}"
            for outcome in soar.request("deny", target, to="role=firewall", watch=watch):
                if outcome.end != "completed":
                    raise Failed(f"{outcome.target} ended as {outcome.end}: {outcome.code} {outcome.reason}")
                at_s.append(time.perf_counter() - began_s)
        if len(at_s) != self._points:
            raise Failed(f"{len(at_s)} of {self._points} targets answered")
        return at_s


@contextmanager
def fanout(folder: Path, *, relays: int, points: int, approved: bool = False) -> Iterator[Fanout]:
    """A whole tree, of which every target has said that it is ready."""
    folder.mkdir()
    with house_in(folder, topology(relays, points, approved), anew=True) as house, ExitStack() as stack:
        house.up()
        house.wait_whole()
        count = min(_PROCESSES_MAX, points)
        programs = [
            stack.enter_context(Program(
                folder / f"targets {n}.log", "scripts.comparison.fanout_ends", str(house.folder / "ids"),
                *names(points)[n::count],
            ))
            for n in range(count)
        ]
        for program in programs:
            program.hear(_COME_S)
        wait_for(lambda: house.fresh_state("hq")["routes"] >= points, "all targets known at hq", _COME_S)
        yield Fanout(house, relays, programs, points, approved=approved)
        stack.close()
        house.down()
