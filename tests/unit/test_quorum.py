"""Whose approvals count, and when they are enough."""

import itertools
from dataclasses import replace

import pytest

from fabric.protocol.access.quorum import Quorum, check_quorum
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import APPROVALS_MAX, SKEW_MS
from fabric.protocol.trust.credentials import ApproveGrant, Grants
from fabric.protocol.trust.policies import Rule, When
from fabric.protocol.vocabulary.tlp import Label
from tests.approving import (
    ACTION,
    CISO,
    FW,
    HOLD,
    LEADS,
    MAY,
    POLICIES,
    RULE,
    SOAR,
    action,
    approval,
    judge,
    member,
    policies,
)
from tests.support import MINUTE_MS, T0

ANN, BOB, LEAD_3 = LEADS
NOW = HOLD.held_at_ms + 2 * MINUTE_MS
HELD = HOLD.held_at_ms


def decided(*approvals, now_ms=NOW, **how):
    return judge(**how).quorum(approvals, now_ms)


def refused(*approvals, **how):
    return decided(*approvals, **how).code


def test_as_many_distinct_persons_as_the_rule_requires_are_enough():
    made = decided(approval(BOB, 60_000), approval(ANN, 30_000))
    assert made == Quorum("ot", ("ann", "bob"), escalated=False, completed_at_ms=HELD + 60_000)
    assert decided(approval(ANN), approval(LEAD_3)).principals == ("ann", "lead-3"), "without a principal it is its id"


def test_less_is_not_and_the_count_is_said():
    assert decided().code is Code.APPROVAL_DUE
    assert str(decided(approval(ANN))).endswith("ot: 1 of 2")


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (approval(BOB, hold=HOLD._replace(action=action(args={"until": 9}))), Code.BAD_APPROVAL),
        (approval(BOB, topic="deny.ipv6_net"), Code.BAD_APPROVAL),
        (approval(BOB, hold=HOLD._replace(targets=("fw-7", "fw-8", "fw-9"))), Code.OTHER_TARGETS),
        (approval(BOB, hold=HOLD._replace(targets=("fw-7",))), Code.OTHER_TARGETS),
        (approval(BOB, hold=HOLD._replace(held_at_ms=HELD - 1)), Code.BAD_APPROVAL),
        (approval(BOB, under=policies(version=2)), Code.OTHER_POLICIES),
        (approval(BOB, under=policies(replace(RULE, require=1))), Code.OTHER_POLICIES),
        (approval(BOB, rule="other"), Code.OTHER_POLICIES),
        (approval(SOAR), Code.OWN_REQUEST),
        (approval(member("soar-2", "ot-lead", "kim")), Code.OWN_REQUEST),
        (approval(member("soar-1", "ot-lead", "joe", key_of="another")), Code.OWN_REQUEST),
        (approval(member("lead-9", "ot-lead", "joe", key_of="soar-1")), Code.OWN_REQUEST),
        (approval(member("guest", "guest", "joe")), Code.NOT_AN_APPROVER),
        (approval(CISO), Code.NOT_AN_APPROVER),
        (approval(CISO, 5 * MINUTE_MS - 1), Code.FROM_FUTURE),
        (approval(member("lead-9", "ot-lead", "joe", Grants())), Code.APPROVE_DENIED),
        (approval(member("lead-9", "ot-lead", "joe", replace(MAY, approve=(ApproveGrant("contain", "id=fw-7"),)))),
         Code.APPROVE_DENIED),
        (approval(member("lead-9", "ot-lead", "joe", replace(MAY, approve=(ApproveGrant("other", "all"),)))),
         Code.APPROVE_DENIED),
        (approval(BOB, -SKEW_MS - 1), Code.APPROVAL_LATE),
        (approval(BOB, label=Label.CLEAR), Code.LABEL_TOO_LOW),
        (approval(BOB, record={"decision": "perhaps"}), Code.BAD_APPROVAL),
    ],
)
def test_one_that_does_not_count_is_named_by_its_fault_and_takes_nothing_from_others(one, code):
    assert refused(approval(ANN), one) is code
    assert judge().check(one, NOW).code is code
    assert isinstance(decided(one, approval(ANN), approval(LEAD_3)), Quorum)


def test_one_person_with_two_keys_is_one_and_so_are_two_with_one_key():
    again, shared = member("lead-1b", "ot-lead", "ann"), member("lead-9", "ot-lead", "joe", key_of="lead-1")
    assert refused(approval(ANN), approval(again)) is Code.SAME_PRINCIPAL
    assert refused(approval(ANN), approval(ANN, sequence=1)) is Code.SAME_PRINCIPAL
    assert refused(approval(ANN), approval(shared)) is Code.SAME_PRINCIPAL
    # Whoever shares a key stands in nobody's way: each of the two has one that counts.
    for order in itertools.permutations((ANN, shared, again)):
        three = [approval(who, 1_000 + n) for n, who in enumerate(order)]
        assert isinstance(decided(*three, now_ms=HELD + 2_000), Quorum), [who.id for who in order]


def test_who_has_no_grant_for_the_class_does_not_count_where_no_target_is_known():
    nobody = member("lead-9", "ot-lead", "joe", Grants())
    assert refused(approval(ANN), approval(nobody), rule=RULE, known=()) is Code.APPROVE_DENIED


def test_who_was_revoked_since_does_not_count():
    assert refused(approval(ANN), approval(BOB), gone=("lead-2",)) is Code.REVOKED


def test_a_role_that_was_taken_away_does_not_count():
    lost = member("lead-2", "guest", "bob")  # the same id and keys, and another credential
    assert refused(approval(ANN), approval(lost)) is Code.NOT_AN_APPROVER


def test_it_counts_while_the_action_is_held_with_the_skew_at_both_ends():
    late = HELD + RULE.within_ms + SKEW_MS
    assert isinstance(decided(approval(ANN, -SKEW_MS), approval(BOB, RULE.within_ms + SKEW_MS), now_ms=late), Quorum)
    assert refused(approval(ANN), approval(BOB, RULE.within_ms + SKEW_MS + 1), now_ms=late + 1) is Code.APPROVAL_LATE
    assert refused(approval(ANN), approval(BOB, 3 * MINUTE_MS), now_ms=NOW) is Code.FROM_FUTURE


def test_the_execution_s_time_runs_from_the_approval_that_was_the_last_needed():
    three = [approval(ANN), approval(BOB, 90_000), approval(LEAD_3, 100_000)]
    last_ms = HELD + 90_000 + ACTION.header.ttl_ms + SKEW_MS
    assert decided(*three, now_ms=last_ms).completed_at_ms == HELD + 90_000
    assert refused(*three, now_ms=last_ms + 1) is Code.EXPIRED


def test_one_who_denies_ends_it_unless_it_was_complete_before():
    both = [approval(ANN, 10_000), approval(BOB, 20_000)]
    assert refused(approval(ANN, 10_000), approval(LEAD_3, 15_000, approves=False)) is Code.ACTION_DENIED
    assert refused(*both, approval(LEAD_3, 15_000, approves=False)) is Code.ACTION_DENIED
    assert refused(*both, approval(ANN, 20_000, approves=False, sequence=1)) is Code.ACTION_DENIED
    soon_ms = HELD + 30_000
    assert isinstance(decided(*both, approval(LEAD_3, 20_001, approves=False), now_ms=soon_ms), Quorum)
    for nobody in (SOAR, member("guest", "guest", "joe"), CISO):
        assert isinstance(decided(*both, approval(nobody, 15_000, approves=False), now_ms=soon_ms), Quorum)


# -- escalation ---------------------------------------------------------------------------------------------


AFTER = 5 * MINUTE_MS


def test_when_nobody_answered_another_role_may_and_that_is_recorded():
    now_ms = HELD + 6 * MINUTE_MS
    made = decided(approval(CISO, AFTER), now_ms=now_ms)
    assert made == Quorum("ot", ("eve",), escalated=True, completed_at_ms=HELD + AFTER)
    assert refused(approval(CISO, AFTER - 1), now_ms=now_ms) is Code.NOT_AN_APPROVER
    assert refused(approval(ANN, AFTER), now_ms=now_ms) is Code.APPROVAL_DUE, "its require is for its roles"
    three = [approval(ANN, AFTER), approval(BOB, AFTER), approval(CISO, AFTER + 1)]
    assert not decided(*three, now_ms=now_ms).escalated, "it was complete without"


def test_an_escalation_that_requires_two_counts_those_who_were_asked_first():
    rule = replace(RULE, require=3, escalation=replace(RULE.escalation, require=2))
    how = {"under": policies(rule), "now_ms": HELD + 6 * MINUTE_MS}
    by = lambda who, after_ms=MINUTE_MS: approval(who, after_ms, under=how["under"])  # noqa: E731
    assert decided(by(ANN), by(CISO, AFTER), **how).principals == ("ann", "eve")
    assert refused(by(CISO, AFTER), **how) is Code.APPROVAL_DUE
    assert refused(by(ANN), by(BOB), **how) is Code.APPROVAL_DUE
    assert refused(by(CISO, AFTER), by(member("ciso-2", "ciso", "eve"), AFTER), **how) is Code.SAME_PRINCIPAL


def test_a_role_that_is_asked_first_and_later_brings_no_escalation_forward():
    rule = replace(RULE, escalation=replace(RULE.escalation, roles=("ot-lead",)))
    how = {"under": policies(rule), "now_ms": HELD + 6 * MINUTE_MS}
    assert refused(approval(ANN, under=how["under"]), **how) is Code.APPROVAL_DUE
    assert decided(approval(ANN, AFTER, under=how["under"]), **how).escalated


def test_nobody_says_that_it_was_held_before_it_was_asked_for():
    early = HOLD._replace(held_at_ms=T0 - SKEW_MS - 1)
    both = [approval(ANN, hold=early), approval(BOB, hold=early)]
    assert refused(*both, hold=early) is Code.BAD_APPROVAL


# -- bounds, and the executor ---------------------------------------------------------------------------------


def test_so_many_are_looked_at_and_no_more():
    noise = [approval(SOAR, sequence=n) for n in range(APPROVALS_MAX - 1)]
    assert isinstance(decided(*noise[1:], approval(ANN), approval(BOB)), Quorum)
    assert refused(*noise, approval(ANN), approval(BOB)) is Code.OWN_REQUEST


def test_an_executor_that_knows_only_itself_comes_to_the_same():
    both = [approval(ANN), approval(BOB)]
    made = check_quorum(HOLD, RULE, both, POLICIES, [FW.credential], lambda _: None, NOW, SKEW_MS)
    assert made == decided(*both)


def test_the_class_of_a_verb_of_one_s_own_is_the_policies():
    rule = Rule("x", When("contain", "x-isolate *"), 1, ("ot-lead",), MINUTE_MS)
    hold = HOLD._replace(action=action(topic="x-isolate.device"))
    unclassed = policies(replace(rule, when=When(None, "x-isolate *")))
    assert judge(hold, under=unclassed).quorum([approval(ANN, hold=hold, rule="x", under=unclassed)], NOW).code \
        is Code.APPROVE_DENIED, "class other, and the grant is for contain"
