"""No sequence of hostile approvals satisfies a quorum that honest ones do not, and none undoes one that they do."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.access.quorum import Quorum
from fabric.protocol.base.errors import Reject
from fabric.protocol.trust.credentials import ApproveGrant, Grants
from fabric.protocol.vocabulary.tlp import Label
from tests.approving import CISO, HOLD, LEADS, RULE, SOAR, action, approval, judge, member, policies
from tests.support import MINUTE_MS

NOW = HOLD.held_at_ms + 6 * MINUTE_MS
AFTER = RULE.escalation.after_ms
# Late enough that the execution's time is not over, whoever was the last.
SOON = NOW - 30_000 - HOLD.held_at_ms

HONEST = [approval(lead, SOON + n) for n, lead in enumerate(LEADS)]
ESCALATED = approval(CISO, SOON)
HOSTILE = [
    # of something else
    *[approval(lead, SOON, hold=HOLD._replace(action=action(args={"until": 9}))) for lead in LEADS],
    *[approval(lead, SOON, hold=HOLD._replace(targets=(*HOLD.targets, "fw-9"))) for lead in LEADS],
    *[approval(lead, SOON, hold=HOLD._replace(held_at_ms=HOLD.held_at_ms - 9)) for lead in LEADS],
    *[approval(lead, SOON, under=policies(version=2)) for lead in LEADS],
    *[approval(lead, SOON, rule="other") for lead in LEADS],
    *[approval(lead, SOON, topic="allow.ipv4_net") for lead in LEADS],
    # by the requester, under whatever name, and with whatever key
    approval(SOAR, SOON), approval(member("soar-2", "ot-lead", "kim"), SOON),
    approval(member("ciso-2", "ciso", "kim"), SOON), approval(member("x-1", "ot-lead", "joe", key_of="soar-1"), SOON),
    # by those who may not, or not yet, or not any more
    approval(member("guest", "guest", "joe"), SOON), approval(member("lead-4", "ot-lead", "joe", Grants()), SOON),
    approval(member("lead-5", "ot-lead", "joe", Grants(approve=(ApproveGrant("contain", "id=fw-7"),))), SOON),
    approval(member("gone-1", "ot-lead", "joe"), SOON), approval(member("gone-2", "ciso", "moe"), SOON),
    approval(CISO, AFTER - 1), approval(LEADS[0], -2 * MINUTE_MS), approval(LEADS[1], 11 * MINUTE_MS),
    # of another form
    approval(LEADS[0], SOON, label=Label.CLEAR), approval(LEADS[1], SOON, record={"decision": "yes"}),
    # denials of those who are not asked
    approval(SOAR, SOON, approves=False), approval(member("guest", "guest", "joe"), SOON, approves=False),
]
# The same persons again: another message, another credential, another key, somebody else with theirs.
AGAIN = [
    approval(LEADS[0], SOON, sequence=1), approval(member("lead-1b", "ot-lead", "ann"), SOON),
    approval(member("ann-2", "ot-lead", "ann", key_of="lead-1"), SOON),
]


class Quorums(RuleBasedStateMachine):
    """`persons`: who has honestly approved, of those whom the rule asks."""

    @initialize()
    def begin(self):
        self.said = []
        self.persons = set()
        self.escalated = False

    @rule(who=st.integers(0, len(LEADS) - 1))
    def approve(self, who):
        self.said.append(HONEST[who])
        self.persons.add(who)

    @rule()
    def escalate(self):
        self.said.append(ESCALATED)
        self.escalated = True

    @rule(again=st.sampled_from(AGAIN))
    def approve_once_more(self, again):
        self.said.append(again)
        self.persons.add(0)

    @rule(one=st.sampled_from(HOSTILE), where=st.integers(0, 20))
    def attack(self, one, where):
        self.said.insert(where, one)

    @invariant()
    def only_the_honest_count(self):
        if len(self.said) > 50:
            return
        made = judge(gone=("gone-1", "gone-2")).quorum(self.said, NOW)
        assert isinstance(made, Quorum | Reject)
        assert isinstance(made, Quorum) == (len(self.persons) >= RULE.require or self.escalated), made
        if isinstance(made, Quorum):
            assert set(made.principals) <= {"ann", "bob", "lead-3", "eve"}
            assert made.escalated or len(set(made.principals)) == RULE.require


TestQuorums = Quorums.TestCase
TestQuorums.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
