"""An issuer grants only within what it may, on every dimension."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import (
    ApproveGrant,
    Credential,
    DeclassifyGrant,
    Grants,
    Issuing,
    Keep,
    NodeKind,
    PublishGrant,
    RequestGrant,
)
from fabric.protocol.trust.delegation import check_within
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import DAY_MS, T0, Authority

GRANTS = Grants(
    publish=(
        PublishGrant("detections.>", Severity.HIGH, 100, ("msp", "client-*"), ("energy",)),
        PublishGrant("health.*", Severity.FATAL),
    ),
    subscribe=("intel.>",),
    request=(RequestGrant("deny *", "segment=plant-*", Severity.CRITICAL, "plant-1"),),
    execute=("deny ipv4_net",),
    approve=(ApproveGrant("contain", "segment=plant-1 or segment=cell-1a"),),
    declassify=(DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN),),
)
MAY = Issuing(
    ids=("p1-*",),
    kinds=(NodeKind.POINT, NodeKind.ISSUER),
    segments=("plant-1", "cell-1*"),
    organisations=("acme",),
    clearance=Label.AMBER,
    communities=("energy",),
    client_of=("msp",),
    tags=(("role", "sensor"), ("vendor", "*")),
    principals=("p1-*", "shift"),
    grants=GRANTS,
)
ISSUER = replace(
    Authority("delegation").issue("plant-1-issuer", not_before_ms=T0, not_after_ms=T0 + DAY_MS).credential,
    kind=NodeKind.ISSUER, issuing=MAY,
)
MEMBER = replace(
    Authority("delegation").issue("p1-zeek", not_before_ms=T0, not_after_ms=T0 + DAY_MS).credential,
    segment="plant-1",
    clearance=Label.AMBER,
    communities=("energy",),
    client_of=("msp",),
    tags=(("role", "sensor"), ("vendor", "zeek")),
    principal="p1-team",
    grants=Grants(
        publish=(
            PublishGrant("detections.zeek.>", Severity.HIGH, 100, ("client-7", "client-a*"), ("energy",)),
            PublishGrant("health.fan", rate_per_s=5),
        ),
        subscribe=("intel.ipv4.*",),
        request=(RequestGrant("deny ipv4_net", "segment=plant-1 and role=firewall", Severity.LOW, "plant-1"),),
        execute=("deny ipv4_net",),
        approve=(ApproveGrant("contain", "segment=cell-1a"),),
        declassify=(DeclassifyGrant("detections.zeek.*", Label.AMBER, Label.GREEN),),
    ),
)


def refused(member, issuer=ISSUER):
    problem = check_within(issuer, member)
    return problem.detail.rpartition(": ")[2] if problem is not None else ""


def test_what_is_within_is_granted():
    assert check_within(ISSUER, MEMBER) is None


WIDER = {
    "another prefix": ("id", {"id": "hq"}),
    "the prefix itself is no name of its": ("id", {"id": "p1"}),
    "a relay": ("kind", {"kind": NodeKind.RELAY}),
    "an operator": ("kind", {"kind": NodeKind.OPERATOR}),
    "another segment": ("segment", {"segment": "plant-2"}),
    "another organisation": ("organisation", {"organisation": "other"}),
    "another community": ("communities", {"communities": ("energy", "finance")}),
    "another provider": ("client of", {"client_of": ("other",)}),
    "what is sealed to others": ("carries sealed", {"carries_sealed": True}),
    "a higher clearance": ("clearance", {"clearance": Label.AMBER_STRICT}),
    "another role": ("tags", {"tags": (("role", "firewall"),)}),
    "another tag": ("tags", {"tags": (("site", "east"),)}),
    "another plant's lead": ("principal", {"principal": "p2-lead"}),
    "valid before": ("validity", {"not_before_ms": T0 - 1}),
    "valid after": ("validity", {"not_after_ms": T0 + DAY_MS + 1}),
    "more topics": ("grants", {"grants": Grants(publish=(PublishGrant(">", Severity.LOW, 1),))}),
    "a higher severity": ("grants", {"grants": Grants(publish=(PublishGrant("detections.a", Severity.CRITICAL, 1),))}),
    "a higher rate": ("grants", {"grants": Grants(publish=(PublishGrant("detections.a", Severity.LOW, 101),))}),
    "no bound of rate": ("grants", {"grants": Grants(publish=(PublishGrant("detections.a", Severity.LOW, 0),))}),
    "another addressee": ("grants", {"grants": Grants(
        publish=(PublishGrant("detections.a", Severity.LOW, 1, ("globex",)),))}),
    "more addressees": ("grants", {"grants": Grants(
        publish=(PublishGrant("detections.a", Severity.LOW, 1, ("client*",)),))}),
    "another community to address": ("grants", {"grants": Grants(
        publish=(PublishGrant("detections.a", Severity.LOW, 1, (), ("finance",)),))}),
    "an addressee of another topic's": ("grants", {"grants": Grants(
        publish=(PublishGrant("health.fan", Severity.LOW, 1, ("msp",)),))}),
    "more to read": ("grants", {"grants": Grants(subscribe=("detections.>",))}),
    "more actions": ("grants", {"grants": Grants(request=(RequestGrant("*", "segment=plant-1", scope="plant-1"),))}),
    "more targets": ("grants", {"grants": Grants(
        request=(RequestGrant("deny *", "role=firewall", Severity.LOW, "plant-1"),))}),
    "a higher action": ("grants", {"grants": Grants(
        request=(RequestGrant("deny *", "segment=plant-1", Severity.FATAL, "plant-1"),))}),
    "another scope": ("grants", {"grants": Grants(
        request=(RequestGrant("deny *", "segment=plant-1", Severity.LOW, ""),))}),
    "more to execute": ("grants", {"grants": Grants(execute=("deny *",))}),
    "another class": ("grants", {"grants": Grants(approve=(ApproveGrant("remediate", "segment=plant-1"),))}),
    "another topic to declassify": ("grants", {"grants": Grants(
        declassify=(DeclassifyGrant("intel.x", Label.AMBER, Label.GREEN),))}),
    "a higher label to declassify": ("grants", {"grants": Grants(
        declassify=(DeclassifyGrant("detections.x", Label.AMBER_STRICT, Label.GREEN),))}),
    "further down to declassify": ("grants", {"grants": Grants(
        declassify=(DeclassifyGrant("detections.x", Label.AMBER, Label.CLEAR),))}),
    "more kept": ("grants", {"grants": Grants(keep=Keep(2**25))}),
    "more to approve": ("grants", {"grants": Grants(approve=(ApproveGrant("contain", "all"),))}),
}


@pytest.mark.parametrize(("dimension", "changed"), WIDER.values(), ids=WIDER)
def test_what_is_wider_is_refused_and_named(dimension, changed):
    problem = check_within(ISSUER, replace(MEMBER, **changed))
    assert problem is not None and problem.code is Code.WIDER_THAN_ISSUER
    assert refused(replace(MEMBER, **changed)) == dimension


GIVES_WIDER = {
    "any id": {"ids": ("*",)},
    "a shorter prefix": {"ids": ("p*",)},
    "a relay": {"kinds": (NodeKind.RELAY,)},
    "any segment": {"segments": ("*",)},
    "a wider segment": {"segments": ("plant-*",)},
    "an organisation": {"organisations": ("*",)},
    "a clearance": {"clearance": Label.RED},
    "a community": {"communities": ("finance",)},
    "a provider": {"client_of": ("*",)},
    "any role": {"tags": (("role", "*"),)},
    "a principal": {"principals": ("p*",)},
    "grants": {"grants": Grants(publish=(PublishGrant(">"),))},
}


def below(**changed):
    """An issuer that this one made, which may give what it may itself, but for what is changed."""
    gives = replace(MAY, kinds=(NodeKind.POINT,), **changed) if "kinds" not in changed else replace(MAY, **changed)
    return replace(MEMBER, id="p1-issuer", kind=NodeKind.ISSUER, issuing=gives)


def test_an_issuer_may_make_another_that_may_give_no_more():
    assert check_within(ISSUER, below()) is None
    assert refused(below(), replace(ISSUER, issuing=replace(MAY, kinds=(NodeKind.POINT,)))) == "kind"


@pytest.mark.parametrize("changed", GIVES_WIDER.values(), ids=GIVES_WIDER)
def test_an_issuer_hands_on_no_more_than_it_has(changed):
    assert refused(below(**changed)) == "issuing"


@pytest.mark.parametrize("kind", [NodeKind.POINT, NodeKind.RELAY, NodeKind.OPERATOR])
def test_nobody_else_issues_anything(kind):
    assert check_within(replace(ISSUER, kind=kind), MEMBER).code is Code.BROKEN_CHAIN
    assert check_within(replace(ISSUER, issuing=None), MEMBER).code is Code.BROKEN_CHAIN


NAMES = st.text("ab*-", max_size=4)


@given(st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3), NAMES)
def test_what_is_within_admits_no_name_that_the_wider_one_does_not(wide, narrow, name):
    """Of whatever an issuer may give to another issuer, a member of that one is within the first one too."""
    literal = name.replace("*", "")
    above = replace(ISSUER, issuing=replace(MAY, segments=tuple(wide)))
    between = below(segments=tuple(narrow))
    member = replace(MEMBER, segment=literal)
    if check_within(above, between) is None and check_within(between, member) is None:
        assert check_within(above, member) is None


def test_a_credential_says_nothing_of_issuing_unless_it_may():
    assert isinstance(MEMBER, Credential) and MEMBER.issuing is None


@pytest.mark.parametrize(("held", "given", "fits"), [
    (None, None, True), (None, Keep(2**20, 1), True), (None, Keep(2**25), False), (Keep(2**30), Keep(2**30), True),
    (Keep(2**30), None, True), (Keep(2**20), None, False), (Keep(2**30, 1_000), Keep(2**20, 1_001), False),
    (None, Keep(2**20, 1, waits=True), False), (Keep(2**30), Keep(2**20, 1, waits=True), False),
    (Keep(2**30, waits=True), Keep(2**30, waits=True), True), (Keep(2**30, waits=True), Keep(2**30), True),
])
def test_who_says_nothing_of_what_is_kept_has_what_everybody_has(held, given, fits):
    issuer = replace(ISSUER, issuing=replace(MAY, grants=replace(GRANTS, keep=held)))
    assert (check_within(issuer, replace(MEMBER, grants=Grants(keep=given))) is None) == fits


def test_no_issuer_has_a_relay_carry_what_is_sealed():
    relay = replace(MEMBER, kind=NodeKind.RELAY, carries_sealed=True)
    may = replace(MAY, kinds=(*MAY.kinds, NodeKind.RELAY), clearance=Label.RED)
    assert refused(relay, replace(ISSUER, issuing=may)) == "carries sealed"
    assert not refused(replace(relay, carries_sealed=False), replace(ISSUER, issuing=may))
