"""What became of each action: the component alone, with a port that only remembers."""

from collections import Counter

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SKEW_MS, SLOW_HANDLER_MS
from fabric.protocol.core.ready import KeepEnd, KeepOpen, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import build_report
from fabric.protocol.envelope.resolution import about, read_about, write_about
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.relay.actions.resolutions import Resolutions, outcome_of
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import MINUTE_MS, SECOND_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("resolutions")
ME, EAST = (AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("hq", "east"))
SOAR = AUTHORITY.issue("soar", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
WALLS = {
    name: AUTHORITY.issue(name, grants=Grants(execute=("deny *",)), tags=[("role", "firewall")])
    for name in ("fw-1", "fw-2", "fw-3")
}
NAMES = tuple(WALLS)


class Stage:
    def __init__(self):
        self.routed, self.counted, self.ready, self.now_ms = [], Counter(), Ready(), T0
        self.begin()

    def begin(self):
        """A process of the relay: what the one before kept is on its disk."""
        signer = ReportSigner(ME.credential, ME.signer, entropy("r"), RootCache(), lambda now_ms: now_ms, lambda: False)
        self.resolutions = Resolutions(
            signer, Timekeeper(ME.credential, SKEW_MS, lambda *_: None, has_parents=False),
            MessagePort(lambda message, *_: self.routed.append(message), None, None, None),
            lambda what, reason: self.counted.update([f"{what}:{reason}"]),
        )
        self.signer = signer

    def restart(self):
        kept = {}
        for op in self.ready.persist:
            kept[type(op), op[0], op[1] if isinstance(op, KeepEnd) else ""] = op
        self.begin()
        for kind in (KeepOpen, KeepEnd):
            for op in kept.values():
                if isinstance(op, kind) and op.until_ms > self.now_ms:  # what forgets has no time
                    self.resolutions.restored(op, self.now_ms)

    def turn(self, targets=NAMES, **fields):
        action = verified(
            SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", severity=Severity.HIGH, label=Label.AMBER,
            records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], **fields,
        )
        self.resolutions.turned(action, targets, self.now_ms, self.ready)
        return action

    def says(self, about, name, state, member=None):
        self.resolutions.heard(verified(
            member or WALLS[name], kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=about.leaf,
            state=state, records=[{"end": state.word, "targets": [name], "by": name}],
        ), self.now_ms, self.ready)

    def reports(self, about, end, *names, member=EAST):
        report = build_report(about, str(end), names, Code.EXPIRED, member.credential)
        signer = ReportSigner(
            member.credential, member.signer, entropy("e"), RootCache(), lambda now_ms: now_ms, lambda: False
        )
        self.resolutions.heard(signer.sign(report, self.now_ms), self.now_ms, self.ready)

    def wait(self, ms):
        self.now_ms += ms
        self.resolutions.tick(self.now_ms, self.ready)

    def resolved(self, kind=Kind.RESULT):
        """(outcome, targets by end, revision) of each resolution that was sent since it was last asked."""
        said = [
            read_records(message.header, message.envelope.parts)[0].content
            for message in self.routed if message.header.kind is kind
        ]
        self.routed.clear()
        return [(each["outcome"], each["targets"], each["revision"]) for each in said]


@pytest.fixture
def stage():
    return Stage()


def test_when_the_last_target_has_ended_it_is_resolved_once(stage):
    action = stage.turn()
    stage.says(action, "fw-1", State.COMPLETED)
    stage.says(action, "fw-2", State.FAILED)
    stage.reports(action, End.EXPIRED, "fw-3")
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "failed": ["fw-2"], "expired": ["fw-3"]}, 1)]
    stage.says(action, "fw-1", State.COMPLETED)
    stage.wait(SLOW_HANDLER_MS)
    assert stage.resolved() == [] and len(stage.resolutions) == 0 and stage.counted == {"resolved:partly": 1}


def test_the_requester_and_subscribers_hear_the_same_with_the_actions_label(stage):
    action = stage.turn(("fw-1",))
    stage.says(action, "fw-1", State.COMPLETED)
    to_soar, to_all = stage.routed
    assert (to_soar.header.kind, to_soar.header.to, to_soar.header.correlation) == (Kind.RESULT, "soar", action.leaf)
    assert (to_all.header.kind, to_all.header.topic) == (Kind.EVENT, "resolutions.deny.ipv4_net")
    said = [read_records(each.header, each.envelope.parts)[0].content for each in (to_soar, to_all)]
    assert said[0] == said[1] == {
        "end": "resolved", "action": action.leaf.hex(), "about": "deny ipv4_net", "class": "contain",
        "requester": "soar", "issued_at": T0, "outcome": "completed", "revision": 1,
        "targets": {"completed": ["fw-1"]}, "by": "hq",
    }
    for each in (to_soar, to_all):
        assert each.header.label is Label.AMBER and each.header.severity is Severity.HIGH
        assert each.header.audience == action.header.audience and each.credential.id == "hq"


def test_who_says_nothing_is_unknown_when_its_time_and_a_minute_are_over(stage):
    action = stage.turn(ttl_ms=10 * SECOND_MS)
    stage.says(action, "fw-1", State.COMPLETED)
    stage.says(action, "fw-2", State.ACCEPTED)
    stage.wait(69 * SECOND_MS)
    assert stage.resolved() == [] and stage.resolutions.unresolved == 1
    stage.wait(MINUTE_MS)
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "unknown": ["fw-2", "fw-3"]}, 1)]


def test_whoever_says_that_it_is_at_work_is_waited_for(stage):
    action = stage.turn(("fw-1",), ttl_ms=10 * SECOND_MS)
    for _ in range(10):
        stage.wait(30 * SECOND_MS)
        stage.says(action, "fw-1", State.RUNNING)
    assert stage.resolved() == []
    stage.says(action, "fw-1", State.COMPLETED)
    assert stage.resolved() == [("completed", {"completed": ["fw-1"]}, 1)]


def test_at_work_for_ever_is_no_excuse(stage):
    action = stage.turn(("fw-1",), ttl_ms=10 * SECOND_MS)
    for _ in range(150):
        stage.wait(30 * SECOND_MS)
        stage.says(action, "fw-1", State.RUNNING)
    assert stage.resolved() == [("unknown", {"unknown": ["fw-1"]}, 1)] and len(stage.resolutions) == 0


def test_a_late_word_of_one_that_was_unknown_makes_a_revision(stage):
    action = stage.turn(("fw-1", "fw-2"), ttl_ms=10 * SECOND_MS)
    stage.wait(2 * MINUTE_MS)
    assert stage.resolved() == [("unknown", {"unknown": ["fw-1", "fw-2"]}, 1)]
    stage.says(action, "fw-1", State.COMPLETED)
    stage.reports(action, End.EXPIRED, "fw-2")  # a relay cannot know better
    stage.wait(MINUTE_MS)
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "unknown": ["fw-2"]}, 2)]
    stage.says(action, "fw-2", State.FAILED)
    stage.wait(MINUTE_MS)
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "failed": ["fw-2"]}, 3)]
    assert len(stage.resolutions) == 0


def test_what_is_never_known_is_forgotten_with_the_right_to_answer(stage):
    stage.turn(ttl_ms=10 * SECOND_MS)
    stage.wait(2 * MINUTE_MS)
    assert len(stage.resolutions) == 1
    stage.wait(SLOW_HANDLER_MS)
    assert len(stage.resolutions) == 0


def test_it_says_so_where_nobody_was_selected(stage):
    stage.turn(())
    assert stage.routed == [], "that nobody was selected is said first"
    stage.wait(0)
    assert stage.resolved(Kind.EVENT) == [("nobody", {}, 1)]


def test_a_dry_run_is_not_resolved(stage):
    action = stage.turn(("fw-1",), terms=Terms(dry_run=True))
    stage.says(action, "fw-1", State.READY)
    stage.wait(SLOW_HANDLER_MS)
    assert stage.resolved() == [] and stage.ready.persist == []


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.RUNNING, State.READY, State.ACCEPTED])
def test_a_relay_cannot_say_what_only_a_target_knows(stage, state):
    action = stage.turn(("fw-1",))
    stage.says(action, "fw-1", state, member=EAST)
    assert stage.resolutions.unresolved == 1


def test_who_was_no_target_changes_nothing(stage):
    action = stage.turn(("fw-1",))
    stage.says(action, "fw-2", State.COMPLETED)
    stage.reports(action, End.UNROUTABLE, "fw-2", "fw-9")
    assert stage.resolved() == [] and stage.resolutions.unresolved == 1


def test_a_report_that_names_nobody_is_about_all_who_have_not_ended(stage):
    action = stage.turn()
    stage.says(action, "fw-1", State.COMPLETED)
    stage.reports(action, End.REFUSED)
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "refused": ["fw-2", "fw-3"]}, 1)]


def test_after_a_restart_it_knows_who_had_ended(stage):
    action = stage.turn()
    stage.says(action, "fw-1", State.COMPLETED)
    stage.says(action, "fw-2", State.RUNNING)
    stage.restart()
    stage.says(action, "fw-3", State.COMPLETED)
    assert stage.resolved() == []
    stage.says(action, "fw-2", State.COMPLETED)
    assert stage.resolved() == [("completed", {"completed": list(NAMES)}, 1)]


def test_after_a_restart_the_silent_are_unknown_as_before(stage):
    stage.turn(ttl_ms=10 * SECOND_MS)
    stage.now_ms += 10 * MINUTE_MS
    stage.restart()
    stage.wait(0)
    assert stage.resolved() == [("unknown", {"unknown": list(NAMES)}, 1)]
    stage.restart()
    stage.wait(MINUTE_MS)
    assert stage.resolved() == [], "it is not told twice"


def test_nothing_is_left_on_disk_of_what_is_resolved(stage):
    action = stage.turn()
    for name in NAMES:
        stage.says(action, name, State.COMPLETED)
    kept = {}
    for op in stage.ready.persist:
        kept[op[0], op[1] if isinstance(op, KeepEnd) else ""] = op
    assert all(not op.about if isinstance(op, KeepOpen) else not op.state for op in kept.values()), kept


@pytest.mark.parametrize(
    ("by_end", "outcome"),
    [({}, "nobody"), ({"completed": ["a", "b"]}, "completed"), ({"expired": ["a"]}, "expired"),
     ({"completed": ["a"], "expired": ["b"]}, "partly"), ({"failed": ["a"], "expired": ["b"]}, "failed")],
)
def test_the_outcome_is_one_word(by_end, outcome):
    assert outcome_of(by_end) == outcome


def test_what_is_kept_of_an_action_is_read_as_it_was():
    header = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.RED,
                      severity=Severity.FATAL, recipients=("fw-1",)).header
    assert read_about(write_about(about(header))) == about(header)


def test_an_hour_of_actions_that_end_in_the_same_moment_is_resolved_some_a_turn(stage):
    for number in range(200):
        stage.turn(("fw-1",), sequence=number)
    turns = []
    stage.wait(SLOW_HANDLER_MS // 2)
    while found := stage.resolved():
        turns.append(len(found))
        stage.wait(1)
    assert sum(turns) == 200 and max(turns) <= 64


def test_nobody_is_waited_for_because_of_who_has_ended(stage):
    """Nor because a relay says again that it holds it: only who says that it is at work is waited for."""
    action = stage.turn(("fw-1", "fw-2"), ttl_ms=10 * SECOND_MS)
    stage.says(action, "fw-1", State.COMPLETED)
    stage.wait(60 * SECOND_MS)
    stage.says(action, "fw-1", State.RUNNING)
    stage.reports(action, State.HELD.word, "fw-2")
    stage.wait(11 * SECOND_MS)
    assert stage.resolved() == [("partly", {"completed": ["fw-1"], "unknown": ["fw-2"]}, 1)]


def test_what_was_learnt_late_is_told_by_the_next_process_too(stage):
    """It is known on disk, and was to be said ten seconds later."""
    action = stage.turn(("fw-1", "fw-2"))
    stage.says(action, "fw-1", State.UNKNOWN)
    stage.says(action, "fw-2", State.COMPLETED)
    assert stage.resolved() == [("partly", {"unknown": ["fw-1"], "completed": ["fw-2"]}, 1)]
    stage.says(action, "fw-1", State.FAILED)
    stage.restart()
    stage.wait(11 * SECOND_MS)
    assert stage.resolved() == [("partly", {"failed": ["fw-1"], "completed": ["fw-2"]}, 2)]
    assert len(stage.resolutions) == 0
