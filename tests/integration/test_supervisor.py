"""Relays that are forks: what the system shows of them is what it shows of those started anew, and what becomes of them
when the process that forks them does not go on."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from relays.authority import init_authority, make_identities
from relays.starting import command_of
from relays.supervisor import stop_supervisor
from relays.topology.loader import load
from tests.integration.harness import ROOT, House, house_in, wait_for

TWO = """
fabric = "pair"
organisation = "acme"
[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq" }
east = { segment = "east", clearance = "amber", listen = "127.0.0.1:PORT-east", parent = "hq" }
"""
# A supervisor, and one that knows of no forks.
FORKED = "import sys; from relays.supervisor import Supervisor; Supervisor('pair', ['hq', 'east']).run()"
ANEW = "from relays import supervisor, starting\n" \
       "supervisor.best = lambda ids, relays, home, errors: starting.EachAnew(ids, home)\n" + FORKED


@pytest.fixture
def pair(tmp_path):
    with house_in(tmp_path, TWO) as house:
        make_identities(load(house.file), init_authority("pair", house.home), house.home)
        yield house


def supervise(house: House, how: str) -> subprocess.Popen[bytes]:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", how], cwd=ROOT, env={**os.environ, "FABRIC_HOME": str(house.home), "MARK": "here"},
        stdin=subprocess.DEVNULL, umask=0o027,
    )
    house.wait_whole()
    return supervisor


def commands(house: House) -> dict[int, list[str]]:
    """By process of this house: its command line."""
    found = {}
    for pid in house.processes():
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    return found


def fork_servers(house: House) -> list[int]:
    return [pid for pid, command in commands(house).items() if "relays.fork_server" in command]


def of_relay(house: House, relay: str) -> list[int]:
    return [pid for pid, command in commands(house).items() if str(house.folder / "ids" / relay) in command]


def shown(house: House, relay: str) -> dict[str, object]:
    """What the system tells of a relay's process, numbers that are chosen anew each time aside."""
    pid = house.pid(relay)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    streams = [os.readlink(f"/proc/{pid}/fd/{stream}") for stream in range(3)]
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return {
        "session": os.getsid(pid) == pid, "parent": int(status["PPid"]), "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "streams": [stream.replace(str(house.work), "") for stream in streams],
        "environment": sorted(line for line in environment if re.match("MARK=|HOME=|PATH=", line)),
        "name": status["Name"], "program": os.readlink(f"/proc/{pid}/exe"),
        **{field: status[field] for field in ("Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs")},
    }


def test_a_fork_is_shown_as_what_is_started_anew(pair: House):
    found = []
    for how in (FORKED, ANEW):
        supervisor = supervise(pair, how)
        relays = {relay: shown(pair, relay) for relay in pair.relays}
        for relay in pair.relays:
            command = commands(pair)[pair.pid(relay)]
            assert command == command_of(pair.folder / "ids" / relay, supervisor.pid, None)
            assert relays[relay].pop("parent") == supervisor.pid
        assert len(fork_servers(pair)) == (how == FORKED)
        found.append(relays)
        stop_supervisor("pair", pair.home)
        assert supervisor.wait(10) == 0
        wait_for(lambda: not pair.processes(), "nothing left")
    assert found[0] == found[1]
    assert found[0]["hq"]["session"] and found[0]["hq"]["streams"] == ["/dev/null", *["/home/pair/run/hq.log"] * 2]


def test_relays_go_on_without_the_process_that_forked_them_and_the_next_start_has_another(pair: House):
    supervise(pair, FORKED)
    (server,) = fork_servers(pair)
    pids = {relay: pair.pid(relay) for relay in pair.relays}
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{server}").exists(), "the server is waited for")
    assert {relay: pair.fresh_state(relay)["pid"] for relay in pair.relays} == pids
    killed = pair.kill_relay("east")
    pair.wait_restarted("east", killed)
    assert fork_servers(pair) != [server] and len(fork_servers(pair)) == 1
    assert of_relay(pair, "hq") == [pids["hq"]] and len(of_relay(pair, "east")) == 1
    stop_supervisor("pair", pair.home)
    wait_for(lambda: not pair.processes(), "nothing left")


def test_a_server_that_dies_while_it_is_asked_doubles_nobody(pair: House):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", FORKED], cwd=ROOT, env={**os.environ, "FABRIC_HOME": str(pair.home)},
        stdin=subprocess.DEVNULL,
    )
    killed = set()
    while len(killed) < 3:
        for server in wait_for(lambda: [pid for pid in fork_servers(pair) if pid not in killed], "a server"):
            os.kill(server, signal.SIGKILL)
            killed.add(server)
    pair.wait_whole()
    for relay in pair.relays:
        assert of_relay(pair, relay) == [pair.pid(relay)], "one process, and the one that serves"
        lines = [json.loads(line) for line in pair.logs()[f"{relay}.log"].splitlines()]
        refused = [line for line in lines if line["event"] == "relay cannot be started"]
        assert refused and all(line["code"] == "E916" and "ended" in line["detail"] for line in refused)
        assert sum("relay started" in line["event"] for line in lines) == 1
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert sorted(map(int, children)) == sorted([*fork_servers(pair), *(pair.pid(relay) for relay in pair.relays)])
    stop_supervisor("pair", pair.home)
    wait_for(lambda: not pair.processes(), "nothing left")


def test_a_supervisor_stops_though_its_server_hangs(pair: House):
    supervisor = supervise(pair, FORKED)
    (server,) = fork_servers(pair)
    with pair.frozen(server):
        killed = pair.kill_relay("east")
        wait_for(lambda: not Path(f"/proc/{killed}").exists(), "the relay is waited for")
        stop_supervisor("pair", pair.home)
        assert supervisor.wait(10) == 0
        wait_for(lambda: not pair.processes(), "nothing left")


def test_a_supervisor_that_is_killed_takes_its_server_along(pair: House):
    supervisor = supervise(pair, FORKED)
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: not pair.processes(), "nothing left")
