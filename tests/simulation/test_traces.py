"""The same seed is the same story, to the byte, whatever Python's hashes are."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.simulation.trouble import tell

ROOT = Path(__file__).parents[2]
SEEDS, RELAYS, MINUTES = 2, 4, 0.1


def digests_elsewhere() -> list[str]:
    """Of a process with other hashes than this one has, unless those are the same by chance."""
    hashes = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    said = subprocess.run(
        [sys.executable, "-m", "tests.simulation.simulate", "--seeds", str(SEEDS), "--relays", str(RELAYS),
         "--minutes", str(MINUTES), "--digests", "--json", "--jobs", "1"],
        env={**os.environ, "PYTHONHASHSEED": hashes}, cwd=ROOT, check=True, capture_output=True, text=True,
        timeout=120,
    ).stdout
    return [line["digest"] for line in map(json.loads, said.splitlines()) if "digest" in line]


def test_a_story_is_the_same_in_every_process():
    here = [tell(seed, RELAYS, MINUTES, traced=True).digest for seed in range(SEEDS)]
    assert here == digests_elsewhere() and len(set(here)) == SEEDS
