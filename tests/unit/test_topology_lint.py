"""Lint: what a topology will do that its author may not have meant, and the proofs of its asserts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from relays.topology.lint import lint
from tests.linting import RELAYS, ROLES, linted, points

SHIPPED = Path(__file__).parents[2] / "topologies"

def test_minimal_has_nothing_to_say() -> None:
    assert lint(SHIPPED / "minimal.toml") == []


@pytest.mark.parametrize("path", sorted((SHIPPED / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_nor_has_any_example(path: Path) -> None:
    assert lint(path) == []


def test_enterprise_has_no_errors_and_warnings_that_teach() -> None:
    found = lint(SHIPPED / "enterprise.toml")
    assert [p for p in found if p.severity == "error"] == []
    zeek = next(p for p in found if p.key == "points.zeek-p1.sources.conn")
    assert (
        "amber fields from zeek-p1 end at dmz (clearance green): subscribers above see them withheld"
        in zeek.cause
    )
    soar = next(p for p in found if p.key == "points.soar-1" and "dmz" in p.cause)
    assert "from soar-1 to fw-dmz, fw-p1, edr-p1: arguments amber (the default label), dmz green" in soar.cause
    assert not any(p.key == "points.soar-p1" for p in found)  # its requests turn below the dmz


def test_a_file_with_errors_is_not_judged_further_and_never_raises(tmp_path: Path) -> None:
    (problem,) = linted(tmp_path, "fabric = acme")
    assert problem.code == Code.TOPOLOGY_UNREADABLE
    found = linted(tmp_path, RELAYS.replace('parent = "dmz"', 'parent = "dmx"'))
    assert [p.key for p in found] == ["relays.ot-1.parent"]
    assert lint(tmp_path / "nowhere.toml")[0].code == Code.TOPOLOGY_UNREADABLE


# what ends on its way up


def test_default_labels_that_end_on_the_way(tmp_path: Path) -> None:
    text = RELAYS + ROLES + points('s = { relay = "ot-1", role = "sensor", clearance = "amber" }')
    (problem,) = linted(tmp_path, text)
    assert (problem.key, problem.code, problem.severity) == ("points.s", Code.WITHHELD, "warning")
    assert problem.cause.startswith("amber messages (the default label) from s end at dmz (clearance green)")
    assert problem.line is not None


def test_labels_of_sources_each_by_itself(tmp_path: Path) -> None:
    text = (
        RELAYS
        + ROLES
        + """
[points.s]
relay = "ot-1"
role = "sensor"
clearance = "amber"
[points.s.sources.split]
kind = "file"
path = "/x"
topic = "detections.x"
labels = { "src" = "amber", "*" = "green" }
[points.s.sources.green]
kind = "file"
path = "/green"
topic = "detections.x"
labels = { "*" = "green" }
[points.s.sources.rest]
kind = "file"
path = "/rest"
topic = "detections.x"
labels = { "rule" = "green" }
"""
    )
    split, rest = linted(tmp_path, text)
    assert split.key == "points.s.sources.split"
    assert split.cause.startswith("amber fields from s end at dmz")
    assert rest.key == "points.s.sources.rest"
    assert "without a label of their own" in rest.cause


def test_a_default_label_above_the_relay_of_the_point(tmp_path: Path) -> None:
    text = RELAYS + ROLES + points('s = { relay = "dmz", role = "sensor", clearance = "amber" }')
    keys = {p.key: p.cause for p in linted(tmp_path, text)}
    assert "withheld from its own relay dmz (clearance green): nobody gets them" in keys["points.s"]
    assert "cleared for amber and its relay dmz for green only" in keys["points.s.clearance"]


def test_nobody_publishes_above_their_own_clearance(tmp_path: Path) -> None:
    text = RELAYS + ROLES + points('s = { relay = "office", role = "sensor", clearance = "green" }')
    (problem,) = linted(tmp_path, text)
    assert problem.code == Code.CLEARANCE_DENIED
    assert "are refused" in problem.cause


def test_another_organisation_is_a_border_too(tmp_path: Path) -> None:
    text = (
        RELAYS
        + ROLES
        + points('s = { relay = "office", role = "sensor", clearance = "amber", organisation = "guest" }')
    )
    (problem,) = linted(tmp_path, text)
    assert "withheld from its own relay office (organisation acme)" in problem.cause


# who never gets anything


def test_subscribers_without_publishers_below(tmp_path: Path) -> None:
    text = (
        RELAYS
        + ROLES
        + points(
            's = { relay = "office", role = "sensor", clearance = "amber" }',
            'a-hq = { relay = "hq", role = "analyst", clearance = "amber" }',
            'a-ot = { relay = "ot-1", role = "analyst", clearance = "amber" }',
            'fw = { relay = "office", role = "firewall", clearance = "amber" }',
        )
    )
    idle = [p for p in linted(tmp_path, text) if p.code == Code.NO_INTEREST]
    assert [p.key for p in idle] == ["points.a-ot", "points.fw"]
    assert "nobody at or below ot-1 publishes what a-ot subscribes to: detections.>" in idle[0].cause
    # Intel descends, so a feed anywhere is one for everybody.
    fed = text + 'feed-1 = { relay = "hq", role = "feed", clearance = "amber" }\n'
    assert [p.key for p in linted(tmp_path, fed) if p.code == Code.NO_INTEREST] == ["points.a-ot"]


# requests


@pytest.mark.parametrize(
    ("relay", "scope", "hears"),
    [("hq", "", True), ("ot-1", "", False), ("ot-1", "ot-1", True), ("dmz", "ot-1", True), ("office", "ot-1", False)],
)
def test_resolutions_come_from_where_actions_turn(tmp_path: Path, relay: str, scope: str, hears: bool) -> None:
    at = f', scope = "{scope}"' if scope else ""
    text = RELAYS + f"""
[roles]
soar = {{ request = [{{ action = "deny *", to = "role=firewall"{at} }}] }}
auditor = {{ subscribe = ["resolutions.>"] }}
""" + points('soar-1 = { relay = "ot-1", role = "soar", clearance = "amber" }',
             f'auditor-1 = {{ relay = "{relay}", role = "auditor", clearance = "amber" }}')
    idle = [p for p in linted(tmp_path, text) if p.code == Code.NO_INTEREST and p.key == "points.auditor-1"]
    assert (not idle) == hears


def test_who_is_to_publish_resolutions_may_not(tmp_path: Path) -> None:
    text = RELAYS + '[roles]\nforger = { publish = ["resolutions.>", "detections.>", ">"] }\n'
    told = [p for p in linted(tmp_path, text) if p.code == Code.PUBLISH_DENIED]
    assert [p.key for p in told] == ["roles.forger.publish.0"] and "relays alone" in told[0].cause


@pytest.mark.parametrize(
    ("approval", "covered"),
    [
        ("", False),
        ('when = { class = "contain" }', True),
        ('when = { class = "contain", to = "segment=office" }', True),  # takes in every target of the file
        ('when = { class = "contain", to = "segment=ot-1" }', False),
        ('when = { class = "remediate" }', False),
        ('when = { action = "deny *" }', True),
        ('when = { action = "deny ipv4_net" }', False),
    ],
)
def test_grants_that_no_approval_covers(tmp_path: Path, approval: str, covered: bool) -> None:
    roles = ROLES.partition("[[approval]]")[0].replace(', subscribe = ["intel.ipv4.>"]', "")
    text = (
        RELAYS
        + roles
        + points(
            'soar-1 = { relay = "hq", role = "soar", clearance = "amber" }',
            'fw-2 = { relay = "office", role = "firewall", clearance = "amber" }',
        )
    )
    found = linted(tmp_path, text + (f"[[approval]]\n{approval}\nrequire = 0\n" if approval else ""))
    assert [p.key for p in found] == ([] if covered else ["roles.soar.request.0"])
    assert covered or "needs nobody's approval" in found[0].cause


def test_nearest_without_addresses(tmp_path: Path) -> None:
    text = RELAYS + ROLES + points('s = { role = "sensor", clearance = "amber" }')
    (problem,) = linted(tmp_path, text)
    assert "s names no relay" in problem.cause
    served = text.replace('parent = "dmz"', 'parent = "dmz", serves = ["10.0.0.0/8"]')
    assert linted(tmp_path, served) == []


# backups


@pytest.mark.parametrize(
    ("backup", "more", "said"),
    [
        ("dmz", "", "dmz (clearance green), amber ends there: hq may hold what dmz may not"),
        ("office", "", None),
        ("office", 'organisation = "partner", ', "office (organisation partner), green and above end there"),
    ],
)
def test_a_backup_that_may_hold_less(tmp_path: Path, backup: str, more: str, said: str | None) -> None:
    backed = f'parent = "hq", backups = ["ot-1", "{backup}"] }}\n'
    text = RELAYS.replace('"127.0.0.1:7720", parent', f'"127.0.0.1:7720", {more}parent') + (
        'ot-2   = { clearance = "amber", listen = "127.0.0.1:7740", ' + backed
    )
    point = f's = {{ relay = "hq", role = "sensor", clearance = "amber", backups = ["ot-1", "{backup}"] }}'
    found = linted(tmp_path, text + ROLES + points(point))
    if said is None:
        assert found == []
        return
    assert [(p.key, p.code, p.severity) for p in found] == [
        ("relays.ot-2.backups.1", Code.WITHHELD, "warning"), ("points.s.backups.1", Code.WITHHELD, "warning"),
    ]  # fmt: skip
    assert f"while ot-2 is at its backup {said}" in found[0].cause
    assert f"while s is at its backup {said}" in found[1].cause
    assert all(p.write.endswith("or name another backup") for p in found)


def test_what_never_gets_to_the_preferred_is_not_missed_at_a_backup(tmp_path: Path) -> None:
    # green itself, and so it sends nothing to hq that the dmz would stop; and the dmz stops all of ot-1's already
    text = RELAYS + 'low = { clearance = "green", listen = "127.0.0.1:7740", parent = "hq", backups = ["dmz"] }\n'
    text = text.replace('parent = "dmz" }', 'parent = "dmz", backups = ["low"] }')
    assert linted(tmp_path, text) == []


def test_readers_may_keep_more_than_their_relay_has(tmp_path: Path) -> None:
    """Also at a backup; who reads nothing keeps nothing."""
    text = RELAYS + ROLES.replace(
        'analyst = { subscribe = ["detections.>"] }',
        'analyst = { subscribe = ["detections.>"], keep = { bytes = "600MB" } }',
    ) + points(
        'a-1 = { relay = "hq", role = "analyst", clearance = "amber" }',
        'a-2 = { relay = "office", role = "analyst", clearance = "amber", backups = ["hq"] }',
        's-1 = { relay = "office", role = "sensor", clearance = "amber" }',
    )
    (found,) = [p for p in linted(tmp_path, text) if p.code is Code.SUBSCRIBER_SLOW]
    assert (found.key, found.severity) == ("relays.hq", "warning")
    assert "may keep 1.2GB together and it has 1GB for them: a-2 600MB, a-1 600MB" in found.cause
    assert 'readers = "2GB"' in found.write
    enough = text.replace('listen = "127.0.0.1:7700"', 'listen = "127.0.0.1:7700", readers = "2GB"')
    assert [p for p in linted(tmp_path, enough) if p.code is Code.SUBSCRIBER_SLOW] == []
