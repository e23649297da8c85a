"""Why somebody may or may not: what is known without asking a relay, and what is said of it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import Defaults, load_identity
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.options import action_stamp
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind, Relabels
from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.trust.policies import Policies, Rule, When
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.authority import Delegation, delegate, init_authority, make_identities, open_authority
from relays.authority.minting import claim, mint
from relays.explaining import (
    Asker,
    Tree,
    asker_of,
    explain_action,
    explain_publish,
    explain_relabel,
    explain_subscribe,
    matched_rules,
    tree_here,
    tree_of,
    unknown_names,
)
from relays.explaining.grants import grants_text
from relays.explaining.tree import Placed
from relays.explaining.verdicts import nobody_of
from relays.topology.loader import load
from tests.support import DAY_MS, MINUTE_MS, derive

ENTERPRISE = load(Path(__file__).parents[2] / "topologies" / "enterprise.toml")
TREE = tree_of(ENTERPRISE)
GREEN, AMBER, RED = Label.GREEN, Label.AMBER, Label.RED


def asker(id_: str) -> Asker:
    return Asker(TREE.points[id_].credential, TREE.points[id_].above)


def publish(id_="zeek-p1", topic="detections.zeek.conn", severity=Severity.HIGH, label=GREEN, tree=TREE, **rules):
    stamp = Stamp(Kind.EVENT, topic, severity, Phase.NONE, MINUTE_MS, label, tuple(rules.items()))
    return explain_publish(asker(id_), stamp, tree)


def act(id_="soar-1", topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH, label=GREEN, tree=TREE):
    return explain_action(asker(id_), Stamp(Kind.ACTION, topic, severity, Phase.NONE, MINUTE_MS, label, to=to), tree)


# -- publish --------------------------------------------------------------------------------------------------


def test_what_passes_whole_is_allowed_by_the_grant_that_the_file_shows():
    said = publish()
    assert (said.verdict, said.code, said.rate_per_s) == ("allowed", None, 2000)
    assert said.grants == ('{ topic = "detections.>", severity_max = "critical", rate = 2000 }',)
    assert [hop.relay for hop in said.hops] == ["plant-1", "dmz", "region-east", "hq"]


def test_a_field_is_stripped_where_it_may_not_go_and_once_only():
    said = publish(src=AMBER)
    assert said.verdict == "partly"
    assert {hop.relay: hop.stripped for hop in said.hops if hop.stripped} == {"dmz": (AMBER,)}


def test_what_a_relay_may_not_know_of_ends_there():
    said = publish(label=AMBER)
    assert said.verdict == "partly" and [hop.relay for hop in said.hops] == ["plant-1", "dmz"] and said.hops[-1].ends


def test_what_its_own_relay_may_not_know_of_nobody_gets():
    red = replace(TREE.points["zeek-p1"].credential, clearance=RED)
    stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, MINUTE_MS, RED)
    said = explain_publish(Asker(red, "plant-1"), stamp, TREE)
    assert (said.verdict, said.code, said.detail, said.wanted) == ("denied", Code.WITHHELD, "plant-1", "")


@pytest.mark.parametrize(
    ("fields", "code", "wanted"),
    [
        ({"topic": "secrets.x"}, Code.PUBLISH_DENIED, 'publish = ["secrets.x"]'),
        ({"severity": Severity.FATAL}, Code.SEVERITY_DENIED, 'publish = [{ topic = "detections.>", rate = 2000 }]'),
        ({"label": RED}, Code.CLEARANCE_DENIED, 'clearance = "red"'),
        ({"src": RED}, Code.CLEARANCE_DENIED, 'clearance = "red"'),
    ],
)
def test_a_denial_names_its_code_and_what_would_do(fields, code, wanted):
    said = publish(**fields)
    assert (said.verdict, said.code, said.wanted, said.grants, said.hops) == ("denied", code, wanted, (), ())
    assert said.held == ('{ topic = "detections.>", severity_max = "critical", rate = 2000 }',)


# -- subscribe ------------------------------------------------------------------------------------------------


def test_a_subscriber_reads_what_it_and_its_relay_may_hold():
    pattern = "detections.zeek.*"
    assert explain_subscribe(asker("analyst-1"), pattern, TREE).reads == tuple(Label)
    assert explain_subscribe(asker("auditor-1"), pattern, TREE).reads == (Label.CLEAR, GREEN)
    denied = explain_subscribe(asker("auditor-1"), ">", TREE)
    assert (denied.verdict, denied.code, denied.wanted) == ("denied", Code.SUBSCRIBE_DENIED, 'subscribe = [">"]')


# -- actions --------------------------------------------------------------------------------------------------


def test_an_action_reaches_its_targets_by_the_way_down():
    said = act()
    assert said.verdict == "allowed" and said.turn == "hq"
    ways = {target.id: target.way for target in said.targets}
    assert ways["fw-p1"] == ("region-east", "dmz", "plant-1") and ways["fw-p2"] == ("region-west", "plant-2")


def test_where_it_may_not_pass_it_ends_for_some():
    said = act(label=AMBER)
    assert said.verdict == "partly" and said.code is None
    assert {target.id: target.by for target in said.targets if target.code} == {"fw-dmz": "dmz", "fw-p1": "dmz"}


def test_whom_the_grant_does_not_cover_and_who_may_not_execute_it_are_told_apart():
    said = act(topic="contain.device", to="id=edr-* or id=fw-p1")
    assert [target.id for target in said.targets] == ["edr-office", "edr-cloud"]
    assert (said.not_granted, said.not_able) == (("edr-p1", "edr-p2"), ("fw-p1",))
    assert said.verdict == "partly"


def test_it_turns_at_the_scope_of_the_grant_and_nobody_elsewhere_is_reached():
    said = act("soar-p1")
    assert said.turn == "plant-1" and [target.id for target in said.targets] == ["fw-p1"]
    wide = replace(
        asker("soar-p1").credential,
        grants=Grants(request=(RequestGrant("deny *", "role=firewall", scope="plant-1"),)),
    )
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, MINUTE_MS, GREEN, to="role=firewall")
    said = explain_action(Asker(wide, "plant-1"), stamp, TREE)
    assert said.elsewhere == ("fw-dmz", "fw-office", "fw-p2") and said.verdict == "partly"


def test_who_is_revoked_is_selected_no_more():
    listed = Revocations(ids=frozenset({"fw-p1", "fw-p2"}))
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, MINUTE_MS, GREEN, to="role=firewall")
    said = explain_action(asker("soar-1"), stamp, TREE, revocations=listed)
    assert [each.id for each in said.targets] == ["fw-dmz", "fw-office"]
    assert (said.revoked, said.verdict) == (("fw-p1", "fw-p2"), "partly")
    said = explain_action(asker("soar-1"), stamp._replace(to="id=fw-p1"), TREE, revocations=listed)
    assert (said.verdict, said.code) == ("nobody", Code.NOBODY) and "never used again" in said.next_step


@pytest.mark.parametrize(("to", "helps"), [("role=nothing", "correct the selector"), ("role=edr", "what each lacks")])
def test_where_nobody_is_selected_the_next_step_is_not_the_same_command_again(to, helps):
    said = act(to=to)
    assert said.code is Code.NOBODY and helps in said.next_step and "explain act" not in said.next_step


def test_nobody_selected_is_no_denial():
    said = act(to="role=nothing")
    assert (said.verdict, said.code) == ("nobody", Code.NOBODY)


@pytest.mark.parametrize(
    ("fields", "code", "wanted"),
    [
        ({"topic": "scan.device", "id_": "soar-p1"}, Code.REQUEST_DENIED,
         'request = [{ action = "scan device", to = "role=firewall" }]'),
        ({"topic": "contain.device", "id_": "soar-p1", "severity": Severity.FATAL}, Code.SEVERITY_DENIED,
         'request = [{ action = "contain device", to = "role=edr and segment=plant-1", scope = "plant-1" }]'),
        ({"id_": "soar-p1", "label": RED}, Code.CLEARANCE_DENIED, 'clearance = "red"'),
    ],
)
def test_a_request_that_is_denied(fields, code, wanted):
    said = act(**fields)
    assert (said.verdict, said.code, said.wanted, said.targets) == ("denied", code, wanted, ())


def test_what_is_sealed_to_its_targets_is_theirs_to_have():
    """Whoever may not have it stops it, and not that only a selector says whom it is sealed to."""
    spec, _ = request_arguments("deny", "ipv4_net=203.0.113.9", "id=wall", None)
    stamp = action_stamp(spec, "id=wall", Defaults(GREEN, {}), severity="high", seal=True)
    grants = Grants(request=(RequestGrant("deny *", "all"),), execute=("deny *",))
    relay, soar, wall = (
        replace(asker("soar-1").credential, id=name, clearance=RED, grants=grants) for name in ("hq", "soar", "wall")
    )

    def sealed(target):
        hq, points = replace(relay, kind=NodeKind.RELAY), {"soar": Placed(soar, "hq"), "wall": Placed(target, "hq")}
        tree = Tree({"hq": Placed(hq, "")}, points)
        (said,) = explain_action(Asker(soar, "hq"), stamp, tree).targets
        return said.code, said.by

    assert sealed(wall) == (None, "")
    assert sealed(replace(wall, clearance=AMBER)) == (Code.WITHHELD, "wall")


def test_an_action_that_ends_before_it_turns_selects_nobody():
    wide = replace(asker("soar-p1").credential, grants=asker("soar-1").credential.grants)
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, MINUTE_MS, AMBER, to="role=firewall")
    said = explain_action(Asker(wide, "plant-1"), stamp, TREE)
    assert (said.verdict, said.code, said.detail, said.targets) == ("denied", Code.WITHHELD, "dmz", ())


# -- what is known --------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    make_identities(ENTERPRISE, init_authority("enterprise", tmp_path), tmp_path)
    return tmp_path


def test_the_identities_of_a_machine_say_the_same_as_the_file(home):
    here = tree_here("enterprise", home)
    assert {id_: placed.above for id_, placed in here.relays.items()} == {
        id_: placed.above for id_, placed in TREE.relays.items()
    }
    assert {id_: placed.above for id_, placed in here.points.items()} == {
        id_: placed.above for id_, placed in TREE.points.items()
    }
    for name in ("verdict", "hops", "grants", "unknown_above"):
        assert getattr(publish(src=AMBER, tree=here), name) == getattr(publish(src=AMBER), name)
    assert sorted(target.id for target in act(tree=here).targets) == sorted(target.id for target in act().targets)


def test_a_relay_without_a_folder_is_named_and_not_left_out():
    some = Tree({id_: TREE.relays[id_] for id_ in ("plant-1", "dmz")}, TREE.points)
    said = publish(tree=some)
    assert [hop.relay for hop in said.hops] == ["plant-1", "dmz"] and said.unknown_above == "region-east"
    assert publish(label=AMBER, tree=some).unknown_above == "", "it does not get that far"
    asked = act("soar-p1", tree=some)
    assert asked.turn == "plant-1" and asked.unknown_above == ""
    assert publish(tree=Tree()).unknown_above == "plant-1"


def test_who_is_revoked_or_out_of_date_is_refused_whatever_its_grants(home):
    identity = load_identity(ids_folder("enterprise", home) / "zeek-p1")
    now_ms = time.time_ns() // 1_000_000
    nothing, revoked = Revocations(), Revocations(version=1, ids=frozenset({"zeek-p1"}))
    assert asker_of(identity, nothing, now_ms).problem is None
    stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, MINUTE_MS, GREEN)
    for code, who in (
        (Code.REVOKED, asker_of(identity, revoked, now_ms)),
        (Code.CREDENTIAL_EXPIRED, asker_of(identity, nothing, now_ms + 400 * DAY_MS)),
    ):
        said = explain_publish(who, stamp, TREE)
        assert (said.verdict, said.code, said.wanted) == ("denied", code, "")


def test_a_member_stands_and_falls_with_who_vouches_for_it(home):
    delegate(ENTERPRISE, Delegation("plant-1-issuer", "plant-1", ("sensor",)), open_authority("enterprise", home), home)
    issuer = load_identity(ids_folder("enterprise", home) / "plant-1-issuer")
    wanted = {
        "fabric": "enterprise", "id": "plant-1-zeek", "kind": NodeKind.POINT, "organisation": "acme",
        "clearance": AMBER, "segment": "plant-1", "tags": (("role", "sensor"),),
        "grants": ENTERPRISE.roles["sensor"].grants,
    }
    now_ms = time.time_ns() // 1_000_000
    unsigned = claim(wanted, (derive("curve"), derive("sign")), now_ms, DAY_MS, issuer.credential)
    credential = mint(unsigned, issuer.signer, issuer.authority_key, issuer.credential)
    member = replace(issuer, credential=credential)
    assert asker_of(member, Revocations(), now_ms).problem is None
    for issuer_is, code in (
        ({"revocations": Revocations(version=1, ids=frozenset({"plant-1-issuer"}))}, Code.REVOKED),
        ({"identity": replace(member, authority_key=derive("another"))}, Code.BROKEN_CHAIN),
    ):
        asked = {"identity": member, "revocations": Revocations(), "now_ms": now_ms, **issuer_is}
        problem = asker_of(**asked).problem
        assert problem is not None and problem.code is code


def test_a_list_that_is_past_its_time_stops_actions_and_nothing_else(home):
    now_ms = time.time_ns() // 1_000_000
    old = Revocations(version=1, not_after_ms=now_ms - DAY_MS // 2)
    soar = asker_of(load_identity(ids_folder("enterprise", home) / "soar-1"), old, now_ms)
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, MINUTE_MS, GREEN, to="role=firewall")
    said = explain_action(soar, stamp, TREE)
    # Its own segment goes on for a while; the others do not.
    assert said.code is None and {target.code for target in said.targets} == {Code.LIST_EXPIRED}
    late = replace(soar, now_ms=now_ms + 60 * DAY_MS)
    assert explain_action(late, stamp, TREE).code is Code.LIST_EXPIRED
    assert explain_subscribe(late, "detections.>", TREE).code is None


def test_grants_are_written_as_a_topology_file_has_them():
    grants = Grants(
        publish=(PublishGrant("a.>"), PublishGrant("b", Severity.LOW, 5)), subscribe=("x.*",), execute=("deny *",),
        request=(RequestGrant("deny *", "role='it is'", Severity.HIGH, "mid"),),
    )
    assert grants_text("publish", grants) == ['"a.>"', '{ topic = "b", severity_max = "low", rate = 5 }']
    assert grants_text("subscribe", grants) == ['"x.*"'] and grants_text("execute", grants) == ['"deny *"']
    assert grants_text("request", grants) == [
        '{ action = "deny *", to = "role=\'it is\'", severity_max = "high", scope = "mid" }'
    ]


def test_a_rule_for_a_field_that_is_not_there_strips_nothing():
    stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, MINUTE_MS, GREEN,
                  (("src.ip", AMBER), ("rule", AMBER)))
    assert matched_rules(stamp, {"src_ip": "10.1.0.7", "rule": "scan"}) == (("rule", AMBER),)


def test_a_name_in_a_selector_that_nobody_has_is_named():
    assert "nobody who is known here has rolle" in act(to="rolle=firewall").detail
    assert act(to="role=nonesuch").detail == "role=nonesuch"
    assert unknown_names("rolle=firewall", Tree()) == "", "nobody is known"


def test_it_says_who_is_to_approve():
    rule = Rule("contain", When("contain", to="segment=plant-1"), 2, ("lead",), MINUTE_MS)
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, MINUTE_MS, GREEN, to="role=firewall")
    said = explain_action(asker("soar-1"), stamp, TREE, Policies(1, 0, (rule,), {}))
    assert (said.rule, said.class_) == (rule, "contain")
    assert explain_action(asker("soar-1"), stamp, TREE).rule is None


# -- whom it is for ---------------------------------------------------------------------------------------------

PARTNERS = tree_of(load(Path(__file__).parents[2] / "topologies" / "partners.toml"))


def to_partners(id_="feed-1", topic="intel.ipv4", label=AMBER, **audience):
    stamp = Stamp(Kind.INTEL, topic, Severity.LOW, Phase.NONE, MINUTE_MS, label, audience=Audience(**audience))
    who = PARTNERS.points[id_]
    return explain_publish(Asker(who.credential, who.above), stamp, PARTNERS)


def test_whom_a_message_is_for_is_said_with_the_grant_that_allows_it():
    said = to_partners(organisations=("guard",), communities=("isac",))
    assert said.verdict == "allowed" and said.audience == Audience(("acme", "guard"), ("isac",))
    assert said.grants == ('{ topic = "intel.>", organisations = ["guard"], communities = ["isac"] }',)


def test_where_the_grant_does_not_address_them_it_says_which_would():
    said = to_partners(organisations=("guard", "bank"), communities=("isac", "fs"))
    assert (said.code, said.detail) == (Code.AUDIENCE_DENIED, "intel.ipv4: organisation bank")
    assert said.wanted == (
        'publish = [{ topic = "intel.>", organisations = ["guard", "bank"], communities = ["isac", "fs"] }]'
    )


def test_a_hop_that_the_audience_does_not_reach_is_told_from_one_with_too_low_a_clearance():
    (first, *_) = to_partners(label=RED, recipients=("analyst-acme",)).hops
    assert not first.ends, "it carries what is sealed to somebody else"
    assert not publish(label=AMBER).hops[1].is_cleared_for(AMBER)


def test_names_that_nobody_has_are_named_where_the_whole_way_is_known():
    said = to_partners(label=RED, recipients=("hq", "analyst-acne"))
    assert said.nobody == (Reject(Code.RECIPIENT_UNKNOWN, "analyst-acne"),)
    assert said.verdict == "partly", "it would be refused, but where somebody of this name is known elsewhere"
    assert nobody_of(Audience(("acme", "gard"), ("isac", "fs")), PARTNERS, asker("soar-1")) == (
        Reject(Code.RECIPIENT_UNKNOWN, "gard"), Reject(Code.COMMUNITY_EMPTY, "fs"),
    )
    refused = to_partners(label=RED, recipients=("hq", "analyst-bank"))
    assert (refused.verdict, refused.code) == ("denied", Code.BAD_AUDIENCE), "recipients widen nothing"
    assert refused.detail == "analyst-bank is cleared for amber+strict, and may not have what is red"
    other = to_partners(label=RED, recipients=("analyst-guard",))
    assert other.detail == "analyst-guard may not have what is red, as its organisation guard is not named"
    assert other.next_step == "name its organisation too: --to-org guard, which has to be in the publish grant"
    assert to_partners(label=RED, organisations=("guard",), recipients=("analyst-guard",)).verdict == "allowed"
    of_role = to_partners(label=RED, organisations=("guard",), recipients=("role=analyst",))
    assert of_role.detail.endswith("cleared for amber+strict, and may not have what is red"), "all of it are meant"
    blind = replace(PARTNERS, relays={})
    stamp = Stamp(Kind.INTEL, "intel.x", Severity.LOW, Phase.NONE, MINUTE_MS, RED, audience=Audience((), (), ("x",)))
    who = PARTNERS.points["feed-1"]
    assert explain_publish(Asker(who.credential, who.above), stamp, blind).nobody == ()


# -- relabel --------------------------------------------------------------------------------------------------

LOWERS = Grants(
    publish=(PublishGrant("detections.>", Severity.HIGH),), declassify=(DeclassifyGrant("detections.>", AMBER, GREEN),)
)


def relabel(from_=AMBER, label=GREEN, grants=LOWERS, topic="detections.zeek.conn", severity=Severity.HIGH):
    credential = replace(TREE.points["zeek-p1"].credential, grants=grants)
    stamp = Stamp(
        Kind.EVENT, topic, severity, Phase.NONE, MINUTE_MS, label, relabels=Relabels(derive("old"), 0, from_)
    )
    return explain_relabel(Asker(credential, "plant-1"), stamp, TREE)


def test_what_may_be_re_issued_names_the_grant_that_allows_it_and_how_far_it_gets():
    said = relabel()
    assert (said.verb, said.verdict, said.code) == ("relabel", "allowed", None)
    assert said.grants == said.held == ('{ topic = "detections.>", from = "amber", to = "green" }',)
    assert [hop.relay for hop in said.hops] == ["plant-1", "dmz", "region-east", "hq"]


@pytest.mark.parametrize("grants", [replace(LOWERS, declassify=()), LOWERS])
def test_for_want_of_a_grant_to_declassify_the_one_that_would_do_is_named(grants):
    said = relabel(label=Label.CLEAR, grants=grants)
    assert (said.verdict, said.code) == ("denied", Code.DECLASSIFY_DENIED)
    assert said.wanted == 'declassify = [{ topic = "detections.zeek.conn", from = "amber", to = "clear" }]'
    assert said.held == tuple(grants_text("declassify", grants))


def test_what_may_not_be_published_may_not_be_re_issued():
    said = relabel(severity=Severity.CRITICAL)
    assert said.code is Code.SEVERITY_DENIED and said.wanted.startswith("publish = [")
    said = relabel(topic="health.fan")
    assert said.code is Code.PUBLISH_DENIED and said.wanted == 'publish = ["health.fan"]'


def test_what_is_not_lower_needs_no_grant_but_another_label():
    said = relabel(GREEN, AMBER)
    assert (said.verdict, said.code, said.wanted) == ("denied", Code.NOT_LOWERED, "")
