"""`fabric topology flows`: what it says of a file, of two nodes, and of what cannot be asked."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relays.cli.app import app

ROOT = Path(__file__).parents[2]
ENTERPRISE = str(ROOT / "topologies" / "enterprise.toml")
MINIMAL = str(ROOT / "topologies" / "minimal.toml")


def run(*args: str):
    return CliRunner().invoke(app, ["topology", "flows", *args])


def shown_in_the_readme() -> list[tuple[list[str], str]]:
    """Each command of the section, and what stands below it."""
    section = (ROOT / "README.md").read_text().split("### What gets where\n", 1)[1].split("\n### ", 1)[0]
    blocks = [block for block in section.split("```")[1::2] if block.startswith("\n$ ")]
    return [(shlex.split(command)[3:], text) for command, text in (block[3:].split("\n", 1) for block in blocks)]


@pytest.mark.parametrize(("args", "text"), shown_in_the_readme())
def test_the_readme_shows_what_it_says(monkeypatch, args, text):
    monkeypatch.chdir(ROOT)
    assert run(*args).output == text
    assert all(len(line) <= 80 for line in text.split("\n"))


def test_there_are_two_of_them():
    assert len(shown_in_the_readme()) == 2


def test_each_two_nodes_and_each_label_as_json():
    found = [json.loads(line) for line in run(MINIMAL, "--json").output.splitlines()]
    assert len(found) == 6 * 5 * 5
    by = {(flow["from"], flow["to"], flow["label"]): flow for flow in found}
    assert by["sensor-1", "analyst-1", "amber"] == {
        "from": "sensor-1", "to": "analyst-1", "label": "amber", "reaches": "always", "carrier": "climbing",
        "path": ["plant", "hq"], "follows": False, "misses_by": [], "stops_at": None, "rule": None,
    }
    red = by["plant", "hq", "red"]
    assert (red["reaches"], red["stops_at"], red["rule"]) == ("never", "plant", "clearance amber")
    nothing = by["analyst-1", "fw-1", "clear"]
    assert (nothing["reaches"], nothing["stops_at"], nothing["path"]) == ("never", None, [])


def test_from_one_to_everybody_and_from_everybody_to_one():
    assert run(MINIMAL, "--from", "sensor-1").output.splitlines()[1:3] == [
        "from sensor-1", "  amber                    hq, plant, analyst-1, soar-1",
    ]
    assert run(MINIMAL, "--to", "fw-1", "--label", "amber").output.splitlines()[:3] == [
        "Whether amber gets there, whichever parents the nodes have:", "to fw-1",
        "  always                   hq, soar-1",
    ]
    assert "it is there already" in run(MINIMAL, "--from", "hq", "--to", "hq").output


def test_a_way_past_the_target_is_shown():
    lines = run(ENTERPRISE, "--from", "office", "--to", "region-west", "--label", "amber").output.splitlines()
    assert lines[1:] == [
        "  amber         at times  climbing: office -> region-west", " " * 26 + "not by office -> hq",
    ]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--from", "plnt"], "E908", "'plnt' is no relay or control point of the file (did you mean 'plant'?)"),
        (["--to", ""], "", ""),
        (["--to", "\x1b[2J"], "E908", "is no relay or control point"),
        (["--label", "ambre"], "E602", "'ambre' (did you mean 'amber'?)"),
        (["--label", "x" * 9_999], "E602", "xxx..."),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_what_cannot_be_asked(args, code, said, as_json):
    result = run(MINIMAL, *args, *(["--json"] if as_json else []))
    assert result.exit_code == (2 if code else 0)
    if code:
        assert "\x1b" not in result.output
        error = json.loads(result.output)["error"] if as_json else None
        told = error["detail"] if error else result.output
        assert said in told and (error["code"] == code and error["next"] if error else f"error {code}" in told)


def test_a_file_with_errors(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text('fabric = "a"\n[relays]\n')
    result = run(str(path))
    assert result.exit_code == 1 and "E802" in result.output
