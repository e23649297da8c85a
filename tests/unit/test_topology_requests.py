"""Requests: whom they select, where they turn, and at which relay they are withheld."""

from __future__ import annotations

from pathlib import Path

from fabric.protocol.base.errors import Code
from tests.linting import RELAYS, ROLES, linted, points


def test_requests_that_select_nobody(tmp_path: Path) -> None:
    text = RELAYS + ROLES + points('soar-1 = { relay = "hq", role = "soar", clearance = "amber" }')
    (problem,) = linted(tmp_path, text)
    assert (problem.key, problem.code) == ("roles.soar.request.0", Code.NOBODY)
    assert "'role=firewall' selects may execute 'deny *'" in problem.cause


def test_actions_that_end_on_their_way_to_targets(tmp_path: Path) -> None:
    text = (
        RELAYS
        + ROLES.replace(', subscribe = ["intel.ipv4.>"]', "")
        + points(
            'soar-1 = { relay = "hq", role = "soar", clearance = "amber" }',
            'fw-1 = { relay = "ot-1", role = "firewall", clearance = "amber" }',
            'fw-2 = { relay = "office", role = "firewall", clearance = "amber" }',
        )
    )
    (problem,) = linted(tmp_path, text)
    assert (problem.key, problem.code) == ("points.soar-1", Code.WITHHELD)
    assert problem.cause == (
        "deny * from soar-1 to fw-1: arguments amber (the default label), dmz green: will be withheld"
    )
    assert "label such actions green, request them below dmz, or seal them to their targets" in problem.write
    soar = 'role = "soar", clearance = "amber"'
    (problem,) = linted(tmp_path, text.replace(soar, soar + ', organisation = "guest"'))
    assert "hq is of another audience (organisation acme): will be withheld" in problem.cause
    assert "label such actions clear" in problem.write


def test_a_scope_that_is_not_above_the_requester(tmp_path: Path) -> None:
    roles = ROLES.replace('to = "role=firewall"', 'to = "role=firewall", scope = "ot-1"')
    text = (
        RELAYS
        + roles.replace(', subscribe = ["intel.ipv4.>"]', "")
        + points(
            'soar-hq = { relay = "hq", role = "soar", clearance = "amber" }',
            'soar-ot = { relay = "ot-1", role = "soar", clearance = "amber" }',
            'fw-1 = { relay = "ot-1", role = "firewall", clearance = "amber" }',
        )
    )
    (problem,) = [p for p in linted(tmp_path, text) if p.code is not Code.WITHHELD]
    assert (problem.key, problem.code) == ("points.soar-hq", Code.UNROUTABLE)
    assert problem.cause == "requests of soar-hq turn at the root hq and not at ot-1, which is not above hq"


def test_a_requester_that_leaves_its_scope_at_a_backup(tmp_path: Path) -> None:
    roles = ROLES.replace('to = "role=firewall"', 'to = "role=firewall", scope = "dmz"')
    soar = 'soar-1 = { relay = "ot-1", role = "soar", clearance = "green", backups = ["dmz", "office"] }'
    fw = 'fw = { relay = "ot-1", role = "firewall", clearance = "amber" }'
    found = linted(tmp_path, RELAYS + roles.replace(', subscribe = ["intel.ipv4.>"]', "") + points(soar, fw))
    (problem,) = [p for p in found if p.code == Code.UNROUTABLE]
    assert problem.key == "points.soar-1.backups.1"
    assert problem.cause == (
        "while soar-1 is at its backup office, its requests turn at the root hq and not at dmz, "
        "which is not above office"
    )


def test_of_many_who_ask_alike_each_is_told_of_each_relay_that_stops_them(tmp_path: Path) -> None:
    text = RELAYS + ROLES.replace(', subscribe = ["intel.ipv4.>"]', "") + points(
        'soar-1 = { relay = "hq", role = "soar", clearance = "amber" }',
        'soar-2 = { relay = "ot-1", role = "soar", clearance = "amber" }',
        'fw-1 = { relay = "ot-1", role = "firewall", clearance = "amber" }',
        'fw-2 = { relay = "dmz", role = "firewall", clearance = "amber" }',
        'fw-3 = { relay = "office", role = "firewall", clearance = "amber" }',
    )
    found = {p.key: p.cause for p in linted(tmp_path, text) if p.code is Code.WITHHELD}
    assert found["points.soar-1"].startswith("deny * from soar-1 to fw-1, fw-2: arguments amber")
    assert found["points.soar-2"].startswith("deny * from soar-2 to fw-1, fw-2, fw-3: arguments amber")
