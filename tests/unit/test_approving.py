"""Actions that are held until they are approved: a relay in conversation with its requester, approvers and targets."""

from contextlib import closing

import pytest

from fabric.protocol.access.approvals import Hold
from fabric.protocol.access.released import why_not_released
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.layout import encode_envelope
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Nack, Ping, Role
from fabric.spool import Spool
from tests import approving as cast
from tests.conversation import Conversation
from tests.support import MINUTE_MS, entropy, opened, verified

AUTHORITY = cast.AUTHORITY
ME = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
WALLS = [
    AUTHORITY.issue(f"fw-{n}", segment="ot-1", clearance=Label.AMBER, grants=Grants(execute=("deny *",)),
                    tags=[("role", "firewall")])
    for n in (7, 8)
]
LEADS, CISO, SOAR = cast.LEADS, cast.CISO, cast.SOAR
ALL = (ME, SOAR, CISO, *LEADS, *WALLS)


class Stage:
    def __init__(self, under=cast.POLICIES):
        self.talk = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"), ()))
        assert self.talk.core.trust.take_policies(under)
        self.links = {}
        for who in (SOAR, *LEADS, *WALLS):
            self.come(who)

    def come(self, who, session=b"", epoch=1):
        self.links[who.id] = self.talk.connect(who, Role.POINT)
        more = {"session": session} if session else {}
        self.talk.attach(self.links[who.id], who, "hq", executes=who in WALLS, epoch=epoch, **more)

    def ask(self, **fields):
        message = cast.action(issued_at_ms=self.talk.now_ms, **fields)
        self.talk.send(self.links[SOAR.id], message)
        return message

    def told(self, who):
        """What this relay told somebody, acknowledged."""
        messages = {}  # what is not acknowledged comes again
        for item in self.talk.items(self.links[who.id]):
            message = opened(item.envelope, *ALL)
            messages[message.id] = message
        self.talk.say(self.links[who.id], Ack(list(messages)))
        return [
            each.content for message in messages.values() if message.header.kind is Kind.RESULT
            for each in read_records(message.header, message.envelope.parts)
        ]

    def approve(self, who, question, approves=True, off_ms=0, age_ms=0, **more):
        """`off_ms`: how far its signed time is from now; `age_ms`: how old whoever carries it says that it is."""
        hold = Hold(opened(question["action"], *ALL), tuple(question["targets"]), question["held_at"])
        after_ms = self.talk.core.time.now(self.talk.now_ms) - question["held_at"] + off_ms
        message = cast.approval(who, after_ms, hold=hold, approves=approves, **more)
        self.talk.send(self.links[who.id], message, age_ms=age_ms)
        return message

    def wait(self, ms):
        until_ms = self.talk.now_ms + ms
        while self.talk.now_ms < until_ms:
            self.talk.wait(min(until_ms - self.talk.now_ms, 5_000))
            for link in self.links.values():
                self.talk.say(link, Ping(self.talk.now_ms))

    def handed(self):
        """The actions that each firewall was handed."""
        return {
            wall.id: [opened(item.envelope, *ALL) for item in self.talk.items(self.links[wall.id])] for wall in WALLS
        }


@pytest.fixture
def stage():
    return Stage()


def question(said):
    """The last: after a restart it is asked again."""
    return [each for each in said if each["end"] == "approval"][-1]


def test_it_goes_nowhere_before_two_have_approved_and_then_with_what_they_said(stage):
    message = stage.ask(args={"why": "x"})
    told = stage.told(SOAR)
    assert [each["end"] for each in told] == ["selected", "held"]
    assert (told[1]["rule"], told[1]["require"], told[1]["within_ms"]) == ("ot", 2, 10 * MINUTE_MS)
    asked = question(stage.told(LEADS[0]))
    assert asked["action"] == message.raw and asked["targets"] == ["fw-7", "fw-8"] and asked["approved_by"] == []
    first = stage.approve(LEADS[0], asked)
    (verdict,) = stage.told(LEADS[0])
    assert verdict["end"] == "counted" and verdict["approval"] == first.leaf.hex() and verdict["approved_by"] == ["ann"]
    assert stage.handed() == {"fw-7": [], "fw-8": []}
    stage.approve(LEADS[1], question(stage.told(LEADS[1])))
    assert [each["end"] for each in stage.told(LEADS[1])] == ["counted", "over"]
    assert [(e["end"], e.get("approved_by"), e.get("escalated")) for e in stage.told(SOAR)] == [
        ("approved", ["ann", "bob"], False)
    ]
    for id_, (action,) in stage.handed().items():
        assert action.leaf == message.leaf and len(action.envelope.approved.approvals) == 2, id_
        assert action.envelope.approved.targets == ("fw-7", "fw-8")
    assert len(stage.talk.core.approving) == 0


def test_a_dry_run_is_told_by_which_rule_it_would_be_held_and_is_not(stage):
    message = stage.ask(terms=Terms(dry_run=True))
    (said,) = stage.told(SOAR)
    assert said["end"] == "selected" and said["targets"] == ["fw-7", "fw-8"]
    assert said["approval"] == {"rule": "ot", "require": 2, "roles": ["ot-lead"], "within_ms": 10 * MINUTE_MS}
    assert stage.told(LEADS[0]) == [] and len(stage.talk.core.approving) == 0
    assert [one.leaf for (one,) in stage.handed().values()] == [message.leaf] * 2


def test_its_time_runs_from_the_approval_and_not_from_when_it_was_asked_for(stage):
    stage.ask(ttl_ms=20_000)
    asked = [question(stage.told(lead)) for lead in LEADS[:2]]
    stage.wait(5 * MINUTE_MS - 30_000)
    for lead, one in zip(LEADS[:2], asked, strict=True):
        stage.approve(lead, one)
    (action,) = stage.handed()["fw-7"]
    assert abs(action.counts_from_ms - stage.talk.now_ms) < 1_000


@pytest.mark.parametrize(("off_ms", "age_ms", "old_ms"), [
    (-10_000, 300, 300), (10_000, 300, 300), (0, 300, 300),  # clocks that differ, or were set, do not age it
    (-SKEW_MS - 1_000, 300, SKEW_MS + 1_000),  # whoever carried it said that it is younger than it is
], ids=str)
def test_it_is_as_old_as_the_approval_that_completed_its_quorum(stage, off_ms, age_ms, old_ms):
    stage.ask(ttl_ms=2 * SKEW_MS)
    asked = [question(stage.told(lead)) for lead in LEADS[:2]]
    stage.wait(2 * SKEW_MS)
    stage.approve(LEADS[0], asked[0], off_ms=-SKEW_MS - 2_000, age_ms=SKEW_MS + 2_000)
    stage.approve(LEADS[1], asked[1], off_ms=off_ms, age_ms=age_ms)
    (item,) = stage.talk.items(stage.links["fw-7"])
    assert item.age_ms == old_ms


def test_one_who_denies_it_ends_it(stage):
    stage.ask()
    asked = question(stage.told(LEADS[0]))
    stage.approve(LEADS[1], asked)
    stage.told(SOAR)
    stage.approve(LEADS[0], asked, approves=False)
    (told,) = [each for each in stage.told(SOAR) if each["end"] == "refused"]
    assert told["code"] == Code.ACTION_DENIED.label and "lead-1" in told["reason"]
    assert told["targets"] == ["fw-7", "fw-8"]
    assert told["denied_by"] == "ann" and "why" not in told
    assert stage.handed() == {"fw-7": [], "fw-8": []}


@pytest.mark.parametrize("label", [Label.GREEN, Label.AMBER])
def test_why_it_was_denied_is_told_under_its_own_label(stage, label):
    """It stood in the signed denial only, and nobody was shown that."""
    stage.ask(rules={"args": Label.AMBER}, args={"host": "plc-1"})
    asked = question(stage.told(LEADS[0]))
    stage.told(SOAR)
    why = "it runs the plant" * 30
    stage.approve(LEADS[0], asked, approves=False, record={"why": why[:512]}, rules={"why": label})
    heard = [opened(item.envelope, *ALL) for item in stage.talk.items(stage.links[SOAR.id])]
    report = next(message for message in heard if message.header.state is State.REFUSED)
    (said,) = read_records(report.header, report.envelope.parts)
    assert (said.content["denied_by"], said.content["why"]) == ("ann", why[:512])
    assert said.labels["why"] is label and said.labels["denied_by"] is report.header.label is Label.GREEN


def test_nobody_decides_in_time_and_it_is_expired_for_all(stage):
    stage.ask()
    stage.told(SOAR)
    assert len(stage.talk.core.asking) == 1
    stage.wait(10 * MINUTE_MS + 5_000)
    assert len(stage.talk.core.asking) == 0
    (told,) = [each for each in stage.told(SOAR) if each["end"] == "expired"]
    assert told["code"] == Code.APPROVAL_DUE.label and told["targets"] == ["fw-7", "fw-8"]
    told = stage.told(LEADS[0])
    assert {each["outcome"] for each in told if each["end"] == "over"} == {"expired"}
    stage.approve(LEADS[0], question(told))
    (nack,) = stage.talk.heard(stage.links[LEADS[0].id], Nack)
    assert [code for _, code, _ in nack.refusals] == [Code.BAD_APPROVAL], "nothing waits for it any more"
    assert stage.handed() == {"fw-7": [], "fw-8": []}


def test_who_comes_later_is_asked_and_of_an_escalation_when_it_begins(stage):
    stage.ask()
    stage.come(CISO)
    assert stage.told(CISO) == [], "not before five minutes"
    stage.wait(5 * MINUTE_MS + 2_000)
    asked = question(stage.told(CISO))
    assert asked["escalation"] == [5 * MINUTE_MS, ["ciso"], 1]
    stage.told(SOAR)
    stage.approve(CISO, asked)
    (told,) = [each for each in stage.told(SOAR) if each["end"] == "approved"]
    assert (told["approved_by"], told["escalated"]) == (["eve"], True)
    assert len(stage.handed()["fw-7"]) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [({"record": {"targets": "00" * 32}}, Code.OTHER_TARGETS), ({"rule": "other"}, Code.OTHER_POLICIES),
     ({"record": {"held_at": 5}}, Code.BAD_APPROVAL), ({"label": Label.CLEAR}, Code.LABEL_TOO_LOW)],
    ids=["other targets", "other rule", "other hold", "label"],
)
def test_what_does_not_count_is_told_to_who_said_it_and_changes_nothing(stage, change, code):
    stage.ask()
    stage.approve(LEADS[0], question(stage.told(LEADS[0])), **change)
    (verdict,) = stage.told(LEADS[0])
    assert (verdict["end"], verdict["code"], verdict["approved_by"]) == ("not counted", code.label, [])


def test_an_action_that_no_rule_is_about_is_not_held():
    other = Stage(cast.policies(cast.Rule("it", cast.When("contain", "", "segment=it"), 1, ("ot-lead",), MINUTE_MS)))
    other.ask()
    assert [each["end"] for each in other.told(SOAR)] == ["selected"] and len(other.handed()["fw-8"]) == 1
    other.ask(terms=Terms(dry_run=True), sequence=1)
    assert ["approval" in each for each in other.told(SOAR)] == [False]


def test_new_policies_void_what_was_held_under_the_old(stage):
    stage.ask()
    stage.told(SOAR)
    assert stage.talk.core.trust.take_policies(cast.policies(version=9))
    stage.wait(2_000)
    (told,) = [each for each in stage.told(SOAR) if each["end"] == "refused"]
    assert told["code"] == Code.OTHER_POLICIES.label and len(stage.talk.core.approving) == 0


def test_what_is_cancelled_while_it_is_held_ends_there(stage):
    message = stage.ask()
    stage.told(SOAR)
    stage.talk.send(stage.links[SOAR.id], verified(
        SOAR, kind=Kind.ACTION, topic="cancel.command", to="all", correlation=message.leaf, severity=Severity.HIGH,
        issued_at_ms=stage.talk.now_ms, sequence=8,
        records=[{"action": "cancel", "target": {"command": message.id.hex()}, "args": {}}],
    ))
    told = [(each["end"], each.get("code")) for each in stage.told(SOAR)]
    assert ("refused", Code.CANCELLED.label) in told and len(stage.talk.core.approving) == 0


# -- at the executor, and from disk ------------------------------------------------------------------------------------


def released(stage):
    """An action as a firewall gets it, with two approvals."""
    stage.ask()
    for lead in LEADS[:2]:
        stage.approve(lead, question(stage.told(lead)))
    return stage.handed()["fw-7"][0]


def why_not(action, now_ms, *, me=WALLS[0], under=cast.POLICIES, gone=()):
    trust = TrustStore(me.credential, AUTHORITY.key, SKEW_MS)
    trust.take_policies(under)
    problem = why_not_released(
        action, [me.credential], trust, lambda who: Reject(Code.REVOKED, who.id) if who.id in gone else None,
        RootCache(), now_ms, SKEW_MS,
    )
    return None if problem is None else problem.code


def test_the_executor_finds_the_quorum_itself(stage):
    action = released(stage)
    assert why_not(action, stage.talk.now_ms) is None
    assert why_not(action, stage.talk.now_ms, gone=("lead-2",)) is Code.REVOKED
    assert why_not(action, stage.talk.now_ms + 2 * MINUTE_MS) is Code.EXPIRED, "its ttl ran from the approval"
    assert why_not(action, stage.talk.now_ms, under=cast.policies(version=4)) is Code.OTHER_POLICIES


def test_what_a_relay_makes_of_it_on_the_way_is_noticed(stage):
    action = released(stage)
    approved, now_ms = action.envelope.approved, stage.talk.now_ms
    one, two = approved.approvals
    for edited, code in (
        (approved._replace(approvals=(one,)), Code.APPROVAL_DUE),
        (approved._replace(approvals=(one, one)), Code.SAME_PRINCIPAL),
        (approved._replace(targets=("fw-7",)), Code.OTHER_TARGETS),
        (approved._replace(targets=("fw-7", "fw-8", "fw-9")), Code.OTHER_TARGETS),
        (approved._replace(targets=("fw-8",)), Code.OTHER_TARGETS),
        (approved._replace(held_at_ms=approved.held_at_ms + 1), Code.BAD_APPROVAL),
        (approved._replace(at_ms=approved.at_ms + 60_000), Code.BAD_APPROVAL),
        (approved._replace(approvals=((two[0], one[1]), two)), Code.UNKNOWN_SIGNER),
        (approved._replace(approvals=((b"", one[1]), two)), Code.MALFORMED),
    ):
        assert why_not(action.with_approvals(edited), now_ms) is code, edited
    other = cast.action(issued_at_ms=now_ms, sequence=5).with_approvals(approved)
    assert why_not(other, now_ms) is Code.BAD_APPROVAL, "approvals of another action"
    stripped = opened(encode_envelope(action.envelope._replace(approved=None)), *ALL)
    assert why_not(stripped, now_ms) is Code.APPROVAL_DUE


def test_approvals_do_not_come_with_what_climbs(stage):
    action = released(stage)
    stage.talk.send(stage.links[SOAR.id], cast.action(issued_at_ms=stage.talk.now_ms, sequence=7).with_approvals(
        action.envelope.approved
    ))
    (nack,) = stage.talk.heard(stage.links[SOAR.id], Nack)
    assert [code for _, code, _ in nack.refusals] == [Code.BAD_APPROVAL]


def test_after_a_restart_it_waits_on_with_the_approvals_that_it_had(stage, tmp_path):
    stage.ask()
    asked = question(stage.told(LEADS[0]))
    first = stage.approve(LEADS[0], asked)
    with closing(Spool(tmp_path / "relay")) as spool:
        spool.load(stage.talk.now_ms)
        spool.commit(stage.talk.disk)
    again = Stage()
    again.talk.now_ms = stage.talk.now_ms + 1_000
    with closing(Spool(tmp_path / "relay")) as spool:
        again.talk.core.restore(list(spool.load(again.talk.now_ms)), again.talk.now_ms)
    assert len(again.talk.core.approving) == 1
    for who in (SOAR, *LEADS):
        again.come(who, session=b"t" * 16, epoch=2)
    again.wait(2_000)
    two = question(again.told(LEADS[1]))
    assert two["approved_by"] == ["ann"]
    again.approve(LEADS[1], two, off_ms=-10_000)  # by its own time before the other, which completes it then
    assert [each["end"] for each in again.told(SOAR)][-1] == "approved"
    (item,) = again.talk.items(again.links["fw-7"])
    assert item.age_ms == again.talk.core.time.now(again.talk.now_ms) - first.header.issued_at_ms >= 3_000
