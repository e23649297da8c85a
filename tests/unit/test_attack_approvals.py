"""Attacks on approvals: by who carries them, by who asks, and by who approves."""

from contextlib import closing
from dataclasses import replace
from unittest.mock import patch

import pytest

from fabric.protocol.access.approvals import Hold
from fabric.protocol.access.quorum import Quorum
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.layout import Approved, decode_envelope, encode_envelope
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.relay.actions.held_action import fits
from fabric.protocol.trust.credentials import ApproveGrant, Grants, RequestGrant
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Credit, Direction, Role
from fabric.spool import Spool
from tests import approving as cast
from tests import edge_approving
from tests.conversation import Conversation
from tests.support import MINUTE_MS, T0, entropy, noise, opened, verified
from tests.unit.test_approving import AUTHORITY, LEADS, ME, SOAR, WALLS, Stage, question, released, why_not


@pytest.fixture
def stage():
    return Stage()


def test_nothing_but_an_action_bears_approvals():
    event = verified(SOAR, kind=Kind.EVENT, topic="ids.alert", records=[{"n": 1}])
    borrowed = Approved(T0 + 10**9, T0, ("fw-7",), ((b"c", b"e"),))
    raw = encode_envelope(event.envelope._replace(approved=borrowed))
    found = open_envelope(raw, {SOAR.credential.digest: SOAR.credential}, RootCache())
    assert isinstance(found, Reject) and found.code is Code.MALFORMED


def test_an_approver_with_two_sessions_is_asked_once_in_each(stage):
    stage.talk.attach(
        stage.talk.connect(LEADS[0], Role.POINT, session=b"u" * 16), LEADS[0], "hq", session=b"u" * 16, epoch=2
    )
    stage.ask()
    stage.wait(5_000)
    assert [each["end"] for each in stage.told(LEADS[0])].count("approval") <= 2
    stage.wait(20_000)
    assert stage.told(LEADS[0]) == []


def test_an_approval_that_is_padded_counts_for_nothing_and_stops_nothing(stage):
    stage.ask()
    asked = question(stage.told(LEADS[0]))
    stage.approve(LEADS[0], asked, record={"pad": noise(1, 120_000)})
    stage.approve(LEADS[1], asked, record={"pad": noise(2, 120_000)})
    assert stage.told(LEADS[0])[-1]["code"] == Code.TOO_LARGE.label
    stage.approve(LEADS[2], asked)
    stage.approve(LEADS[1], asked, sequence=1)
    assert stage.handed()["fw-7"]


def test_who_may_cancel_elsewhere_does_not_cancel_what_is_held_here():
    other = cast.member("it-1", "it-lead", grants=Grants(
        request=(RequestGrant("cancel command", "segment=it"),), approve=cast.MAY.approve,
    ))
    stage = Stage()
    stage.come(other)
    message = stage.ask()
    cancel(stage, other, message, "all")
    assert len(stage.talk.core.approving) == 1
    assert Code.CANCELLED.label not in [each.get("code") for each in stage.told(SOAR)]


def test_a_cancel_ends_what_is_held_for_those_whom_it_selects(stage):
    message = stage.ask()
    stage.told(SOAR)
    cancel(stage, SOAR, message, "id=fw-7")
    ended = [each for each in stage.told(SOAR) if each.get("code") == Code.CANCELLED.label]
    assert [each["targets"] for each in ended] == [["fw-7"]]
    for lead in LEADS[:2]:
        stage.approve(lead, question(stage.told(lead)))
    handed = stage.handed()
    assert len(handed["fw-8"]) == 1 and handed["fw-7"] == []


def cancel(stage, who, message, to, **more):
    stage.talk.send(stage.links[who.id], verified(
        who, kind=Kind.ACTION, topic="cancel.command", to=to, correlation=message.leaf, severity=Severity.HIGH,
        issued_at_ms=stage.talk.now_ms, sequence=8,
        records=[{"action": "cancel", "target": {"command": message.id.hex()}, "args": {}}], **more,
    ))


def test_require_all_is_asked_again_when_it_is_approved(stage):
    stage.ask(terms=Terms(require_all=True))
    asked = [question(stage.told(lead)) for lead in LEADS[:2]]
    stage.talk.lose(stage.links["fw-7"])
    stage.wait(60_000)
    for lead, one in zip(LEADS[:2], asked, strict=True):
        stage.approve(lead, one)
    assert stage.handed()["fw-8"] == []
    assert {each["code"] for each in stage.told(SOAR) if each["end"] == "refused"} == {
        Code.AWAY.label, Code.NOT_ALL_HERE.label
    }


@pytest.mark.parametrize(
    "said", [{"label": Label.RED}, {"organisations": ("globex",)}], ids=["label", "audience"]
)
def test_an_approval_is_for_nobody_who_may_not_have_the_action(said):
    found = cast.judge().check(cast.approval(LEADS[0], **said), cast.HOLD.held_at_ms + MINUTE_MS)
    assert found.code is Code.BAD_APPROVAL


def test_only_those_approvals_go_along_that_made_the_quorum():
    again = [cast.approval(cast.member(f"ann-{n}", "ot-lead", "ann"), 1_000 + n) for n in range(30)]
    made = cast.judge().quorum([*again, cast.approval(LEADS[1])], cast.HOLD.held_at_ms + 2 * MINUTE_MS)
    assert len(made.approvals) == 2 and made.principals == ("ann", "bob")


def test_what_would_not_go_on_with_its_approvals_is_not_held():
    rule = replace(cast.RULE, require=8)
    names = [f"{n:04}-{'x' * 20}" for n in range(4_096)]
    assert fits(cast.ACTION, names[:1_500], rule) and not fits(cast.ACTION, names[:2_500], rule)
    assert fits(cast.ACTION, names[:3_000], cast.RULE)


def test_a_cancel_that_is_approved_ends_what_was_not_sent():
    rule = cast.Rule("stop", cast.When(None, "cancel command"), 1, ("ot-lead",), MINUTE_MS)
    lead = cast.member("lead-9", "ot-lead", "joe", Grants(approve=(ApproveGrant("other", "all"),)))
    stage = Stage(cast.policies(rule))
    stage.come(lead)
    stage.talk.attach(stage.links["fw-7"], WALLS[0], "hq", executes=False, epoch=2)
    message = stage.ask(ttl_ms=10 * MINUTE_MS)
    assert ("held", ["fw-7"]) in [(each["end"], each["targets"]) for each in stage.told(SOAR)]
    cancel(stage, SOAR, message, "all")
    asked = question(stage.told(lead))
    assert asked["targets"] == ["fw-8"] and stage.told(SOAR)[-1]["end"] == "held"
    hold = Hold(opened(asked["action"], SOAR), tuple(asked["targets"]), asked["held_at"])
    stage.talk.send(stage.links[lead.id], cast.approval(lead, 0, hold=hold, rule="stop", under=cast.policies(rule)))
    ended = [(each["targets"], each["end"]) for each in stage.told(SOAR) if each.get("code") == Code.CANCELLED.label]
    assert ended == [(["fw-7"], "refused")]


def test_who_held_it_is_known_again_after_a_restart_with_those_for_whom_it_was_cancelled(stage, tmp_path):
    message = stage.ask()
    cancel(stage, SOAR, message, "id=fw-7")
    again = restarted(stage, tmp_path)
    for who in (SOAR, *LEADS, *WALLS):
        again.come(who, session=b"t" * 16, epoch=2)
    again.wait(2_000)
    for lead in LEADS[:2]:
        again.approve(lead, question(again.told(lead)))
    handed = again.handed()
    assert len(handed["fw-8"]) == 1 and handed["fw-7"] == []


def restarted(stage, tmp_path):
    with closing(Spool(tmp_path / "relay")) as spool:
        spool.load(stage.talk.now_ms)
        spool.commit(stage.talk.disk)
    again = Stage()
    again.talk.now_ms = stage.talk.now_ms + 1_000
    with closing(Spool(tmp_path / "relay")) as spool:
        again.talk.core.restore(list(spool.load(again.talk.now_ms)), again.talk.now_ms)
    return again


def approved_by(hold, *approvals):
    """The action of a hold, as a relay makes it that has these approvals."""
    carried = tuple((each.credential.raw, each.raw) for each in approvals)
    at_ms = max(each.header.issued_at_ms for each in approvals)
    return hold.action.with_approvals(Approved(at_ms, hold.held_at_ms, hold.targets, carried))


def test_an_approval_more_than_is_needed_does_not_have_it_executed_again(stage):
    executor = Conversation(Point(WALLS[0].credential, WALLS[0].signer, AUTHORITY.key, b"m" * 16, entropy("point")))
    executor.core.action_room.is_open = True
    executor.core.trust.take_policies(cast.POLICIES)
    hold = Hold(cast.action(ttl_ms=20_000), ("fw-7", "fw-8"), T0)
    ann, bob, late = [cast.approval(who, after, hold=hold) for who, after in zip(LEADS, (0, 0, 400_000), strict=True)]
    for after_ms, one in ((1_000, approved_by(hold, ann, bob)), (401_000, approved_by(hold, ann, late))):
        executor.now_ms = T0 + after_ms
        executor.send(executor.dial(ME, Role.POINT), one, Direction.DOWN)
    assert why_not(one, executor.now_ms) is None, "by itself it would do"
    assert len(executor.told(Delivery)) == 1


def test_nobody_holds_it_again_when_its_time_is_over():
    hold = Hold(cast.action(ttl_ms=20_000), ("fw-7", "fw-8"), T0 + 20_000 + SKEW_MS)
    both = [cast.approval(who, 1_000, hold=hold) for who in LEADS[:2]]
    assert isinstance(cast.judge(hold).quorum(both, hold.held_at_ms + 2_000), Quorum)
    later = hold._replace(held_at_ms=hold.held_at_ms + 1)
    both = [cast.approval(who, 1_000, hold=later) for who in LEADS[:2]]
    assert cast.judge(later).quorum(both, later.held_at_ms + 2_000).code is Code.BAD_APPROVAL


def test_large_actions_that_are_held_have_a_bound_too(stage):
    sizes = [len(stage.ask(args={"pad": noise(n, 90_000)}, sequence=n, ttl_ms=MINUTE_MS).raw) for n in range(3)]
    approving = stage.talk.core.approving
    assert len(approving) == 3 and not approving.full(cast.ACTION)
    with patch("fabric.protocol.relay.actions.approving.HELD_BYTES_MAX", sum(sizes) + 1_000):
        assert approving.full(cast.ACTION)
        other = cast.member("soar-2", "soar")
        assert not approving.full(verified(other, kind=Kind.ACTION, topic="deny.ipv4_net", records=[{"a": 1}]))


@pytest.mark.parametrize(
    ("version", "lie", "shown"),
    [
        (3, {}, True), (3, {"require": 8}, False), (3, {"roles": ["anybody"]}, False), (3, {"escalation": []}, False),
        (3, {"within_ms": 900_000}, False), (3, {"rule": replace(cast.RULE, name="it")}, False),
        (3, {"policies_digest": "00" * 32}, False),
        (4, {}, False), (2, {}, True),
    ],
)
def test_a_relay_says_of_the_rule_what_the_policies_say(version, lie, shown):
    program = edge_approving.Approving()
    program.core.trust.take_policies(cast.policies(version=version))
    program.hear(edge_approving.said(edge_approving.asked(**lie)))
    assert len(program.approver.open) == shown


def test_who_says_nothing_is_unknown_a_minute_after_the_approved_action_s_time(stage):
    message = stage.ask(ttl_ms=20_000)
    for lead in LEADS[:2]:
        stage.approve(lead, question(stage.told(lead)))
    for wall in WALLS:
        stage.told(wall)  # they have it, and are silent
    stage.told(SOAR)
    stage.wait(message.header.ttl_ms + 2 * MINUTE_MS)
    assert {each["outcome"] for each in stage.told(SOAR) if each["end"] == "resolved"} == {"unknown"}


def test_more_approvals_than_a_quorum_has_are_not_read(stage):
    action = released(stage)
    many = action.envelope.approved._replace(approvals=((b"c", b"e"),) * 9)
    assert decode_envelope(action.with_approvals(many).raw).code is Code.MALFORMED


def test_approvers_that_do_not_read_fill_no_lane_and_are_asked_when_they_do(stage):
    custody = stage.talk.core.custody
    custody._quota_bytes = 2_000_000
    for n in range(8):
        stage.wait(1_000)
        stage.ask(args={"pad": noise(n, 80_000)}, sequence=n, ttl_ms=MINUTE_MS)
    assert len(stage.talk.core.approving) == 8
    assert custody.leaves_half(Lane.HIGH, 0), "whoever has a message finds room"
    asked = set()
    for _ in range(12):
        for lead in LEADS:
            stage.talk.say(stage.links[lead.id], Credit([10**9] * len(Lane)))
            asked |= {(lead.id, one["action"]) for one in stage.told(lead) if one["end"] == "approval"}
        stage.wait(5_000)
    assert len(asked) == 8 * len(LEADS)
