"""How long one action takes to many control points, from its asking to the last result: ledger, states, resolution.

A root with relays below it, each with control points of its own; these run in a few processes, a thread each, and have
ledgers on disk like any other. Figures are of a program that is connected; with `--approved` two approvers say yes
first, and what counts is the time from the second approval.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fabric.edge.blocking import ControlPoint
from fabric.edge.requesting.request import Request
from scripts.bench_relays import percentile
from tests.integration.harness import ROOT, House, house_in, wait_for

_PROCESSES = 4
_COME_S = 180.0


def topology(relays: int, points: int, approved: bool) -> str:
    """hq above `relays` relays, which share the points."""
    below = "\n".join(
        f'r{n} = {{ segment = "s{n}", clearance = "red", listen = "127.0.0.1:PORT-r{n}", parent = "hq" }}'
        for n in range(relays)
    )
    walls = "\n".join(
        f'fw-{n} = {{ relay = "r{n % relays}", role = "firewall", clearance = "red" }}' for n in range(points)
    )
    asks = '[[approval]]\nwhen = { class = "contain" }\n' + (
        'require = 2\nfrom = ["lead"]\nwithin = "5m"\n' if approved else "require = 0\n"
    )
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

{asks}"""


def execute(ids: list[str]) -> None:
    """These control points, until standard input ends."""
    with ExitStack() as stack:
        for id_ in ids:
            point = stack.enter_context(ControlPoint(id_, connect_timeout_s=120.0, actions_at_once=1))
            point.on_action("deny", "ipv4_net")(lambda _action: {"rule": 7})
        print("ready", flush=True)
        sys.stdin.read()


def _walls(house: House, points: int, stack: ExitStack) -> list[subprocess.Popen[str]]:
    environment = {**os.environ, "FABRIC_HOME": str(house.home), "PYTHONPATH": str(ROOT)}
    started = []
    for n in range(_PROCESSES):
        ids = [f"fw-{each}" for each in range(n, points, _PROCESSES)]
        process = stack.enter_context(subprocess.Popen(
            [sys.executable, "-m", "scripts.bench_actions", "execute", *ids], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ))
        stack.callback(process.terminate)
        started.append(process)
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
    return started


def _once(house: House, points: int, approved: bool, number: int) -> dict[str, float]:
    """Seconds until the first result, half of them, and the last."""
    began, at = time.perf_counter(), []
    with house.point("soar-1") as soar:
        leads = [house.point(f"lead-{n}") for n in (1, 2)] if approved else []
        with ExitStack() as stack:
            for lead in leads:
                stack.enter_context(lead)
            began = time.perf_counter()

            def watch(request: Request) -> None:
                nonlocal began
                if approved and request.targets and len(leads) == 2:
                    asked = [next(iter(lead.approvals(timeout_s=30))) for lead in leads]
                    pairs, leads[:] = list(zip(list(leads), asked, strict=True)), []
                    for lead, one in pairs:
                        began = time.perf_counter()
                        lead.approve(one)

            for outcome in soar.request("deny", f"ipv4_net=192.0.2.{number}", to="role=firewall", watch=watch):
                assert outcome.end == "completed", outcome
                at.append(time.perf_counter() - began)
    assert len(at) == points
    return {"first_s": at[0], "half_s": at[len(at) // 2], "last_s": at[-1]}


def measure(relays: int, points: int, rounds: int, approved: bool) -> dict[str, Any]:
    """The median of some rounds, after one that does not count; and what relays and control points take."""
    with tempfile.TemporaryDirectory() as folder, house_in(Path(folder), topology(relays, points, approved)) as house:
        house.up()
        house.wait_whole()
        with ExitStack() as stack:
            walls = _walls(house, points, stack)
            wait_for(lambda: house.fresh_state("hq")["routes"] >= points, "all control points", _COME_S)
            print(f"{points} control points below {relays} relays", file=sys.stderr)
            found = [_once(house, points, approved, number) for number in range(1, rounds + 2)][1:]
            memory = {"hq_mb": _rss_mb(house.pid("hq")), "point_mb": sum(_rss_mb(w.pid) for w in walls) / points}
            for process in walls:
                assert process.stdin is not None
                process.stdin.close()
    times = {name: percentile([each[name] for each in found], 0.5) for name in found[0]}
    return {"points": points, "relays": relays, "approved": approved, **times, **memory}


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench actions", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--relays", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--approved", action="store_true", help="two approvers say yes first")
    chosen = parser.parse_args()
    found = measure(
        max(1, min(chosen.relays, 50)), max(1, min(chosen.points, 2_000)), max(1, min(chosen.rounds, 50)),
        chosen.approved,
    )
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["execute"]:
        execute(sys.argv[2:])
    else:
        main()
