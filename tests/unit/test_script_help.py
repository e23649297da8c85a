"""Scripts say how they are called, with an example, in lines of at most 80 columns."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    "scripts/bench": "scripts.bench_peers", "scripts/bench relays": "scripts.bench_relays",
    "scripts/bench lanes": "scripts.bench_lanes", "scripts/bench gateways": "scripts.bench_gateways",
    "scripts/bench streams": "scripts.bench_streams", "scripts/failover": "scripts.failover_relays",
    "scripts/chaos": "scripts.chaos_relays", "scripts/demo": "relays.demo",
    "scripts/attack": "scripts.attack_relays", "scripts/simulate": "tests.simulation.simulate",
    "scripts/fuzz": "tests.fuzz.run", "scripts/structure": "scripts.structure_counts",
}


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_help_has_the_script_s_name_an_example_and_narrow_lines(name, module):
    check_help(name, [sys.executable, "-m", module, "--help"])


@pytest.mark.parametrize("asked", ["-h", "--help"])
@pytest.mark.parametrize("name", ["check", "test"])
def test_checks_and_tests_say_what_they_are_before_they_run(name, asked):
    check_help(f"scripts/{name}", [ROOT / "scripts" / name, asked])


def test_what_checks_do_not_take_is_refused():
    ran = subprocess.run([ROOT / "scripts" / "check", "fabric"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2 and "usage: scripts/check" in ran.stderr


def check_help(name, command):
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True, timeout=60,
    )
    assert ran.stdout.startswith(f"usage: {name} [")
    assert re.search(rf"examples?:\s+(#.*\s+)?{name}", ran.stdout)
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())


def test_each_measurement_of_the_readme_is_named_in_the_help_of_bench():
    named = set(re.findall(r"`\./scripts/bench ([a-z]\w+)`", (ROOT / "README.md").read_text()))
    assert named == {"relays", "lanes", "streams"}
    assert {f"scripts/bench {each}" for each in named} <= MODULES.keys()
