"""From where to where content gets, by which kind of message, and what stops it.

That relays do the same is tested where they run: `tests/simulation/test_flows.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.topology.flow import Flows, Way
from relays.topology.loader import load
from tests.linting import RELAYS

ROLES = """
[roles]
sensor = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
edr = { execute = ["scan device"] }
soar = { request = [{ action = "deny *", to = "all" }] }
lead = { approve = [{ class = "contain", to = "all" }] }
"""
GREEN, AMBER = Label.GREEN, Label.AMBER


def flows(tmp_path: Path, *points: str, relays: str = RELAYS, roles: str = ROLES, more: str = "") -> Flows:
    path = tmp_path / "t.toml"
    path.write_text(relays + roles + "[points]\n" + "\n".join(points) + "\n" + more)
    return Flows(load(path))


def at(name: str, role: str, relay: str, clearance: str = "amber", more: str = "") -> str:
    return f'{name} = {{ role = "{role}", relay = "{relay}", clearance = "{clearance}"{more} }}'


def test_what_always_gets_there_with_its_way(tmp_path: Path) -> None:
    flow = flows(tmp_path).between("ot-1", "hq", GREEN)
    assert (flow.reaches, flow.stop, flow.miss) == ("always", None, ())
    assert flow.way == Way(("ot-1", "dmz", "hq"), "climbing", Audience(("acme",)))
    assert str(flow.way) == "ot-1 -> dmz -> hq"


def test_what_never_gets_there_with_hop_and_rule(tmp_path: Path) -> None:
    known = flows(tmp_path, at("s", "sensor", "ot-1", "green"), at("a", "analyst", "hq", "clear"))
    stops = [
        ("ot-1", "hq", AMBER, "dmz (clearance green)"),
        ("ot-1", "hq", Label.RED, "ot-1 (clearance amber)"),
        ("s", "hq", AMBER, "s (clearance green)"),
        ("s", "a", GREEN, "a (clearance clear)"),
        ("hq", "ot-1", GREEN, "no message goes there"),
        ("a", "s", GREEN, "no message goes there"),
    ]
    for source, target, label, said in stops:
        flow = known.between(source, target, label)
        assert flow.reaches == "never" and flow.way is None and str(flow.stop) == said, (source, target)


def test_an_organisation_is_a_rule_too(tmp_path: Path) -> None:
    known = flows(tmp_path, relays=RELAYS.replace('"127.0.0.1:7710"', '"127.0.0.1:7710", organisation = "guest"'))
    assert str(known.between("ot-1", "hq", GREEN).stop) == "dmz (organisation guest)"
    assert known.between("ot-1", "hq", Label.CLEAR).reaches == "always"


def test_at_times_with_a_parent_by_which_it_does_not(tmp_path: Path) -> None:
    known = flows(tmp_path, relays=RELAYS.replace('parent = "dmz"', 'parent = "dmz", backups = ["office"]'))
    amber = known.between("ot-1", "hq", AMBER)
    assert (amber.reaches, str(amber.way), amber.miss) == ("sometimes", "ot-1 -> office -> hq", ("ot-1", "dmz"))
    green = known.between("ot-1", "dmz", GREEN)
    assert (green.reaches, green.miss) == ("sometimes", ("ot-1", "office", "hq"))


def test_a_result_is_for_the_audience_of_its_action(tmp_path: Path) -> None:
    known = flows(
        tmp_path, at("soar-1", "soar", "hq"), at("fw", "firewall", "office", more=', organisation = "guest"')
    )
    assert str(known.between("soar-1", "fw", GREEN).stop) == "fw (organisation guest)"
    assert known.between("soar-1", "fw", Label.CLEAR).reaches == "always"
    assert known.between("fw", "soar-1", AMBER).reaches == "always"


def test_what_fetches_is_for_whoever_is_selected_and_executes_anything(tmp_path: Path) -> None:
    known = flows(tmp_path, at("soar-1", "soar", "hq"), at("edr-1", "edr", "office"), at("s", "sensor", "office"))
    assert known.between("soar-1", "edr-1", AMBER).reaches == "always"
    assert known.between("soar-1", "s", AMBER).reaches == "never"


APPROVAL = """
[[approval]]
when = { class = "contain" }
require = 1
from = ["lead"]
"""


def test_approvers_are_shown_the_action_and_what_they_say_goes_on(tmp_path: Path) -> None:
    points = [at("soar-1", "soar", "hq"), at("fw", "firewall", "office"), at("lead-1", "lead", "office")]
    known = flows(tmp_path, *points)
    assert known.between("soar-1", "lead-1", AMBER).reaches == "never"
    known = flows(tmp_path, *points, more=APPROVAL)
    carriers = {
        (source, target): known.between(source, target, AMBER).way.carrier  # type: ignore[union-attr]
        for source, target in (("soar-1", "lead-1"), ("lead-1", "fw"), ("lead-1", "soar-1"))
    }
    assert carriers == {
        ("soar-1", "lead-1"): "to be approved",
        ("lead-1", "fw"): "as an approval",
        ("lead-1", "soar-1"): "as an approval",
    }


@pytest.mark.parametrize("severity", ["", ', severity_max = "low"'])
def test_a_grant_that_an_earlier_one_covers_turns_where_that_does(tmp_path: Path, severity: str) -> None:
    """Whose scope counts is that of the first grant which covers an action of its severity."""
    roles = ROLES.replace(
        '[{ action = "deny *", to = "all" }]',
        f'[{{ action = "deny *", to = "id=none", scope = "office"{severity} }}, {{ action = "deny *", to = "all" }}]',
    )
    known = flows(tmp_path, at("soar-1", "soar", "office"), at("fw", "firewall", "dmz", "green"), roles=roles)
    assert known.between("soar-1", "fw", GREEN).reaches == ("always" if severity else "never")


def test_to_itself_nothing_goes(tmp_path: Path) -> None:
    known = flows(tmp_path, at("a", "both", "hq"), roles='[roles]\nboth = { publish = ["d.>"], subscribe = ["d.>"] }\n')
    assert known.between("a", "a", GREEN).reaches == "never"
