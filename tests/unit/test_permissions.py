import itertools
from dataclasses import replace

import pytest

from fabric.protocol.access.permissions import (
    check_delivery,
    check_direction,
    check_execute,
    check_origin,
    check_subscribe,
    is_target,
    publish_grant,
    request_grants,
    selects,
)
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import ApproveGrant, Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Role
from tests.support import Authority, draft

AUTHORITY = Authority("permissions")
UP, DOWN = Direction.UP, Direction.DOWN
CHILD, PARENT, POINT = Role.CHILD, Role.PARENT, Role.POINT
FIREWALL = AUTHORITY.issue(
    "fw-7", segment="ot-1", tags=[("role", "firewall")], grants=Grants(execute=("deny ipv4_net",))
)


def member(**grants):
    return AUTHORITY.issue("node", clearance=Label.AMBER, grants=Grants(**grants))


def judge(who, **fields):
    problem = check_origin(who.credential, draft(who, **fields)[0])
    return None if problem is None else problem.code


def action(who, topic="deny.ipv4_net", to="role=firewall", **fields):
    return draft(who, kind=Kind.ACTION, topic=topic, to=to, **fields)[0]


# -- directions -----------------------------------------------------------------------------------------


def test_what_may_travel_where_is_this_and_nothing_else():
    allowed = {
        Kind.EVENT: [(CHILD, UP), (POINT, UP)],
        Kind.INTEL: [(CHILD, UP), (PARENT, DOWN), (POINT, UP)],
        Kind.ACTION: [(CHILD, UP), (PARENT, DOWN), (POINT, UP)],
        Kind.APPROVAL: [(CHILD, UP), (POINT, UP)],
        Kind.RESULT: [(CHILD, UP), (PARENT, DOWN), (POINT, UP)],
    }
    for kind, role, direction in itertools.product(Kind, Role, Direction):
        problem = check_direction(kind, role, direction)
        if (role, direction) in allowed.get(kind, []):
            assert problem is None
        else:
            assert problem is not None and problem.code is Code.WRONG_DIRECTION


def test_no_child_and_no_control_point_commands_its_relay():
    for kind, role in itertools.product(Kind, (CHILD, POINT)):
        assert check_direction(kind, role, DOWN) is not None


@pytest.mark.parametrize("kind", list(Kind))
def test_a_control_point_takes_only_what_comes_down(kind):
    assert check_delivery(kind, UP) is not None
    takes = kind in (Kind.EVENT, Kind.INTEL, Kind.ACTION, Kind.RESULT)
    assert (check_delivery(kind, DOWN) is None) == takes


# -- publish --------------------------------------------------------------------------------------------


def test_without_a_grant_nothing_is_published():
    assert judge(member()) is Code.PUBLISH_DENIED
    assert judge(member(publish=(PublishGrant("detections.suricata.>"),))) is Code.PUBLISH_DENIED


def test_a_publish_grant_covers_its_topics():
    assert judge(member(publish=(PublishGrant("detections.*.conn"),))) is None


def test_a_subscribe_grant_publishes_nothing():
    assert judge(member(subscribe=(">",), execute=("*",), request=(RequestGrant("*", "all"),))) is Code.PUBLISH_DENIED


def test_a_severity_above_the_grants_is_refused():
    who = member(publish=(PublishGrant("detections.>", Severity.HIGH),))
    assert judge(who, severity=Severity.HIGH) is None
    assert judge(who, severity=Severity.CRITICAL) is Code.SEVERITY_DENIED


def test_one_grant_that_allows_it_is_enough():
    who = member(publish=(PublishGrant("detections.>", Severity.LOW), PublishGrant("detections.zeek.>")))
    assert judge(who, severity=Severity.FATAL) is None


@pytest.mark.parametrize("fields", [{"label": Label.RED}, {"rules": {"src_ip": Label.RED}}])
def test_nobody_labels_above_their_own_clearance(fields):
    who = member(publish=(PublishGrant(">"),))
    assert judge(who, **fields) is Code.CLEARANCE_DENIED
    assert judge(who, rules={"src_ip": Label.AMBER}) is None


def test_the_grant_that_decides_is_the_first_for_the_topic_and_the_severity():
    grants = PublishGrant("a.>", Severity.LOW), PublishGrant("a.>", rate_per_s=5), PublishGrant("b.>")
    who = member(publish=grants)
    decided = [
        publish_grant(who.credential, draft(who, topic=topic, severity=severity)[0])
        for topic, severity in (("a.x", Severity.LOW), ("a.x", Severity.CRITICAL), ("b.x", Severity.CRITICAL))
    ]
    assert decided == list(grants)


# -- whom it may address --------------------------------------------------------------------------------

PARTNERS = PublishGrant("detections.>", to_organisations=("msp", "client-*"), to_communities=("isac",))


@pytest.mark.parametrize(
    ("organisations", "communities", "allowed"),
    [
        (("acme",), (), True), ((), (), True), (("acme", "msp"), (), True), (("msp",), ("isac",), True),
        (("acme", "client-7"), ("isac",), True), (("acme", "client-"), (), True),
        (("acme", "globex"), (), False), (("acme", "client"), (), False), (("acme",), ("fs-isac",), False),
        (("acme", "isac"), (), False), (("acme",), ("msp",), False), (("acme", ""), (), False),
    ],
)
def test_an_audience_stays_within_the_grant(organisations, communities, allowed):
    who = member(publish=(PARTNERS,))
    judged = judge(who, organisations=organisations, communities=communities)
    assert judged is (None if allowed else Code.AUDIENCE_DENIED)


def test_without_a_word_of_it_a_grant_is_for_the_own_organisation_alone():
    who = member(publish=(PublishGrant(">"),))
    assert judge(who) is None
    assert judge(who, organisations=("acme", "msp")) is judge(who, communities=("isac",)) is Code.AUDIENCE_DENIED


def test_who_is_addressed_decides_which_grant_it_is():
    grants = PublishGrant("detections.>", rate_per_s=5), replace(PARTNERS, severity_max=Severity.LOW), PARTNERS
    who = member(publish=grants)
    decided = [
        publish_grant(who.credential, draft(who, organisations=organisations, severity=severity)[0])
        for organisations, severity in ((("acme",), Severity.HIGH), (("msp",), Severity.LOW), (("msp",), Severity.HIGH))
    ]
    assert decided == list(grants)


def test_a_refusal_names_the_first_whom_it_may_not_address():
    who = member(publish=(PARTNERS,))
    refused = check_origin(who.credential, draft(who, organisations=("acme", "globex"), communities=("other",))[0])
    assert refused == Reject(Code.AUDIENCE_DENIED, "detections.zeek.conn: organisation globex")
    refused = check_origin(who.credential, draft(who, communities=("isac", "other"))[0])
    assert refused == Reject(Code.AUDIENCE_DENIED, "detections.zeek.conn: community other")


def test_recipients_need_no_grant_since_they_widen_nothing():
    assert judge(member(publish=(PublishGrant(">"),)), recipients=("lead-1", "hq")) is None


def test_an_action_is_for_its_requester_s_own_organisation():
    who = member(request=(RequestGrant("*", "all"),), publish=(PARTNERS,))
    assert judge(who, kind=Kind.ACTION, topic="deny.ipv4_net") is None
    refused = {judge(who, kind=Kind.ACTION, topic="deny.ipv4_net", **{name: (other,)})
               for name, other in (("organisations", "msp"), ("communities", "isac"))}
    assert refused == {Code.AUDIENCE_DENIED}


def test_an_answer_has_the_audience_of_what_it_answers():
    assert judge(FIREWALL, kind=Kind.RESULT, topic="deny.ipv4_net", organisations=("globex",)) is None
    relay = AUTHORITY.issue("hq", NodeKind.RELAY)
    assert judge(relay, topic="resolutions.deny.ipv4_net", organisations=("globex",)) is None


# -- subscribe ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("intel.ipv4.deny", True), ("intel.*.deny", True), ("intel.>", True),
        (">", False), ("*.ipv4", False), ("", False),
    ],
)
def test_a_subscription_stays_within_its_grant(pattern, allowed):
    assert (check_subscribe(member(subscribe=("intel.>",)).credential, pattern) is None) == allowed


# -- actions --------------------------------------------------------------------------------------------


def test_without_a_request_grant_nothing_is_requested():
    assert judge(member(), kind=Kind.ACTION, topic="deny.ipv4_net") is Code.REQUEST_DENIED
    who = member(request=(RequestGrant("deny domain_name", "all"), RequestGrant("allow *", "all")))
    assert judge(who, kind=Kind.ACTION, topic="deny.ipv4_net") is Code.REQUEST_DENIED


def test_a_request_has_a_severity_limit_of_its_own():
    who = member(request=(RequestGrant("deny *", "all", Severity.HIGH),))
    assert judge(who, kind=Kind.ACTION, topic="deny.ipv4_net", severity=Severity.HIGH) is None
    assert judge(who, kind=Kind.ACTION, topic="deny.ipv4_net", severity=Severity.FATAL) is Code.SEVERITY_DENIED


def test_an_action_runs_under_the_grants_of_one_scope():
    scoped, wide = RequestGrant("deny *", "all", scope="ot-1"), RequestGrant("* *", "all")
    who = member(request=(scoped, wide))
    assert request_grants(who.credential, action(who)) == [scoped]
    assert request_grants(who.credential, action(who, topic="allow.ipv4_net")) == [wide]


def test_a_target_is_selected_by_the_action_granted_to_the_requester_and_able():
    who = member(request=(RequestGrant("deny *", "segment=ot-1"),))
    assert is_target(who.credential, action(who), FIREWALL.credential)


@pytest.mark.parametrize(
    ("to", "grant", "topic"),
    [
        ("role=switch", "all", "deny.ipv4_net"),  # not selected
        ("role=firewall", "segment=office", "deny.ipv4_net"),  # not within the grant
        ("role=firewall", "all", "deny.domain_name"),  # not able
        ("role=firewall", "all", "allow.ipv4_net"),
        ("", "all", "deny.ipv4_net"),  # nobody is selected
        ("role=", "all", "deny.ipv4_net"),  # unreadable
        ("*", "all", "deny.ipv4_net"),
        ("role=firewall", "", "deny.ipv4_net"),
    ],
)
def test_who_lacks_one_of_the_three_is_no_target(to, grant, topic):
    who = member(request=(RequestGrant("*", grant),))
    assert not is_target(who.credential, action(who, topic, to), FIREWALL.credential)


def test_a_requester_without_a_grant_has_no_targets():
    who = member()
    assert not is_target(who.credential, action(who), FIREWALL.credential)


@pytest.mark.parametrize("selector", ["", " ", "role=", "(", "*", "x" * 2_000])
def test_an_empty_or_unreadable_selector_selects_nobody(selector):
    assert not selects(selector, FIREWALL.credential.attributes())


# -- results --------------------------------------------------------------------------------------------


def test_a_result_is_for_who_may_execute_the_action():
    assert judge(FIREWALL, kind=Kind.RESULT, topic="deny.ipv4_net") is None
    assert judge(FIREWALL, kind=Kind.RESULT, topic="allow.ipv4_net") is Code.EXECUTE_DENIED
    assert check_execute(FIREWALL.credential, "deny.ipv4_net") is None


def test_a_relay_may_report_of_any_action():
    relay = AUTHORITY.issue("hq", NodeKind.RELAY)
    assert judge(relay, kind=Kind.RESULT, topic="deny.ipv4_net") is None


@pytest.mark.parametrize("topic", ["resolutions.deny.ipv4_net", "resolutions", "resolutions.x"])
def test_what_became_of_actions_relays_say_and_nobody_else(topic):
    assert judge(AUTHORITY.issue("hq", NodeKind.RELAY), topic=topic) is None
    assert judge(member(publish=(PublishGrant(">"), PublishGrant("resolutions.>"))), topic=topic) is Code.PUBLISH_DENIED


def test_no_relay_hands_a_resolution_down_as_intel():
    """It would go to all who subscribe, wherever they are, and not only at this relay and above."""
    relay = AUTHORITY.issue("hq", NodeKind.RELAY)
    assert judge(relay, kind=Kind.INTEL, topic="resolutions.deny.ipv4_net") is Code.PUBLISH_DENIED


def test_a_relay_publishes_nothing_else():
    relay = AUTHORITY.issue("hq", NodeKind.RELAY)
    assert judge(relay, topic="detections.zeek.conn") is judge(relay, topic="resolution.deny") is Code.PUBLISH_DENIED


def test_kinds_without_a_rule_are_denied():
    assert judge(member(publish=(PublishGrant(">"),)), kind=Kind.CONTROL, topic="a.b") is Code.WRONG_DIRECTION


@pytest.mark.parametrize(
    ("topic", "classes", "code"),
    [
        ("deny.ipv4_net", ("contain",), None), ("deny.ipv4_net", ("remediate",), Code.APPROVE_DENIED),
        ("deny.ipv4_net", (), Code.APPROVE_DENIED), ("x-isolate.device", ("remediate",), None),
        ("x-isolate.device", (), Code.APPROVE_DENIED), ("nonsense.device", ("contain",), Code.APPROVE_DENIED),
    ],
)
def test_who_approves_has_an_approve_grant_for_the_class(topic, classes, code):
    approver = member(approve=tuple(ApproveGrant(class_, "all") for class_ in classes))
    assert judge(approver, kind=Kind.APPROVAL, topic=topic, correlation=b"a" * 32) is code
    assert judge(approver, kind=Kind.APPROVAL, topic=topic) is Code.BAD_APPROVAL, "it is of no action"


def test_a_refusal_names_what_was_asked_and_no_content():
    header, _ = draft(member(), records=[{"secret": "value"}])
    assert check_origin(member().credential, header) == Reject(Code.PUBLISH_DENIED, "detections.zeek.conn")


def test_a_relay_tells_of_what_it_carries_what_it_cannot_read_and_nothing_else():
    authority = Authority("telling")
    lead = authority.issue("lead-1")
    carrier, other = (authority.issue(id_, NodeKind.RELAY, Label.GREEN, carries_sealed=carries)
                      for id_, carries in (("dmz", True), ("plant", False)))
    sealed, _ = draft(carrier, kind=Kind.RESULT, topic="fabric.notice", label=Label.RED, sealed_to=(lead,))
    assert check_origin(carrier.credential, sealed) is None
    assert check_origin(other.credential, sealed).code is Code.CLEARANCE_DENIED
    for fields in ({"kind": Kind.EVENT, "topic": "detections.x", "sealed_to": (lead,)},
                   {"kind": Kind.RESULT, "topic": "fabric.notice", "recipients": ("lead-1",)}):
        header, _ = draft(carrier, label=Label.RED, **fields)
        assert check_origin(carrier.credential, header).code is Code.CLEARANCE_DENIED
