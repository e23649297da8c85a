"""Effects end, and none while it is held: for any order of actions, ends, releases, failures, crashes and repeats."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fabric.edge.effects.lease import Stage, Word
from fabric.edge.effects.leases import Leases
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ledger_ops import ForgetLease, KeepForGood, KeepLease
from fabric.protocol.point.action_room import ACTION_BYTES

EFFECTS = (b"block", b"isolate")
VARIANTS = (b"in", b"out")
ROOM = 12 * (ACTION_BYTES + 4)


class Effects(RuleBasedStateMachine):
    @initialize()
    def begin_all(self):
        self.now_ms, self.number, self.disk = 1_000, 0, {}
        self.done = {effect: set() for effect in EFFECTS}  # what is there, on the firewall
        self.for_good = set()  # effects that somebody asked for without an end
        self.leases, self.wanted = Leases(ROOM), {}  # by whom for good, on disk
        self.at_work = {}  # id: effect, variant, whether it is timed, and for whom
        self.reverting = {}
        self.open = {}  # whose handler an earlier process called, and that have no answer
        self.told = {}

    def commit(self, ops):
        for op in ops:
            if isinstance(op, KeepLease):
                self.disk[op.id] = op
            elif isinstance(op, ForgetLease):
                self.disk.pop(op.id)
        for lease in self.leases.to_tell():
            assert self.told.get(lease.id, lease.row.word) == lease.row.word, "one end"
            # After a restart it is said again of what may have been done anew since.
            if lease.row.word == Word.ENDED and lease.id not in self.told:
                self.done[lease.row.effect].discard(lease.row.variant)
            self.told[lease.id] = lease.row.word

    def remember(self, kept):
        for op in kept:
            self.wanted[op.effect, op.requester] = op
            if not op.since_ms:
                del self.wanted[op.effect, op.requester]

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(
        effect=st.sampled_from(EFFECTS), variant=st.sampled_from(VARIANTS), who=st.sampled_from(["a", "b"]),
        lasts_ms=st.sampled_from([None, 0, 1_000, 60_000]), by_itself=st.booleans(),
    )
    def begins(self, effect, variant, who, lasts_ms, by_itself):
        self.number += 1
        id_ = self.number.to_bytes(16, "big")
        kept = None if lasts_ms is None else KeepLease(
            id_, self.now_ms + lasts_ms, 0, who, effect, variant, (), 0, "ended" if by_itself else "", 0, b"body"
        )
        refused = self.leases.why_not(effect, kept)
        if refused is None:
            self.commit(self.leases.begin(id_, effect, kept))
            if kept is not None:
                self.remember(self.leases.for_good.has_an_end(effect, who))
            self.at_work[id_] = effect, variant, lasts_ms is not None, who

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), end=st.sampled_from(["completed", "failed", "halfway", "refused"]))
    def answers(self, data, end):
        id_ = data.draw(st.sampled_from(sorted(self.at_work)))
        effect, variant, timed, who = self.at_work.pop(id_)
        if end in ("completed", "halfway"):
            self.done[effect].add(variant)
        if end == "completed" and not timed:
            self.for_good.add(effect)
        if not timed and end == "halfway":
            self.for_good.add(effect)  # nothing is promised of it
        self.commit(self.leases.ended(id_, 0, began=end != "refused", completed=end == "completed"))
        if end == "completed":
            for_good = self.leases.for_good
            asked = KeepForGood(effect, who, b"target", 1)
            self.remember([] if timed else for_good.add(asked))

    @rule(effect=st.sampled_from(EFFECTS))
    def is_undone(self, effect):
        """By an action that undoes what is there, but for this effect, which is its own."""
        self.remember(self.leases.for_good.undone(b"target", effect))

    @rule(ms=st.sampled_from([1, 900, 5_000, 70_000]))
    def passes(self, ms):
        self.now_ms += ms
        self.look()

    def look(self):
        due, ops = self.leases.due(self.now_ms, 0)
        for lease in due:
            effect = lease.row.effect
            assert effect not in {at_work[0] for at_work in self.at_work.values()}, "no handler of it is at work"
            assert effect not in {other.row.effect for other in self.reverting.values()}, "one at a time"
            assert effect not in {wanted for wanted, _ in self.wanted}, "nobody wants it for good"
            for other in self.leases.all():
                holds = other.stage is Stage.IN_FORCE and other.row.due_ms > self.now_ms
                assert other is lease or other.row.effect != effect or not holds, "nobody holds it"
            self.reverting[lease.id] = lease
        self.commit(ops)

    @precondition(lambda self: self.reverting)
    @rule(data=st.data(), well=st.booleans())
    def returns(self, data, well):
        id_ = data.draw(st.sampled_from(sorted(self.reverting)))
        self.end_revert(id_, well=well)

    def end_revert(self, id_, *, well):
        lease = self.reverting.pop(id_)
        if well:
            self.done[lease.row.effect].discard(lease.row.variant)
        self.commit(self.leases.reverted(id_, self.now_ms, 0, well=well))
        self.look()

    @precondition(lambda self: self.leases.all())
    @rule(data=st.data())
    def is_released(self, data):
        lease = data.draw(st.sampled_from(self.leases.all()))
        ops = self.leases.release(lease.id)
        assert (ops is None) == (lease.stage is Stage.OVER or lease.ends_itself)
        self.commit(ops or [])
        self.look()

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def is_told(self, data):
        self.commit(self.leases.told(data.draw(st.sampled_from(sorted(self.told)))))

    @rule(lost=st.booleans())
    def dies(self, lost):
        """What is on disk is all that is left, and whatever was at work may have done something."""
        for effect, variant, timed, _ in self.at_work.values():
            if not lost:
                self.done[effect].add(variant)
            if not timed:
                self.for_good.add(effect)
        for lease in self.reverting.values():
            if not lost:
                self.done[lease.row.effect].discard(lease.row.variant)
        self.open |= {id_: works[:2] for id_, works in self.at_work.items() if works[2]}
        self.at_work, self.reverting = {}, {}
        self.leases = Leases(ROOM)
        for asked in self.wanted.values():
            self.leases.for_good.add(asked)
        for row in self.disk.values():
            self.leases.restore(row, is_open=row.id in self.open)
        self.commit([])
        self.look()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), idempotent=st.booleans(), lasts_ms=st.sampled_from([0, 60_000]))
    def goes_on(self, data, idempotent, lasts_ms):
        """The handler is called again, unless somebody was told that the effect has ended, or is to end."""
        id_ = data.draw(st.sampled_from(sorted(self.open)))
        effect, variant = self.open[id_]
        kept = self.leases.get(id_).row._replace(due_ms=self.now_ms + lasts_ms)
        refused = self.leases.why_not(effect, kept)
        if refused is Code.BUSY:
            return
        del self.open[id_]
        if idempotent and refused is None:
            assert id_ not in self.told and self.leases.get(id_).stage is Stage.IN_FORCE
            self.commit(self.leases.begin(id_, effect, kept))
            self.at_work[id_] = effect, variant, True, kept.requester
        else:
            self.commit(self.leases.ended(id_, 0, began=True, completed=False))

    # -- what holds ------------------------------------------------------------------------------------------

    @invariant()
    def what_is_counted_is_there(self):
        assert self.leases.held_bytes == sum(lease.size for lease in self.leases.all()) <= ROOM
        assert {lease.id for lease in self.leases.all()} == set(self.disk)
        assert self.leases.in_force == sum(lease.stage is not Stage.OVER for lease in self.leases.all())
        assert len(self.leases._timers) <= 2 * len(self.leases) + 33

    @invariant()
    def what_somebody_wants_for_good_is_there(self):
        assert all(self.done[effect] and self.leases.for_good.holds(effect) for effect, _ in self.wanted)
        assert len(self.leases.for_good) == len(self.wanted)

    @invariant()
    def an_end_is_said_of_what_is_over_only(self):
        for lease in self.leases.all():
            assert (lease.stage is Stage.OVER) == bool(lease.row.word) or lease.ends_itself
            assert lease.stage is not Stage.RELEASED or not lease.ends_itself

    def teardown(self):
        """In the end nothing is in force, and nothing is left of what was to end."""
        if not hasattr(self, "leases"):
            return
        for id_ in list(self.at_work):
            effect, variant, timed, _ = self.at_work.pop(id_)
            self.done[effect].add(variant)
            if not timed:
                self.for_good.add(effect)
            self.commit(self.leases.ended(id_, 0, began=True, completed=True))
        for id_ in self.open:
            self.commit(self.leases.ended(id_, 0, began=True, completed=False))
        for _ in range(200):
            self.now_ms += 400_000
            self.look()
            for id_ in list(self.reverting):
                self.end_revert(id_, well=True)
        assert self.leases.in_force == 0
        for effect in EFFECTS:
            assert effect in self.for_good or not self.done[effect]
        for lease in self.leases.all():
            assert self.told[lease.id] in [str(word) for word in Word if word is not Word.FAILED]
            self.commit(self.leases.told(lease.id))
        assert not self.disk and not self.leases.held_bytes


TestEffects = Effects.TestCase
TestEffects.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
