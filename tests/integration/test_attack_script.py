"""`scripts/attack` itself, for a moment: it attacks and measures, says so, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, Running, wait_for


def start(tmp_path, *args):
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.attack_relays", *args], cwd=ROOT, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    return Running(process, args)


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


def test_two_rows(tmp_path):
    """How fast this machine is, and what else it does, is not what is tested: only that all of it is measured."""
    done = start(tmp_path, "--seconds", "1", "--only", "point/credit", "--json").wait(60)
    quiet, flooded = done.lines
    assert (quiet["attacker"], quiet["kind"], quiet["frames"]) == ("point", "(quiet)", 0)
    assert (flooded["attacker"], flooded["kind"]) == ("point", "credit")
    assert flooded["entered"] >= 1 and flooded["frames"] > 100 and flooded["bytes"] > flooded["frames"]
    for row in (quiet, flooded):
        assert row["survived"] and row["rss_mb"] > 10 and row["cpu_s"] > 0
        assert row["rate_per_s"] > 0 and row["p99_ms"] >= row["p50_ms"] > 0 and row["actions"] >= 1
        assert bool(row["faults"]) == (row["verdict"] == "fail")
    done.expect(1 if any(row["faults"] for row in done.lines) else 0)
    assert "1/2" in done.err and "2/2 point/credit" in done.err
    assert not left_of(tmp_path) and not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing_running(tmp_path):
    running = start(tmp_path, "--seconds", "60", "--only", "stranger/tcp")
    running.wait_line("1/2")
    wait_for(lambda: any("honest" in line for line in left_of(tmp_path)), "the honest at work")
    done = running.stop(signal.SIGINT).expect(130)
    assert "nothing is left running" in done.err
    wait_for(lambda: not left_of(tmp_path), "the end of all that was started", 5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--seconds", "0"], 2, "--seconds"), (["--only", "nobody/nothing"], 2, "--list"),
        (["--help"], 0, "exit codes"), (["--list", "--only", "parent/pong"], 0, "wild times"),
    ],
)
def test_what_it_says_without_attacking_anybody(args, code, words, capsys):
    from scripts import attack_relays

    try:
        assert attack_relays.main(args) == code
    except SystemExit as ended:
        assert ended.code == code
    said = capsys.readouterr()
    assert words in said.out + said.err
