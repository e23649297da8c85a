"""The same seed is the same story, to the byte, whatever Python's hashes are."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def digests(hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation.simulate", "--seeds", "2", "--relays", "4", "--minutes", "0.1",
         "--digests", "--jobs", "1"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=ROOT, check=True, capture_output=True, text=True,
        timeout=120,
    ).stdout


def test_a_story_is_the_same_in_every_process():
    one, other = (digests(seed).splitlines() for seed in ("1", "2"))
    assert [line for line in one if line.startswith("seed ")] == [line for line in other if line.startswith("seed ")]
    assert len({line.rpartition(" ")[2] for line in one if line.startswith("seed ")}) == 2
