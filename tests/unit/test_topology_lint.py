"""Lint: what a topology will do that its author may not have meant, and the proofs of its asserts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from relays.topology import Problem, lint, load
from relays.topology.flow import actions_overlap, carries, patterns_overlap

SHIPPED = Path(__file__).parents[2] / "topologies"

RELAYS = """
fabric = "acme"
[relays]
hq     = { clearance = "red",   listen = "127.0.0.1:7700" }
dmz    = { clearance = "green", listen = "127.0.0.1:7710", parent = "hq" }
office = { clearance = "amber", listen = "127.0.0.1:7720", parent = "hq" }
ot-1   = { clearance = "amber", listen = "127.0.0.1:7730", parent = "dmz" }
"""
ROLES = """
[roles]
sensor = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
feed = { publish = ["intel.>"] }
firewall = { execute = ["deny ipv4_net"], subscribe = ["intel.ipv4.>"] }
soar = { request = [{ action = "deny *", to = "role=firewall" }] }
[[approval]]
when = { class = "contain" }
require = 0
"""


def linted(tmp_path: Path, text: str) -> list[Problem]:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return lint(path)


def points(*lines: str) -> str:
    return "[points]\n" + "\n".join(lines) + "\n"


def never(claim: str) -> str:
    return f'[[assert]]\nnever = "{claim}"\n'


def test_minimal_has_nothing_to_say() -> None:
    assert lint(SHIPPED / "minimal.toml") == []


def test_enterprise_has_no_errors_and_warnings_that_teach() -> None:
    found = lint(SHIPPED / "enterprise.toml")
    assert [p for p in found if p.severity == "error"] == []
    zeek = next(p for p in found if p.key == "points.zeek-p1.sources.conn")
    assert (
        "amber fields from zeek-p1 end at dmz (clearance green): subscribers above see them withheld"
        in zeek.cause
    )
    soar = next(p for p in found if p.key == "points.soar-1" and "end at dmz" in p.cause)
    assert "on their way to fw-dmz, fw-p1, edr-p1" in soar.cause
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
    assert problem.key == "points.soar-1"
    assert problem.cause.endswith("end at dmz (clearance green) on their way to fw-1")


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
    (problem,) = linted(tmp_path, text)
    assert (problem.key, problem.code) == ("points.soar-hq", Code.UNROUTABLE)


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


# asserts


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
    assert broken(tmp_path, "amber from office reaches fw", feed).endswith("climbing: office -> hq")


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
        ('["hq"]', "[]", "office", "ot-1 -> dmz -> hq -> office"),  # the root knows no scope
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
        ("pink from ot-1 reaches hq", "is not LABEL from NAME reaches NAME"),
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


# patterns


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("*.b", "a.*", True),
        (">", "a", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b.c", False),
        ("a.>", "*.*.c", True),
        ("a", "a", True),
        ("x.>", "y.>", False),
    ],
)
def test_patterns_that_share_a_topic(a: str, b: str, overlap: bool) -> None:
    assert patterns_overlap(a, b) is patterns_overlap(b, a) is overlap


def test_what_patterns_can_carry() -> None:
    assert carries("intel.>", "intel") and not carries("intel.>", "event")
    assert carries("detections.>", "event") and not carries("detections.>", "intel")
    assert all(carries(pattern, kind) for pattern in (">", "*.x") for kind in ("intel", "event"))
    assert actions_overlap("deny *", "* ipv4_net") and actions_overlap("*", "scan device")
    assert not actions_overlap("deny *", "allow ipv4_net")


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
