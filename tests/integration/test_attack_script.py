"""`scripts/attack` itself, for a moment: it attacks and measures, says so, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, Running, wait_for


@pytest.fixture
def start(tmp_path):
    """Starts the script with arguments; it has this test's folder for its temporary files."""
    started = []

    def begin(*args):
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.attack_relays", *args], cwd=ROOT, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        started.append(Running(process, args))
        return started[-1]

    yield begin
    for running in started:
        running.stop(signal.SIGINT)


def left_of(folder: Path) -> list[str]:
    """Command lines of what still runs and was started by it: all of it has this folder for its temporary files."""
    wanted, found = f"TMPDIR={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if line]


def test_two_rows_as_they_are_measured_and_an_interruption_that_leaves_nothing_running(start, tmp_path):
    """How fast this machine is, and what else it does, is not what is tested: only that all of it is measured."""
    running = start("--seconds", "1", "--only", "point/credit", "--only", "point/ping", "--json", "--equal")
    wait_for(lambda: len(running.out) >= 2, "two rows", 60)
    wait_for(lambda: any("honest" in line for line in left_of(tmp_path)), "the honest at work again",
             60)
    done = running.stop(signal.SIGINT).expect(130)
    quiet, flooded = done.lines
    assert (quiet["attacker"], quiet["kind"], quiet["frames"]) == ("point", "(quiet)", 0)
    assert (flooded["attacker"], flooded["kind"]) == ("point", "credit")
    assert flooded["entered"] >= 1 and flooded["frames"] > 10 and flooded["bytes"] > flooded["frames"]
    for row in (quiet, flooded):
        assert row["rss_mb"] > 10 and row["cpu_s"] > 0 and row["actions"] >= 1
        assert row["rate_per_s"] > 0 and row["p99_ms"] >= row["p50_ms"] > 0
        assert bool(row["faults"]) == (row["verdict"] == "fail")
    assert all(word in done.err for word in ("1/3", "2/3 point/credit", "3/3 point/ping", "nothing is left running"))
    wait_for(lambda: not left_of(tmp_path), "the end of all that was started", 5)
    assert not list(tmp_path.iterdir())
