"""`fabric source test`: whom a source names and who may not have it is said with the reason and what to do next."""

import json
import sys

import pytest

from relays.cli.app import app
from relays.cli.shared import exits
from relays.topology.lint import lint

TREE = """
fabric = "four"
organisation = "acme"
[relays]
top  = { clearance = "red",   listen = "127.0.0.1:7910" }
dmz  = { clearance = "green", listen = "127.0.0.1:7920", parent = "top", carries_sealed = true }
cell = { clearance = "red",   listen = "127.0.0.1:7930", parent = "dmz" }
[roles]
sensor = { publish = ["detections.>"] }
reader = { subscribe = ["detections.>"] }
[points]
lead-1  = { relay = "top", role = "reader", clearance = "red" }
clerk-1 = { relay = "top", role = "reader", clearance = "green" }
[points.sensor-1]
relay = "cell"
role = "sensor"
clearance = "CLEARANCE"
[points.sensor-1.sources.a]
kind = "file"
path = "/var/log/a.log"
topic = "detections.x"
audience = { recipients = ["WHO"] }
labels = { "who" = "red", "*" = "green" }
"""


@pytest.fixture
def file(tmp_path):
    def write(who: str, clearance: str = "red"):
        path = tmp_path / "four.toml"
        path.write_text(TREE.replace("WHO", who).replace("CLEARANCE", clearance))
        return path

    return write


@pytest.fixture
def tried(file, monkeypatch, capsys, tmp_path):
    """Runs `fabric source test` of a source that names them: (exit code, output)."""
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "home"))

    def run(who: str, *more: str) -> tuple[object, str]:
        sample = ("a", '{"who": "agent k", "rule": "x"}', "--as", "sensor-1", "--topology", str(file(who)), *more)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["fabric", "source", "test", *sample])
            for name in ("stdout", "stderr"):
                patched.setattr(sys, name, getattr(sys, name))
            with pytest.raises(SystemExit) as ended:
                exits.run(app)
        return ended.value.code, capsys.readouterr().out

    return run


def test_who_can_read_it_is_told_nothing_more(tried):
    code, out = tried("lead-1")
    assert code == 0 and "E60" not in out and "who: goes up to top" in out


def test_who_is_not_known_or_may_not_have_it_is_named_with_what_to_do(tried):
    code, out = tried("leda-1")
    assert code == 3 and "E605" in out and "leda-1" in out and "correct the name" in out
    code, out = tried("clerk-1")
    assert code == 5 and "E608" in out and "clerk-1 is cleared for green" in out and "leave it out" in out
    told = json.loads(tried("clerk-1", "--json")[1].splitlines()[0])
    assert told["code"] == "E608" and told["next"].startswith("leave it out, or have it cleared")


def test_an_origin_below_red_is_told_once_and_not_as_a_recipient(file):
    problems = lint(file("lead-1", "green"))
    assert "E409" in {each.code.label for each in problems if each.code is not None}
    assert not [each for each in problems if "audience.recipients" in each.key], problems
