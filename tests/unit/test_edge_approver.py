"""What an approver is asked, what it signs, and whose word of it is believed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.approving.approver import DECISIONS_MAX, INBOXES_MAX
from fabric.edge.approving.inbox import Inbox
from fabric.protocol.access.approvals import Hold, read_approval, targets_digest
from fabric.protocol.access.quorum import Quorum
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Published
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.tlp import Label
from tests.approving import ACTION, HOLD, LEADS, POLICIES, RULE, action, approval, judge
from tests.edge_approving import NOW, OTHER_RELAY, RELAY, Approving, asked, said, without_its_action
from tests.support import MINUTE_MS

ID = ACTION.leaf.hex()


@pytest.fixture
def program():
    made = Approving()
    yield made
    made.close()


def counted(approval_, *approved_by, end="counted", **more):
    said_of = {"end": end, "approval": approval_.leaf.hex(), "approved_by": list(approved_by), "require": 2, "by": "hq"}
    return said_of | more


def code_of(future):
    error = future.exception(0)
    assert isinstance(error, FabricError), error
    return error.code


def test_what_is_signed_is_what_was_asked(program):
    assert program.hear(said(asked()))
    (request,) = program.open
    program.decide(request)
    (message,) = program.sent
    read = read_approval(message)
    assert (read.action, read.approves, read.rule, read.policies) == (ACTION.leaf, True, "ot", POLICIES.version)
    assert (read.targets, read.held_at_ms) == (targets_digest(HOLD.targets), HOLD.held_at_ms)
    header = message.header
    assert (header.kind, header.topic, header.label, header.audience) == (
        Kind.APPROVAL, ACTION.header.topic, ACTION.header.label, ACTION.header.audience
    )
    assert header.ttl_ms == RULE.within_ms - MINUTE_MS
    found = judge().quorum([message, approval(LEADS[1])], NOW + MINUTE_MS)
    assert isinstance(found, Quorum) and found.principals == ("ann", "bob")


def test_a_decision_ends_with_the_verdict(program):
    program.hear(said(asked()))
    verdict = program.decide(ID[:8])
    assert not verdict.done()
    (message,) = program.sent
    program.hear(said(counted(message, "ann")))
    assert verdict.result(0).approved_by == ("ann",) and verdict.result(0).require == 2
    assert program.open[0].approved_by == ("ann",)


def test_a_denial_says_why(program):
    program.hear(said(asked()))
    verdict = program.decide(ID, approves=False, why="maintenance")
    (message,) = program.sent
    assert (read_approval(message).approves, read_approval(message).why) == (False, "maintenance")
    program.hear(said(counted(message)))
    assert not verdict.result(0).approves


def test_what_does_not_count_raises_its_code(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    code = Code.SAME_PRINCIPAL
    program.hear(said(counted(program.sent[0], end="not counted", code=code.label, reason=f"{code.reason}: 1 of 2")))
    assert code_of(verdict) is code and verdict.exception(0).detail == "1 of 2"


def test_a_verdict_is_believed_from_the_relay_that_asked_and_of_this_very_approval(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    record = counted(program.sent[0], "ann")
    program.hear(said(record, by=OTHER_RELAY))
    program.hear(said(record | {"approval": "00" * 32}))
    assert not verdict.done() and program.open[0].approved_by == ()
    program.hear(said(record, sequence=1))
    assert verdict.done()


def test_a_decision_waits_for_what_it_is_about(program):
    verdict = program.decide(ID[:6])
    assert program.sent == []
    program.hear(said(asked()))
    program.turn()
    assert len(program.sent) == 1 and not verdict.done()
    nobody = program.decide("ffff" if not ID.startswith("ffff") else "0000")
    program.now_ms += 5_000
    program.turn()
    assert code_of(nobody) is Code.NOT_OPEN and code_of(verdict) is Code.TIMED_OUT


def test_a_beginning_of_several_decides_none(program):
    program.hear(said(asked()))
    program.hear(said(asked(), by=OTHER_RELAY))
    assert len(program.open) == 2
    assert code_of(program.decide(ID)) is Code.NOT_OPEN and program.sent == []
    program.decide(program.open[1])
    assert len(program.sent) == 1


@pytest.mark.parametrize("id_", ["", "xyz", "0" * 65])
def test_no_id_is_the_caller_s_fault(program, id_):
    with pytest.raises(FabricError) as error:
        program.decide(id_)
    assert error.value.code is Code.USAGE


def test_a_reason_is_bounded_and_printable(program):
    for why in ("x" * 513, "no\x1b[2J"):
        with pytest.raises(FabricError) as error:
            program.decide(ID, approves=False, why=why)
        assert error.value.code is Code.USAGE


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("approved", Code.NOT_OPEN), ("denied", Code.ACTION_DENIED), ("expired", Code.APPROVAL_LATE),
     ("cancelled", Code.CANCELLED), ("revoked", Code.NOT_OPEN), ("\x1b[2J", Code.NOT_OPEN)],
)
def test_what_is_over_is_decided_no_more(program, outcome, code):
    program.hear(said(asked()))
    (request,) = program.open
    program.hear(said({"end": "over", "outcome": outcome, "by": "hq"}))
    assert program.open == []
    assert code_of(program.decide(request)) is code
    assert code_of(program.decide(ID)) is code and program.sent == []
    program.hear(said(asked(), sequence=9))
    assert program.open == []  # an action ends once, whatever is said late


def test_a_verdict_may_come_just_after_the_end(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    program.hear(said({"end": "over", "outcome": "approved", "by": "hq"}))
    assert not verdict.done()
    program.hear(said(counted(program.sent[0], "ann", "bob")))
    assert verdict.result(0).approved_by == ("ann", "bob")


def test_without_one_the_end_is_the_answer(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    program.hear(said({"end": "over", "outcome": "denied", "by": "hq"}))
    program.now_ms += 2_000
    program.turn()
    assert code_of(verdict) is Code.ACTION_DENIED


def test_only_the_relay_that_holds_it_says_that_it_is_over(program):
    program.hear(said(asked()))
    program.hear(said({"end": "over", "outcome": "denied", "by": "hq"}, by=OTHER_RELAY))
    assert len(program.open) == 1


def test_it_is_gone_when_its_time_is_over(program):
    program.hear(said(asked()))
    (request,) = program.open
    assert request.until_ms == HOLD.held_at_ms + RULE.within_ms
    program.now_ms = request.until_ms - 1
    program.turn()
    assert program.open and program.approver.due_ms == request.until_ms
    program.now_ms += 1
    program.turn()
    assert program.open == [] and code_of(program.decide(request)) is Code.APPROVAL_LATE
    program.hear(said(asked()))
    assert program.open == []


def test_a_refusal_on_the_way_ends_it(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    program.publisher.published(Published(program.sent[0].id, Reject(Code.APPROVE_DENIED, "deny ipv4_net")))
    assert code_of(verdict) is Code.APPROVE_DENIED


def test_of_one_that_came_too_late_it_is_said_that_it_was_decided(program):
    program.hear(said(asked()))
    verdict = program.decide(ID)
    program.publisher.published(Published(program.sent[0].id, Reject(Code.BAD_APPROVAL, "nothing waits for it")))
    assert code_of(verdict) is Code.NOT_OPEN and "decided" in verdict.exception(0).detail


def test_what_is_for_somebody_else_is_not_shown(program):
    program.hear(said(asked(), to="lead-2"))
    assert program.open == []


def test_what_is_for_a_requester_is_left_to_it(program):
    assert not program.hear(said({"end": "held", "rule": "ot", "within_ms": 1, "targets": ["fw-7"]}))
    assert not program.hear(said({"end": ["approval"]}))


def test_what_is_withheld_cannot_be_decided(program):
    program.hear(without_its_action(said(asked(), rules={"action": Label.RED})))
    (request,) = program.open
    assert request.withheld and request.text == "deny ipv4_net (withheld)"
    assert code_of(program.decide(request)) is Code.CLEARANCE_DENIED and program.sent == []


def test_a_program_sees_each_request_once_and_none_that_is_over(program):
    inbox = Inbox()
    program.hear(said(asked()))
    program.approver.watch(inbox)
    program.turn()
    program.hear(said(asked(approved_by=["bob"])))
    request = inbox.get(0.0)
    assert request.id == ID and request.approved_by == ("bob",)
    program.hear(said(asked(approved_by=["bob", "kim"])))
    assert inbox.get(0.0) is None
    other = Hold(action(sequence=7), HOLD.targets, HOLD.held_at_ms)
    program.hear(said(asked(other), hold=other))
    program.hear(said({"end": "over", "outcome": "expired", "by": "hq"}, hold=other))
    assert inbox.get(0.0) is None
    program.approver.unwatch(inbox)
    program.turn()
    program.approver.end(FabricError(Code.CLOSED))
    assert inbox.get(0.0) is None


def test_the_end_of_the_connection_ends_all(program):
    inbox = Inbox()
    program.hear(said(asked()))
    verdict = program.decide(ID)
    program.approver.watch(inbox)
    program.turn()
    program.approver.end(FabricError(Code.CLOSED))
    assert code_of(verdict) is Code.CLOSED
    assert inbox.get(0.0).id == ID
    with pytest.raises(FabricError):
        inbox.get(0.0)


def test_iterators_are_bounded(program):
    inboxes = [Inbox() for _ in range(INBOXES_MAX + 1)]
    for inbox in inboxes:
        program.approver.watch(inbox)
    program.turn()
    program.hear(said(asked()))
    assert all(inbox.get(0.0).id == ID for inbox in inboxes[:-1])
    with pytest.raises(FabricError) as error:
        inboxes[-1].get(0.0)
    assert error.value.code is Code.BUSY


def test_decisions_are_bounded(program):
    for _ in range(DECISIONS_MAX):
        program.decide("0" * 64)
    assert code_of(program.decide("0" * 64)) is Code.BUSY


steps = st.lists(st.sampled_from(["ask", "ask again", "decide", "count", "count not", "over", "wait"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_comes_each_decision_ends_once_and_nothing_stays_open(story):
    program, verdicts = Approving(), []
    try:
        for n, step in enumerate(story):
            match step:
                case "ask":
                    program.hear(said(asked(), sequence=n))
                case "ask again":
                    program.hear(said(asked(approved_by=["bob"]), sequence=n))
                case "decide":
                    verdicts.append(program.decide(ID, wait_ms=10_000))
                case "count" | "count not" if program.sent:
                    end = "counted" if step == "count" else "not counted"
                    program.hear(said(counted(program.sent[-1], end=end, code="E412"), sequence=n))
                case "over":
                    program.hear(said({"end": "over", "outcome": "denied", "by": "hq"}, sequence=n))
                case "wait":
                    program.now_ms += 4_000
                    program.turn()
            assert len(program.open) <= 1
        program.now_ms = HOLD.held_at_ms + RULE.within_ms + 10_000
        program.turn()
        assert program.open == [] and all(verdict.done() for verdict in verdicts)
        assert program.approver.due_ms is None
    finally:
        program.close()


def test_of_what_cannot_be_read_nothing_is_shown(program):
    for record in ({"end": "approval"}, asked(action=b"\xc1"), asked(targets=[])):
        program.hear(said(record, by=RELAY))
    assert program.open == []
