"""The steps of actions, in any order and over restarts: nothing begins twice, and what is counted is what is kept."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from fabric.edge.ledger.executions import Executions, Stage
from fabric.protocol.core.ledger_ops import KeepIntent
from fabric.protocol.point.action_room import ACTION_BYTES, ActionRoom
from tests.simulation.ledger import Ledger

ROOM, TOLD_ROOM = 16 * ACTION_BYTES, 4 * ACTION_BYTES
BARE = b"bare"
requesters = st.sampled_from(["soar-1", "soar-2"])
sizes = st.sampled_from([0, 100, ACTION_BYTES, 3 * ACTION_BYTES])


class Machine(RuleBasedStateMachine):
    actions = Bundle("actions")

    @initialize()
    def begin_anew(self):
        self.disk = Ledger()
        self.now_ms = 0
        self.next = 0
        self.begun = {}  # by id: how often its handler was called
        self.interrupted = set()  # of those, whose handler an earlier process called
        self.requesters = {}
        self._start()

    def _start(self):
        self.room = ActionRoom(ROOM)
        self.executions = Executions(self.room, TOLD_ROOM)

    @rule(target=actions, requester=requesters, size=sizes, ttl=st.sampled_from([5, 50]))
    def take(self, requester, size, ttl):
        if not self.room.fits(requester, ACTION_BYTES + size):
            return multiple()
        self.next += 1
        id_ = self.next.to_bytes(16)
        self.room.add(requester, ACTION_BYTES + size)
        intent = KeepIntent(id_, self.now_ms + ttl, 0, 0, 0, (), bytes(size))
        self.disk.write([self.executions.take(intent, requester, self.now_ms + ttl)])
        self.requesters[id_] = requester
        return id_

    @rule(id_=actions, size=sizes)
    def execute(self, id_, size):
        """All steps of it that are left."""
        self.call_handler(id_)
        self.answer(id_, size)
        self.tell(id_)

    @rule(id_=actions)
    def call_handler(self, id_):
        ops = self.executions.begin(id_)
        if ops is not None:
            self.disk.write(ops)
            assert self.disk.intents[id_].begun, "on disk before it is called"
            again = id_ in self.interrupted
            assert self.begun.get(id_, 0) == 0 or again, "only what an earlier process began is called again"
            self.interrupted.discard(id_)
            self.begun[id_] = self.begun.get(id_, 0) + 1

    @rule(id_=actions, size=sizes)
    def answer(self, id_, size):
        one = self.executions.get(id_)
        was = one.stage if one is not None else None
        ops = self.executions.answer(id_, b"w" * (1 + size), lambda: BARE)
        self.disk.write(ops)
        assert bool(ops) == (was is not None and was is not Stage.TOLD)

    @rule(id_=actions)
    def tell(self, id_):
        one = self.executions.get(id_)
        is_answered = one is not None and one.stage is Stage.ANSWERED
        ops = self.executions.tell(id_)
        self.disk.write(ops)
        assert bool(ops) == is_answered, "who was not answered was not told"

    @rule(id_=actions, link=st.integers(1, 2))
    def repeat(self, id_, link):
        if self.executions.repeats(id_, link):
            assert id_ in self.disk.answers and id_ in self.disk.told
            assert not self.executions.repeats(id_, link)

    @rule(ms=st.integers(0, 20))
    def pass_time(self, ms):
        self.now_ms += ms
        self.disk.write(self.executions.expire(self.now_ms))

    @rule()
    def die(self):
        """And the next process reads what is there."""
        self._start()
        for op in self.disk.actions():
            until_ms = op.until_ms
            self.disk.write(self.executions.restore(op, self.requesters[op.id], until_ms))
        self.interrupted = {id_ for id_, intent in self.disk.intents.items() if intent.begun}

    @rule(id_=consumes(actions))
    def let_go(self, id_):
        """Nobody asks for it any more."""

    @invariant()
    def what_is_counted_is_what_is_kept(self):
        open_ = {id_: ACTION_BYTES + len(op.envelope) for id_, op in self.disk.intents.items()}
        open_ |= {
            id_: ACTION_BYTES + len(op.answer) for id_, op in self.disk.answers.items() if id_ not in self.disk.told
        }
        told = {id_: ACTION_BYTES + len(op.answer) for id_, op in self.disk.answers.items() if id_ in self.disk.told}
        assert self.room.bytes == sum(open_.values()) and self.executions.told_bytes == sum(told.values())
        assert self.executions.told_bytes <= TOLD_ROOM
        # A small answer instead of a large one is kept though the room is full.
        assert self.room.bytes <= ROOM + len(open_) * len(BARE)

    @invariant()
    def steps_are_the_disk_s(self):
        for id_ in self.requesters:
            one = self.executions.get(id_)
            if one is None:
                continue
            assert (one.stage is Stage.TOLD) == (id_ in self.disk.told)
            assert (one.stage in (Stage.TAKEN, Stage.BEGUN)) == (id_ in self.disk.intents)
            if id_ in self.disk.intents:
                assert self.disk.intents[id_].begun == (one.stage is Stage.BEGUN)

    @invariant()
    def who_is_at_work_is_counted(self):
        ones = [self.executions.get(id_) for id_ in self.requesters]
        assert self.executions.at_work == sum(one is not None and one.is_here for one in ones)


Machine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestSteps = Machine.TestCase
