"""The demo as a person runs it: what it promises is seen, and nothing of it is left, however it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from relays.demo.steps import CHECKS
from tests.integration import warm
from tests.integration.harness import Running
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


@pytest.fixture
def topology(tmp_path):
    """enterprise.toml on ports that are free."""
    text = (ROOT / "topologies" / "enterprise.toml").read_text()
    doors = {address: f"127.0.0.1:{free_port()}" for address in ADDRESS.findall(text)}
    file = tmp_path / "enterprise.toml"
    file.write_text(ADDRESS.sub(lambda found: doors[found[0]], text))
    return file


def start(topology, tmp_path):
    args = ["--once", "--topology", str(topology)]
    program = "import sys; from relays.demo.__main__ import main; sys.exit(main())"
    return Running(warm.start(args, {**os.environ, "TMPDIR": str(tmp_path)}, program=program), args)


def finish(running, seconds):
    try:
        running.process.wait(seconds)
    except subprocess.TimeoutExpired:
        done = running.stop()
        pytest.fail(f"no end after {seconds} s\n{done.out}\n{done.err}")
    done = running.wait()
    return done.code, done.out, done.err


def processes_of(folder):
    """Command lines that name the folder: a relay's has its identity's path."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


def homes_in(tmp_path):
    return list(tmp_path.glob("fabric-demo-*"))


def test_everything_that_the_demo_promises_is_seen(topology, tmp_path):
    code, output, errors = finish(start(topology, tmp_path), 100)
    assert code == 0, output + errors
    rows = [re.split(r" {2,}", line.strip()) for line in output.splitlines() if re.match(r" \d  ", line)]
    assert [(int(row[0]), row[1]) for row in rows] == [(check.step, check.what) for check in CHECKS.values()]
    assert all(row[-1] == "ok" for row in rows), output
    assert f"{len(CHECKS)} of {len(CHECKS)} seen as expected" in output
    assert "10.10." not in output + errors, "an address of the plant is AMBER"
    assert not homes_in(tmp_path) and not processes_of(tmp_path)


def test_a_dmz_that_passes_amber_fails_the_demo(topology, tmp_path):
    text = topology.read_text()
    broken = re.sub(r'(dmz +=.*clearance = )"green"', r'\1"amber"', text)
    assert broken != text
    topology.write_text(broken)
    code, output, errors = finish(start(topology, tmp_path), 100)
    assert code == 1, output + errors
    failed = [line for line in output.splitlines() if line.endswith("FAILED")]
    assert any("hq gets no AMBER field" in line and "2 of 2" in line for line in failed), output
    assert not homes_in(tmp_path) and not processes_of(tmp_path)


def test_a_port_in_use_is_named_with_what_to_do(topology, tmp_path):
    address = ADDRESS.findall(topology.read_text())[3]
    with socket.socket() as door:
        door.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        door.listen()
        code, output, errors = finish(start(topology, tmp_path), 30)
    assert code == 1 and not output
    assert "E903" in errors and address in errors
    assert "fabric down" in errors and "--topology" in errors
    assert not homes_in(tmp_path) and not processes_of(tmp_path)


def relays_are_starting(tmp_path):
    return any(next(home.glob("*/run/dmz.json"), None) for home in homes_in(tmp_path))


def supervisor_is_held(tmp_path):
    """A relay was taken away, and what would bring it back is stopped: the worst moment to end."""
    for home in homes_in(tmp_path):
        for file in home.glob("*/run/_supervisor.json"):
            stat = Path(f"/proc/{json.loads(file.read_text())['pid']}/stat")
            return stat.read_text().rpartition(")")[2].split()[0] == "T"
    return False


@pytest.mark.parametrize(
    ("signal_", "moment"), [(signal.SIGINT, relays_are_starting), (signal.SIGTERM, supervisor_is_held)],
    ids=["ctrl-c", "terminated"],
)
def test_an_interrupted_demo_leaves_nothing_behind(topology, tmp_path, signal_, moment):
    running = start(topology, tmp_path)
    deadline = time.monotonic() + 60
    while not moment(tmp_path):
        assert running.process.poll() is None and time.monotonic() < deadline, (running.out, running.err)
        time.sleep(0.02)
    running.process.send_signal(signal_)
    code, output, errors = finish(running, 40)
    assert code == 130, output + errors
    assert "Traceback" not in errors
    assert not homes_in(tmp_path) and not processes_of(tmp_path)
