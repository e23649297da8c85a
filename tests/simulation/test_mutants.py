"""The checkers catch what they are for: one thing is broken on purpose at a time, and some story says so.

A checker that nothing can set off checks nothing.
"""

from contextlib import nullcontext

import pytest

from fabric.edge.effects.lease import OnEffect
from fabric.edge.effects.leases import Leases
from fabric.edge.ledger.executions import Executions
from fabric.protocol.access import permissions
from fabric.protocol.access.approvals import approval_record
from fabric.protocol.access.quorum import Judge
from fabric.protocol.custody import outbox
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.dedup import Dedup
from fabric.protocol.custody.outbox import Held
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import Links
from fabric.protocol.links.release import Release
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.below.session_keeper import SessionKeeper
from fabric.protocol.relay.messages.holding import Holding
from fabric.protocol.relay.messages.notices import Notices
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Lists
from tests.simulation.checkers import Broken, Promises
from tests.simulation.disk import Disk
from tests.simulation.forging import WAYS
from tests.simulation.trouble import READER, SENSOR, tell
from tests.simulation.world import World
from tests.support import HOUR_MS, SECOND_MS

# Each is caught by one of the first few stories; more would hide that a checker became blind to it.
STORIES = 10
# The smallest trees and the shortest trouble in which each of them is caught: what more of both may show, the stories
# of `test_trouble` look for. What is broken by then will not be mended in five minutes.
RELAYS, MINUTES, QUIET_MS = 4, 0.25, 30 * SECOND_MS


def nothing_is_a_repeat(patch):
    patch.setattr(Dedup, "seen", lambda *_: False)


def no_part_is_taken_out_on_sending(patch):
    patch.setattr(Release, "fit", lambda _, row, link, now_ms: row.held.message)


def acknowledged_and_not_on_disk(patch):
    put = Custody.put

    def forget(self, held, destinations, ready, moved=()):
        put(self, held, destinations, ready, moved)
        ready.persist.pop()

    patch.setattr(Custody, "put", forget)


def sent_before_it_is_committed(patch):
    def apply(self, node, ready):
        sent, ready.send = ready.send, []
        for link, payload in sent:
            self._transmit(node, link, payload)
        self.apply(node, ready)

    patch.setattr(World, "apply", World._apply, raising=False)
    patch.setattr(World, "_apply", apply)


def nothing_expires_in_the_queue(patch):
    patch.setattr(Release, "is_expired", lambda *_: False)


def age_stands_still_in_the_queue(patch):
    patch.setattr(Held, "age_at", lambda self, _: self.age_ms)


def lower_lanes_are_owed_nothing(patch):
    patch.setattr(outbox, "_FLOOR_SHARE", 10**12)


def an_action_without_a_part_is_passed_on(patch):
    for kind in Kind:
        patch.setattr(kind, "atomic", False)


def what_ended_is_forgotten_by_a_crash(patch):
    patch.setattr(Notices, "unsaved", lambda _: [])


def what_was_refused_for_a_while_is_given_up(patch):
    patch.setattr("fabric.protocol.links.transfer.TEMPORARY", frozenset())
    patch.setattr(Notices, "note", lambda *_: None)


def who_is_revoked_is_heard(patch):
    patch.setattr(TrustStore, "check", lambda *_: None)


def a_list_goes_no_further(patch):
    send = Links.send
    patch.setattr(Links, "send", lambda self, link, frame, ready: (
        None if isinstance(frame, Lists) else send(self, link, frame, ready)
    ))


def who_is_revoked_keeps_his_place(patch):
    patch.setattr(SessionKeeper, "list_changed", lambda *_: None)


def what_sleeps_is_never_woken(patch):
    patch.setattr(Disk, "wake", lambda _: [])


def one_person_counts_for_each_of_their_keys(patch):
    patch.setattr("fabric.protocol.access.quorum._distinct", list)


def forged(patch, way):
    patch.setattr("tests.simulation.faults.WAYS", {way: WAYS[way]})


def no_executor_asks_who_approved(patch):
    forged(patch, "at once")
    patch.setattr("fabric.protocol.point.judging.why_not_released", lambda *_: None)


def who_comes_later_is_a_target_too(patch):
    forged(patch, "for more")
    patch.setattr("fabric.protocol.access.quorum.targets_digest", lambda _: bytes(32))
    patch.setattr("tests.simulation.approvals.approval_record", with_targets(approval_record))


def with_targets(record):
    return lambda *args, **more: {**record(*args, **more), "targets": bytes(32).hex()}


def an_approval_is_of_any_action(patch):
    forged(patch, "with those of another")
    patch.setattr(Judge, "_check_bound", lambda *_: None)


def it_is_never_too_late_to_approve(patch):
    put = Approving._put

    def put_for_long(self, held):
        held.until_ms += HOUR_MS
        put(self, held)

    patch.setattr(Approving, "_put", put_for_long)
    patch.setattr(Judge, "_check_time", lambda *_: None)


def that_it_was_begun_is_not_on_disk(patch):
    begin = Executions.begin
    patch.setattr(Executions, "begin", lambda self, id_: None if begin(self, id_) is None else [])


def a_lease_is_forgotten(patch):
    begin = Leases.begin

    def forget(self, *args):
        begin(self, *args)
        return []

    patch.setattr(Leases, "begin", forget)


def nobody_else_holds_an_effect(patch):
    for step in ("hold", "let_go"):
        patch.setattr(OnEffect, step, lambda *_: None)


def halved(self, _):
    return self.duration_ms and self.duration_ms // 2


def an_effect_ends_too_soon(patch):
    patch.setattr("fabric.edge.effects.lasting.Lasting.left_ms", halved)


# The last number is of the story that catches it soonest so far, which is told first.
MUTANTS = [
    (nothing_is_a_repeat, ("loss", "copies"), "came twice", 3),
    (no_part_is_taken_out_on_sending, ("partition",), "was sent to", 6),
    (acknowledged_and_not_on_disk, ("crash",), "not on its disk", 1),
    (sent_before_it_is_committed, ("crash",), "not on its disk", 1),
    (nothing_expires_in_the_queue, ("partition",), " sent ", 1),
    (age_stands_still_in_the_queue, ("partition",), "ms old, and it is", 1),
    (lower_lanes_are_owed_nothing, ("narrow",), "of the low one that waited", 1),
    (an_action_without_a_part_is_passed_on, ("loss",), "without a part", 3),
    (what_ended_is_forgotten_by_a_crash, ("crash", "partition"), "was told of", 9),
    (what_was_refused_for_a_while_is_given_up, ("full",), "nobody holds", 9),
    (who_is_revoked_is_heard, ("revoke",), "who is revoked", 6),
    (a_list_goes_no_further, ("revoke",), "has revocation list", 6),
    (who_is_revoked_keeps_his_place, ("revoke",), "looks for", 8),
    (what_sleeps_is_never_woken, ("backlog",), "rows sleep", 3),
]
# The same of approvals and ledgers.
OF_APPROVALS = [
    (one_person_counts_for_each_of_their_keys, ("approvals",), "are no quorum of", 1),
    (no_executor_asks_who_approved, ("approvals", "forge"), "nobody approved it", 3),
    (who_comes_later_is_a_target_too, ("approvals", "forge"), "it was approved for", 3),
    (an_approval_is_of_any_action, ("approvals", "forge"), "nobody approved it", 9),
    (it_is_never_too_late_to_approve, ("approvals",), "are no quorum of", 1),
    (that_it_was_begun_is_not_on_disk, ("approvals", "kills"), " twice", 1),
    (a_lease_is_forgotten, ("approvals", "kills"), "never ended", 1),
    (nobody_else_holds_an_effect, ("approvals",), "while another lease held it", 6),
    (an_effect_ends_too_soon, ("approvals",), "ms too soon", 6),
]


@pytest.mark.parametrize(
    ("mutant", "faults", "said", "first"), MUTANTS + OF_APPROVALS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_checker_says_what_is_broken(monkeypatch, mutant, faults, said, first):
    mutant(monkeypatch)
    wrong = []
    for seed in sorted(range(STORIES), key=lambda seed: seed != first):
        wrong += tell(seed, RELAYS, MINUTES, faults, quiet_ms=QUIET_MS).wrong
        if any(said in line for line in wrong):
            return
    raise AssertionError(f"not caught: {wrong[:5]}")


# The stories by which mutants are caught.
WHOLE = sorted({(faults, first) for _, faults, _, first in MUTANTS + OF_APPROVALS})


def told_of(value):
    return "+".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("faults", "seed"), WHOLE, ids=told_of)
def test_and_of_what_is_whole_the_same_stories_say_nothing(faults, seed):
    assert tell(seed, RELAYS, MINUTES, faults).wrong == []


@pytest.mark.parametrize("seed", range(3))
def test_nor_do_those_that_none_of_them_is_about(seed):
    assert tell(seed, 8, MINUTES, ("drain", "time")).wrong == []


@pytest.mark.parametrize("ends", [True, False])
def test_what_waits_of_whoever_is_revoked_is_seen(monkeypatch, ends):
    """Of many stories hardly one has something waiting at the very moment."""
    if not ends:
        monkeypatch.setattr(Holding, "list_changed", lambda *_: None)
    world = World(watch=False)
    world.relay("r")
    world.relay("n1", "r")
    world.point("sensor", "n1", SENSOR)
    world.observers.append(Promises(world, {}, "r", 1_500))
    world.run(5_000)
    world.part("n1", "r")
    for number in range(5):
        world.publish("sensor", sequence=number)
    world.run(1_000)
    world.revoke("sensor", "r")
    world.join("n1", "r")
    with nullcontext() if ends else pytest.raises(Broken, match="n1 still holds event of sensor"):
        world.run(20_000)
        assert world.nodes["n1"].core.counters["ended:revoked"] == 5


@pytest.mark.parametrize(("label", "who"), [
    (Label.AMBER_STRICT, {"client_of": ("acme",)}), (Label.AMBER, {"communities": ("isac",)}),
    (Label.GREEN, {"communities": ("isac",)}), (Label.GREEN, {}),
])
def test_what_goes_to_whom_the_audience_does_not_reach_is_seen(monkeypatch, label, who):
    """It is cleared for it: a client of the organisation, a member of a community that is not addressed, a stranger."""
    monkeypatch.setattr(permissions, "may_hold", lambda *_: True)
    world = World(watch=False)
    world.relay("r")
    world.relay("n1", "r", organisation="other", **who)
    world.point("sensor", "r", SENSOR)
    world.point("reader", "n1", READER)
    world.attach("reader", "intel.>")
    world.observers.append(Promises(world, {}, "r", 1_500))
    world.run(5_000)
    world.publish("sensor", kind=Kind.INTEL, topic="intel.x", label=label)
    with pytest.raises(Broken, match=f"{label.name} of sensor was sent to n1, RED"):
        world.run(5_000)


@pytest.mark.parametrize("cut", [True, False])
def test_a_part_above_a_clearance_is_seen_on_the_link(monkeypatch, cut):
    """By who watches every byte; the stories above are told without."""
    if not cut:
        no_part_is_taken_out_on_sending(monkeypatch)
    world = World()
    world.relay("r", clearance=Label.GREEN)
    world.relay("n1", "r")
    world.point("sensor", "n1", SENSOR)
    world.run(5_000)
    with nullcontext() if cut else pytest.raises(AssertionError, match="AMBER of sensor was sent to r, cleared for GR"):
        world.publish("sensor", records=[{"n": 1, "secret": "s-1"}], rules={"secret": Label.AMBER}, label=Label.CLEAR)
        world.run(5_000)
