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


def test_there_is_one_of_them():
    assert len(shown_in_the_readme()) == 1


def tables_in_the_readme() -> list[tuple[list[str], str]]:
    """Each command that made a table, and the table."""
    pieces = (ROOT / "README.md").read_text().split("<!-- fabric topology flows ")[1:]
    return [(shlex.split(command), rest.partition("\n\n")[0] + "\n")
            for command, _, rest in (piece.partition(" -->\n") for piece in pieces)]


@pytest.mark.parametrize(("args", "text"), tables_in_the_readme())
def test_a_table_of_the_readme_is_what_the_command_makes(monkeypatch, args, text):
    monkeypatch.chdir(ROOT)
    assert run(*args).output == text, f"put there what this prints: fabric topology flows {' '.join(args)}"


def test_there_are_tables_of_both_trees():
    assert [args for args, _ in tables_in_the_readme()] == [
        ["topologies/enterprise.toml", "--table", "relays"], ["topologies/partners.toml", "--table", "relays"],
        ["topologies/partners.toml", "--table", "points"],
    ]


def cells(text: str) -> dict[tuple[str, str], str]:
    """(from, to) -> what is in the cell."""
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {(source, row[0]): cell for row in rows for source, cell in zip(head[1:], row[1:], strict=True)}


def test_a_table_says_of_each_two_nodes_what_json_says():
    flows = [json.loads(line) for line in run(MINIMAL, "--json").output.splitlines()]
    for kind in ("relays", "points"):
        found = cells(run(MINIMAL, "--table", kind).output)
        for (source, target), cell in found.items():
            ours = [flow for flow in flows if (flow["from"], flow["to"]) == (source, target)]
            always = [flow["label"] for flow in ours if flow["reaches"] == "always"]
            possible = [flow["label"] for flow in ours if flow["reaches"] != "never"]
            words = always[-1:] + [f"({label})" for label in possible[-1:] if label not in always]
            assert cell == ("" if source == target else " ".join(words) or "-"), (source, target)


def test_what_is_in_brackets_gets_there_at_times_only():
    found = cells(run(ENTERPRISE, "--table", "relays").output)
    assert found["office", "region-west"] == "(amber)" and found["region-west", "hq"] == "amber+strict"
    assert found["plant-1", "hq"] == "green" and found["hq", "cell-2a"] == "-" and found["hq", "hq"] == ""
    partners = cells(run(str(ROOT / "topologies" / "partners.toml"), "--table", "points").output)
    assert partners["feed-1", "analyst-guard"] == "clear (red)" and partners["feed-1", "analyst-barn"] == "clear"
    assert partners["sensor-mill", "analyst-mill"] == "amber+strict"
    assert "sensor-mill" not in {target for _, target in partners}, "nobody says anything to a sensor"


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
        (["--table", "pionts"], "E908", "--table 'pionts' (did you mean 'points'?)"),
        (["--table", "relays", "--from", "hq"], "E908", "--table is of all labels, from each to each"),
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


def test_a_narrow_terminal_breaks_no_row_of_a_table(monkeypatch):
    whole = run(ENTERPRISE, "--table", "relays").output
    monkeypatch.setattr("relays.terminal.columns_of", lambda stream: 40)
    assert run(ENTERPRISE, "--table", "relays").output == whole
