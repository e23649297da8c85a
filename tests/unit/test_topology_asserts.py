"""What a topology claims of its flows, and the proof of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fabric.protocol.base.errors import Code
from relays.cli.app import app
from relays.topology.asserts import load_proven
from relays.topology.lint import lint
from relays.topology.loader import load
from relays.topology.problems import TopologyErrors
from relays.topology.values import ASSERTS_MAX
from tests.linting import RELAYS, ROLES, linted, points

SHIPPED = Path(__file__).parents[2] / "topologies"

def never(claim: str) -> str:
    return f'[[assert]]\nnever = "{claim}"\n'


def broken(tmp_path: Path, claim: str, more: str = "") -> str:
    """What is said of the claim; "" when it holds."""
    found = [p for p in linted(tmp_path, RELAYS + ROLES + more + never(claim)) if p.severity == "error"]
    assert all(p.key == "assert.0.never" for p in found)
    return found[0].cause if found else ""


def test_a_claim_about_climbing(tmp_path: Path) -> None:
    assert broken(tmp_path, "amber from ot-1 reaches dmz") == ""
    assert broken(tmp_path, "amber from ot-1 reaches hq") == ""  # it would have to pass the dmz
    assert (
        broken(tmp_path, "green from ot-1 reaches hq")
        == "green from ot-1 can reach hq climbing: ot-1 -> dmz -> hq"
    )
    assert (
        broken(tmp_path, "amber from office reaches hq")
        == "amber from office can reach hq climbing: office -> hq"
    )
    assert (
        broken(tmp_path, "TLP:AMBER+STRICT from office reaches hq") == ""
    )  # the office may not hold it either
    assert broken(tmp_path, "amber from office reaches office").endswith(": office")


def test_a_claim_counts_what_is_below_its_source(tmp_path: Path) -> None:
    assert broken(tmp_path, "green from dmz reaches hq").endswith("dmz -> hq")
    assert broken(tmp_path, "amber from dmz reaches ot-1").endswith("climbing: ot-1")
    assert broken(tmp_path, "amber from dmz reaches hq") == ""


def test_a_backup_is_a_way_up(tmp_path: Path) -> None:
    text = RELAYS.replace('parent = "dmz"', 'parent = "dmz", backups = ["office"]') + ROLES
    (problem,) = linted(tmp_path, text + never("amber from ot-1 reaches hq"))
    assert problem.cause == "amber from ot-1 can reach hq climbing: ot-1 -> office -> hq"


def test_a_backup_of_a_point_is_a_place_to_be(tmp_path: Path) -> None:
    nodes = points('s = { relay = "ot-1", role = "sensor", clearance = "amber", backups = ["office"] }')
    assert broken(tmp_path, "amber from s reaches hq", nodes).endswith("climbing: office -> hq")
    assert broken(tmp_path, "amber from ot-1 reaches hq", nodes) == ""  # it is not below ot-1 while it is at office
    feed = points(
        'f = { relay = "ot-1", role = "feed", clearance = "amber", backups = ["office"] }',
        'fw = { relay = "ot-1", role = "firewall", clearance = "amber", backups = ["hq"] }',
    )
    assert "as intel: office -> hq -> dmz" in broken(tmp_path, "green from office reaches dmz", feed)
    assert broken(tmp_path, "amber from office reaches fw", feed).endswith("as intel: office -> hq")


def test_what_a_backup_brings_below_a_relay_is_below_it(tmp_path: Path) -> None:
    cell = 'cell = { clearance = "amber", listen = "127.0.0.1:7740", parent = "ot-1" }\n'
    nodes = points(
        'f = { relay = "cell", role = "feed", clearance = "amber" }',
        'fw = { relay = "dmz", role = "firewall", clearance = "green" }',
    )
    text = RELAYS + cell + ROLES + nodes + never("green from office reaches dmz")
    assert [p for p in linted(tmp_path, text) if p.severity == "error"] == []
    backed = text.replace('parent = "dmz"', 'parent = "dmz", backups = ["office"]')
    (problem,) = [p for p in linted(tmp_path, backed) if p.severity == "error"]
    assert problem.cause == "green from office can reach dmz as intel: office -> hq -> dmz"


@pytest.mark.parametrize(
    ("soar_backups", "fw_backups", "target", "way"),
    [
        ("[]", "[]", "office", ""),
        ('["hq"]', "[]", "office", "hq -> office"),  # the root knows no scope
        ('["ot-2"]', "[]", "office", ""),
        ("[]", "[]", "ot-2", ""),
        ("[]", '["ot-2"]', "ot-2", "ot-1 -> dmz -> ot-2"),  # the target comes into the scope
    ],
)
def test_a_scope_holds_for_those_who_stay_in_it(
    tmp_path: Path, soar_backups: str, fw_backups: str, target: str, way: str
) -> None:
    ot_2 = 'ot-2 = { clearance = "amber", listen = "127.0.0.1:7740", parent = "dmz" }\n'
    roles = ROLES.replace('to = "role=firewall"', 'to = "role=firewall", scope = "dmz"')
    nodes = points(
        f'soar-1 = {{ relay = "ot-1", role = "soar", clearance = "amber", backups = {soar_backups} }}',
        f'fw = {{ relay = "office", role = "firewall", clearance = "amber", backups = {fw_backups} }}',
    )
    text = RELAYS + ot_2 + roles + nodes + never(f"green from soar-1 reaches {target}")
    causes = [p.cause for p in linted(tmp_path, text) if p.severity == "error"]
    assert causes == ([f"green from soar-1 can reach {target} as an action: {way}"] if way else [])


def test_events_never_descend_and_intel_does(tmp_path: Path) -> None:
    sensor = points(
        's = { relay = "office", role = "sensor", clearance = "amber" }',
        'a = { relay = "ot-1", role = "analyst", clearance = "amber" }',
    )
    assert broken(tmp_path, "green from office reaches ot-1", sensor) == ""
    feed = points(
        'f = { relay = "office", role = "feed", clearance = "amber" }',
        'fw = { relay = "ot-1", role = "firewall", clearance = "amber" }',
    )
    assert broken(tmp_path, "green from office reaches ot-1", feed) == (
        "green from office can reach ot-1 as intel: office -> hq -> dmz -> ot-1"
    )
    assert broken(tmp_path, "green from office reaches dmz", feed).endswith("office -> hq -> dmz")
    assert broken(tmp_path, "amber from office reaches ot-1", feed) == ""


def test_actions_and_results_descend(tmp_path: Path) -> None:
    nodes = points(
        'soar-1 = { relay = "office", role = "soar", clearance = "amber" }',
        'fw = { relay = "ot-1", role = "firewall", clearance = "amber" }',
    )
    assert "as an action: office -> hq -> dmz -> ot-1" in broken(
        tmp_path, "green from office reaches ot-1", nodes
    )
    assert "as a result: ot-1 -> dmz -> hq -> office" in broken(
        tmp_path, "green from ot-1 reaches office", nodes
    )
    assert broken(tmp_path, "amber from ot-1 reaches office", nodes) == ""


def test_a_claim_about_points(tmp_path: Path) -> None:
    nodes = points(
        's = { relay = "office", role = "sensor", clearance = "amber" }',
        'a = { relay = "hq", role = "analyst", clearance = "amber" }',
        'low = { relay = "hq", role = "analyst", clearance = "green" }',
    )
    assert broken(tmp_path, "amber from s reaches a", nodes).endswith("office -> hq")
    assert broken(tmp_path, "amber from s reaches low", nodes) == ""


@pytest.mark.parametrize(
    ("claim", "cause"),
    [
        ("amber from ot-1", "is not LABEL from NAME reaches NAME"),
        ("ambre from ot-1 reaches hq", "'ambre' is no label"),
        ("amber + strict from ot-1 reaches hq", "is not LABEL from NAME reaches NAME"),
        ("amber from ot-9 reaches hq", "there is no relay or point 'ot-9'"),
        ("amber from ot-1 reaches qh", "there is no relay or point 'qh'"),
    ],
)
def test_claims_that_cannot_be_read(tmp_path: Path, claim: str, cause: str) -> None:
    assert cause in broken(tmp_path, claim)


def test_shipped_asserts_bite(tmp_path: Path) -> None:
    text = (SHIPPED / "enterprise.toml").read_text()
    path = tmp_path / "t.toml"
    path.write_text(
        text.replace(
            'clearance = "green",        listen = "127.0.0.1:7730"',
            'clearance = "amber", listen = "127.0.0.1:7730"',
        )
    )
    load(path)
    causes = [p.cause for p in lint(path) if p.severity == "error"]
    assert "amber from plant-1 can reach dmz climbing: plant-1 -> dmz" in causes




# what must be


def must(claim: str) -> str:
    return f'[[assert]]\nmust = "{claim}"\n'


def missed(tmp_path: Path, claim: str, more: str = "", relays: str = RELAYS) -> str:
    """What is said of the claim; "" when it holds."""
    found = [p for p in linted(tmp_path, relays + ROLES + more + must(claim)) if p.severity == "error"]
    assert all(p.key == "assert.0.must" and p.code is Code.TOPOLOGY_INVALID and p.line for p in found)
    return found[0].cause if found else ""


@pytest.mark.parametrize(
    ("claim", "cause"),
    [
        ("green from ot-1 reaches hq", ""),
        ("green from dmz reaches hq", ""),  # of what begins below it, too
        ("amber from office reaches hq", ""),
        ("amber from ot-1 reaches ot-1", ""),
        ("amber from ot-1 reaches hq", "amber from ot-1 stops at dmz (clearance green) on this way: ot-1 -> dmz"),
        ("amber from dmz reaches hq", "amber from dmz stops at dmz (clearance green) on this way: dmz"),
        ("red from office reaches hq", "red from office stops at office (clearance amber) on this way: office"),
        ("green from ot-1 reaches office", "no message of ot-1 is for office"),
        ("green from hq reaches dmz", ""),  # nothing of hq's is for it, and what begins below it gets there
    ],
)
def test_a_must_about_climbing(tmp_path: Path, claim: str, cause: str) -> None:
    assert missed(tmp_path, claim) == cause


def test_a_must_holds_for_every_parent(tmp_path: Path) -> None:
    backed = RELAYS.replace('parent = "dmz"', 'parent = "dmz", backups = ["office"]')
    assert missed(tmp_path, "green from ot-1 reaches hq", relays=backed) == ""
    assert missed(tmp_path, "green from ot-1 reaches dmz", relays=backed) == (
        "green from ot-1 does not pass dmz on this way: ot-1 -> office -> hq"
    )
    green = backed.replace('office = { clearance = "amber"', 'office = { clearance = "clear"')
    assert missed(tmp_path, "green from ot-1 reaches hq", relays=green) == (
        "green from ot-1 stops at office (clearance clear) on this way: ot-1 -> office"
    )


def test_a_must_about_points(tmp_path: Path) -> None:
    nodes = points(
        's = { relay = "ot-1", role = "sensor", clearance = "green", backups = ["office"] }',
        'a = { relay = "hq", role = "analyst", clearance = "green" }',
        'fw = { relay = "ot-1", role = "firewall", clearance = "amber" }',
        'soar-1 = { relay = "hq", role = "soar", clearance = "amber" }',
    )
    assert missed(tmp_path, "green from s reaches a", nodes) == ""
    assert missed(tmp_path, "green from ot-1 reaches a", nodes) == ""
    assert missed(tmp_path, "green from soar-1 reaches fw", nodes) == ""
    assert missed(tmp_path, "green from fw reaches soar-1", nodes) == ""
    assert missed(tmp_path, "amber from s reaches a", nodes) == (
        "nobody says what is above their clearance, and that of s is green"
    )
    assert missed(tmp_path, "amber from office reaches a", nodes) == (
        "amber from office is withheld from a (clearance green)"
    )
    assert missed(tmp_path, "amber from soar-1 reaches fw", nodes) == (
        "amber from soar-1 stops at dmz (clearance green) on its way to fw: hq -> dmz -> ot-1"
    )
    assert missed(tmp_path, "green from a reaches fw", nodes) == "no message of a is for fw"


@pytest.mark.parametrize(
    ("table", "key", "cause"),
    [
        ("", "assert.0", "it claims nothing"),
        ('never = "red from ot-1 reaches hq"\nmust = "red from ot-1 reaches hq"', "assert.0", "it claims two things"),
        ('must = "green ot-1 hq"', "assert.0.must", "'green ot-1 hq' is not LABEL from NAME reaches NAME"),
        ('must = "greenish from ot-1 reaches hq"', "assert.0.must", "'greenish' is no label"),
        ('must = "green from ot-2 reaches hq"', "assert.0.must", "there is no relay or point 'ot-2'"),
        ("must = 7", "assert.0.must", "text is expected, and '7' is none"),
        ('mast = "green from ot-1 reaches hq"', "assert.0.mast", "there is no key 'mast' here"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, table: str, key: str, cause: str) -> None:
    found = linted(tmp_path, RELAYS + f"[[assert]]\n{table}\n")
    assert (key, cause) in [(p.key, p.cause) for p in found]
    assert all(p.write and p.line for p in found)
    assert {p.code for p in found} == {Code.BAD_LABEL if cause.endswith("no label") else Code.TOPOLOGY_INVALID}


def test_too_many_of_them(tmp_path: Path) -> None:
    (problem,) = linted(tmp_path, RELAYS + never("red from ot-1 reaches hq") * (ASSERTS_MAX + 1))
    assert problem.key == "assert" and "too many" in problem.cause


def test_a_file_that_breaks_one_is_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(RELAYS + never("green from ot-1 reaches hq") + must("amber from ot-1 reaches hq"))
    assert load(path).asserts[1].must
    with pytest.raises(TopologyErrors) as raised:
        load_proven(path)
    assert [(p.key, p.line) for p in raised.value.errors] == [("assert.0.never", 9), ("assert.1.must", 11)]
    path.write_text(RELAYS.replace('"dmz" }', '"dmx" }'))
    with pytest.raises(TopologyErrors):
        load_proven(path)
    path.write_text(RELAYS + must("green from ot-1 reaches hq"))
    assert load_proven(path).fabric == "acme"


@pytest.mark.parametrize(
    "args",
    [["up", "--dev", "FILE"], ["bundle", "hq", "FILE", "-o", "bundled"], ["relay", "run", "hq", "FILE"]],
    ids=" ".join,
)
def test_no_command_runs_a_file_that_breaks_one(tmp_path: Path, monkeypatch, args: list[str]) -> None:
    path = tmp_path / "t.toml"
    path.write_text(RELAYS + never("green from ot-1 reaches hq"))
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(path) if arg == "FILE" else arg for arg in args])
    assert result.exit_code == 1
    assert "E802 line 9: assert #1.never: green from ot-1 can reach hq climbing: ot-1 -> dmz -> hq" in result.output
    assert not (tmp_path / "home").exists() and not (tmp_path / "bundled").exists()
