"""How long one action takes to many control points, from its asking to the last result: ledger, states, resolution.

A root with relays below it, each with control points of its own, which have ledgers on disk like any other. Figures are
of a program that is connected; with `--approved` two approvers say yes first, and what counts is the time from the
second approval.

A row for each way to run the control points. In a process each, as they are in the field. And all in a few processes:
there the threads of 125 of them share one interpreter, of which each wakes two hundred times a second only to ask for
it, so that row is of that as much as of the fabric. On a machine with nothing else to do `cpu_ms`, of one target, and
`idle_ms_per_s`, of all processes, say where the time went: everything runs on this machine, idle control points too.
"""

from __future__ import annotations

import argparse
import gc
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
_IDLE_S = 5.0
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
        os.write(1, b"ready\n")  # in one: several processes share the pipe, and print may write the line's end apart
        sys.stdin.read()


def execute_each(ids: list[str]) -> None:
    """The same, each in a process of its own; modules are read once."""
    gc.freeze()
    forks = []
    for id_ in ids:
        number = os.fork()
        if not number:
            execute([id_])
            os._exit(0)
        forks.append(number)
    for number in forks:
        os.waitpid(number, 0)


def _walls(house: House, points: int, processes: int, stack: ExitStack) -> list[int]:
    """The processes that run the control points, until the stack is left."""
    environment = {**os.environ, "FABRIC_HOME": str(house.home), "PYTHONPATH": str(ROOT)}
    how, count = ("execute", processes) if processes < points else ("execute-each", 1)
    started = []
    for n in range(count):
        ids = [f"fw-{each}" for each in range(n, points, count)]
        process = stack.enter_context(subprocess.Popen(
            [sys.executable, "-m", "scripts.bench_actions", how, *ids], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ))
        stack.callback(process.terminate)
        assert process.stdin is not None
        stack.callback(process.stdin.close)
        started.append(process)
    for process in started:
        assert process.stdout is not None
        for _ in range(points if how == "execute-each" else 1):
            assert process.stdout.readline().strip() == "ready"
    if how == "execute":
        return [process.pid for process in started]
    server = started[0].pid
    return list(map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split()))


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


def measure(relays: int, points: int, rounds: int, approved: bool, processes: int) -> dict[str, Any]:
    """The median of some rounds, after one that does not count; and what relays and control points take."""
    with tempfile.TemporaryDirectory() as folder, house_in(Path(folder), topology(relays, points, approved)) as house:
        house.up()
        house.wait_whole()
        with ExitStack() as stack:
            walls = _walls(house, points, processes, stack)
            wait_for(lambda: house.fresh_state("hq")["routes"] >= points, "all control points", _COME_S)
            print(f"{points} control points in {processes} processes below {relays} relays", file=sys.stderr)
            of = {"hq": [house.pid("hq")], "relays": [house.pid(f"r{n}") for n in range(relays)], "points": walls,
                  "requester": [os.getpid()]}
            _once(house, points, approved, 1)
            time.sleep(_IDLE_S)  # what they did is told and signed by then
            before_ms, began = _cpu_ms(of), time.perf_counter()
            time.sleep(_IDLE_S)
            idle = {name: ms / (time.perf_counter() - began) for name, ms in _more(before_ms, _cpu_ms(of)).items()}
            before_ms = _cpu_ms(of)
            found = [_once(house, points, approved, number) for number in range(2, rounds + 2)]
            cpu = {name: ms / rounds / points for name, ms in _more(before_ms, _cpu_ms(of)).items()}
            memory = {"hq_mb": _mb(house.pid("hq")), "point_mb": sum(map(_mb, walls)) / points}
    times = {name: percentile([each[name] for each in found], 0.5) for name in found[0]}
    return {
        "points": points, "relays": relays, "processes": processes, "approved": approved, **times, **memory,
        "cpu_ms": cpu, "idle_ms_per_s": idle,
    }


def _cpu_ms(of: dict[str, list[int]]) -> dict[str, float]:
    """What these processes used of the processors until now, their threads' time in the kernel too."""
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    return {
        name: sum(tick_ms * sum(map(int, Path(f"/proc/{n}/stat").read_text().rpartition(")")[2].split()[11:13]))
                  for n in numbers)
        for name, numbers in of.items()
    }


def _more(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    return {name: now[name] - before[name] for name in now}


def _mb(pid: int) -> float:
    """What is in memory of it, its share of what several have."""
    return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0]) / 1024


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench actions", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--relays", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", help="that run the control points: 4, and one for each")
    parser.add_argument("--approved", action="store_true", help="two approvers say yes first")
    chosen = parser.parse_args()
    relays, points = max(1, min(chosen.relays, 50)), max(1, min(chosen.points, 2_000))
    rounds = max(1, min(chosen.rounds, 50))
    for processes in chosen.processes or (_PROCESSES, points):
        found = measure(relays, points, rounds, chosen.approved, max(1, min(processes, points)))
        print(json.dumps(_rounded(found)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["execute"]:
        execute(sys.argv[2:])
    elif sys.argv[1:2] == ["execute-each"]:
        execute_each(sys.argv[2:])
    else:
        main()
