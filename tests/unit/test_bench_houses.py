"""What benches measure is what users start: the tests' own way to begin commands quickly gives them more memory."""

import ast
from pathlib import Path

import pytest

from tests.integration import harness

ROOT = Path(__file__).parents[2]
BENCHES = sorted([*(ROOT / "scripts").glob("bench_*.py"), *(ROOT / "scripts" / "comparison").glob("*.py")])


def houses(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "house_in"]


@pytest.mark.parametrize("path", [path for path in BENCHES if houses(path)], ids=lambda path: path.stem)
def test_relays_of_benches_begin_as_those_of_users(path):
    for call in houses(path):
        assert [each.arg for each in call.keywords if getattr(each.value, "value", False) is True] == ["anew"]


def test_a_command_that_begins_anew_is_no_fork_of_a_test_s(monkeypatch, tmp_path):
    monkeypatch.setattr(harness.warm, "start", None)
    done = harness.begin(tmp_path, "--version", anew=True).wait()
    assert done.code == 0 and done.out
    house = harness.House(tmp_path, anew=True)
    assert house.cli("status", "nowhere").code
