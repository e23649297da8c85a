"""The checkers catch what they are for: one thing is broken on purpose at a time, and some story says so.

A checker that nothing can set off checks nothing.
"""

from contextlib import nullcontext

import pytest

from fabric.protocol.custody import outbox
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.dedup import Dedup
from fabric.protocol.custody.outbox import Held
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.links.links import Links
from fabric.protocol.links.release import Release
from fabric.protocol.relay.holding import Holding
from fabric.protocol.relay.notices import Notices
from fabric.protocol.relay.session_keeper import SessionKeeper
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Lists
from tests.simulation.checkers import Broken, Promises
from tests.simulation.disk import Disk
from tests.simulation.trouble import SENSOR, tell
from tests.simulation.world import World

# Each is caught by one of the first few stories; more would hide that a checker became blind to it.
STORIES = 6


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
    patch.setattr(Kind, "atomic", property(lambda _: False))


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


# The last number is of the story that catches it soonest so far, which is told first.
MUTANTS = [
    (nothing_is_a_repeat, ("loss", "copies"), "came twice", 3),
    (no_part_is_taken_out_on_sending, ("partition",), "was sent to", 0),
    (acknowledged_and_not_on_disk, ("crash",), "not on its disk", 0),
    (sent_before_it_is_committed, ("crash",), "not on its disk", 0),
    (nothing_expires_in_the_queue, ("partition",), " sent ", 5),
    (age_stands_still_in_the_queue, ("partition",), "ms old, and it is", 0),
    (lower_lanes_are_owed_nothing, ("narrow",), "of the low one that waited", 0),
    (an_action_without_a_part_is_passed_on, ("loss",), "without a part", 0),
    (what_ended_is_forgotten_by_a_crash, ("crash", "partition"), "was told of", 4),
    (what_was_refused_for_a_while_is_given_up, ("full",), "nobody holds", 0),
    (who_is_revoked_is_heard, ("revoke",), "who is revoked", 3),
    (a_list_goes_no_further, ("revoke",), "has revocation list", 0),
    (who_is_revoked_keeps_his_place, ("revoke",), "looks for", 4),
    (what_sleeps_is_never_woken, ("backlog",), "rows sleep", 0),
]


@pytest.mark.parametrize(
    ("mutant", "faults", "said", "first"), MUTANTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_checker_says_what_is_broken(monkeypatch, mutant, faults, said, first):
    mutant(monkeypatch)
    wrong = []
    for seed in sorted(range(STORIES), key=lambda seed: seed != first):
        wrong += tell(seed, faults=faults).wrong
        if any(said in line for line in wrong):
            return
    raise AssertionError(f"not caught: {wrong[:5]}")


# The stories by which mutants are caught, and some of what none of them is about.
WHOLE = sorted({(faults, first) for _, faults, _, first in MUTANTS} | {(("drain", "time"), seed) for seed in range(3)})


@pytest.mark.parametrize(
    ("faults", "seed"), WHOLE, ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value)
)
def test_and_of_what_is_whole_the_same_stories_say_nothing(faults, seed):
    assert tell(seed, faults=faults).wrong == []


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
