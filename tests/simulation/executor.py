"""A control point's program that executes: the pure parts of the real one, over a ledger that its crashes leave.

The steps of an action, what is made of what an earlier run left, and since when there is a ledger are the real ones
(`fabric.edge.ledger`); what threads, futures and a file do in production is here in one, on virtual time, with a moment
to die before and after each commit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric.edge.acting.cancelled import Cancelled
from fabric.edge.effects.reverting import Effect
from fabric.edge.handling.handlers import Answer, interrupted, refused, stamp_about
from fabric.edge.handling.replies import About, Reply
from fabric.edge.identity.identity import Defaults
from fabric.edge.ledger.beginning import Beginning
from fabric.edge.ledger.executions import Executions
from fabric.edge.ledger.recovering import Recovery
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.access.permissions import cancels
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ACTION_SPARE_MS, ID_BYTES, TTL_MAX_MS
from fabric.protocol.core.ledger_ops import (
    KeepCancelled,
    KeepIntent,
    KeepLease,
    LedgerOp,
)
from fabric.protocol.core.ready import Delivery, KeepCredential, Published, Ready, Repeated, SeenAction
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import End
from tests.simulation.ledger import Ledger
from tests.simulation.reverts import Reverts, lasts
from tests.support import HOUR_MS

if TYPE_CHECKING:
    from tests.simulation.world import SimNode, World

# Where a program may end: what came, the begin, or the answer is on disk or not yet; its handler was called or not yet.
POINTS = ("taken", "begin", "begun", "done", "kept", "reverted")
_LOOK_MS = 250
_KEPT_MS = TTL_MAX_MS["approval"] + 3 * (TTL_MAX_MS["action"] + ACTION_SPARE_MS)


class Executor:
    """Of one node, over its restarts. `takes_ms`: how long a handler may work at most."""

    def __init__(self, world: World, node: SimNode, takes_ms: int = 2_000) -> None:
        self._world = world
        self._node = node
        self._takes_ms = takes_ms
        self._chosen = random.Random(node.name)
        self.ledger = Ledger()
        self.policies = b""  # those in its folder
        self.dies_at = ""  # one of POINTS: the next time that it comes there
        self._sequence = 0
        self.start()

    @property
    def _now_ms(self) -> int:
        return self._node.now_ms(self._world.now_ms)

    # -- a run --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """It runs, or runs again, with what is on its disk."""
        core, now_ms, ledger = self._node.core, self._now_ms, self.ledger
        assert isinstance(core, Point)
        self._core = core
        if self.policies:
            core.trust.restore_policies(self.policies)
        core.action_room.is_open = True
        self._executions = Executions(core.action_room)
        self._beginning = Beginning(core.time)
        self._cancelled = Cancelled()
        self._waiting: dict[bytes, tuple[Delivery, int, bool]] = {}
        self._owed: list[LedgerOp] = []
        self._telling: dict[bytes, Callable[[], Sequence[LedgerOp]]] = {}  # by the id of a result: when it is held
        self._reverts = Reverts(
            self._node.name, core.time, self._chosen, self._later, self._reverted, self._tell_effect
        )
        tables = (ledger.intents, ledger.answers, ledger.leases, ledger.for_good)
        self._reverts.start([*ledger.lease_time, *(op for table in tables for op in table.values())], now_ms)
        ledger.since = [*ledger.since, *self._beginning.opened(ledger.since, now_ms, is_sound=True)]
        for raw in ledger.credentials.values():
            core.trust.restore_credential(raw)
        for cancelled in sorted(ledger.cancelled.values(), key=lambda op: op.until_ms):
            by = core.trust.credentials.get(cancelled.signer)
            if by is not None:
                ledger.write(self.was_cancelled(cancelled, by))
        core.restore([seen._replace(until_ms=now_ms + _KEPT_MS) for seen in ledger.seen.values()], now_ms)
        for kept in (ledger.intents, ledger.answers, ledger.told):
            for id_, op in kept.items():
                self._executions.restore(op, ledger.seen[id_].requester, now_ms + _KEPT_MS)
        answers = [op.answer for id_, op in ledger.answers.items() if id_ not in ledger.told]
        self._recovery = Recovery(core, self, list(ledger.intents.values()), answers, now_ms)
        self._look()
        self._write([])

    def _look(self) -> None:
        if not self._recovery.is_done(self._now_ms):
            self._later(_LOOK_MS, self._look)

    def _later(self, in_ms: int, step: Callable[[], None]) -> None:
        """In this run, if it lasts so long."""
        core = self._core
        self._world.after(in_ms, lambda: step() if self._node.alive and self._core is core else None)

    def _dies(self, where: str) -> bool:
        if self.dies_at != where:
            return self._world.dies(self._node)
        self.dies_at = ""
        self._world.crash(self._node.name, self._node.down_ms)
        return True

    # -- what comes ---------------------------------------------------------------------------------------

    def commit(self, ready: Ready) -> None:
        """Of a turn, before anything of it is acknowledged."""
        if self._core.trust.policies.raw:
            self.policies = self._core.trust.policies.raw
        self.ledger.since = list(self._beginning.settle(self._now_ms)) or self.ledger.since
        seen = {op.id: op for op in ready.persist if isinstance(op, SeenAction)}
        ops: list[LedgerOp | SeenAction | KeepCredential] = list(seen.values())
        for each in ready.deliver:
            if isinstance(each, Delivery) and each.message.header.kind is Kind.ACTION:
                message, until_ms = each.message, seen[each.message.id].until_ms
                intent = KeepIntent(
                    message.id, until_ms, each.age_ms, self._core.time.now(self._now_ms),
                    self._core.time.own(self._now_ms), each.hops, message.raw,
                )
                ops.append(self._executions.take(intent, message.header.origin, until_ms))
                ops.append(KeepCredential(message.credential.digest, message.credential.raw))
        if ops:
            self._write(ops)
            self._dies("taken")

    def _write(self, ops: Sequence[LedgerOp | SeenAction | KeepCredential]) -> None:
        owed, self._owed = self._owed, []
        leasing = self._reverts.leasing
        self.ledger.write([*ops, *owed, *leasing.look(self._now_ms)])
        leasing.committed()
        if leasing.due_ms is not None:
            self._later(max(1, leasing.due_ms - self._now_ms), self._effects_end)

    def _effects_end(self) -> None:
        due_ms = self._reverts.leasing.due_ms
        if due_ms is not None and due_ms <= self._now_ms:
            self._write([])

    def _reverted(self, lease: KeepLease, answer: Answer) -> None:
        if self._dies("reverted"):
            return
        if answer.end is End.COMPLETED:
            for observer in self._world.observers:
                observer.reverted(self._node, lease.id)
        self._write(self._reverts.leasing.reverted(lease.id, answer, self._now_ms))

    def _tell_effect(self, effect: Effect) -> None:
        held = partial(self._reverts.leasing.told, effect.id) if effect.is_last else list
        self._later(1, lambda: self._publish(effect.stamp, effect.record, held))

    due_ms: int | None = None  # its turns are steps of the simulation

    def look(self, now_ms: int) -> None:
        pass

    def take(self, delivery: Delivery) -> None:
        self._take(delivery, again=False)

    def take_again(self, delivery: Delivery) -> None:
        self._take(delivery, again=True)

    def was_cancelled(self, kept: KeepCancelled, by: Credential) -> list[KeepCancelled]:
        return self._cancelled.restore(kept, by, self._now_ms)

    def is_idempotent(self, topic: str) -> bool | None:
        del topic
        return False

    def hear(self, said: Published | Repeated) -> None:
        if isinstance(said, Published):
            self._published(said)
        else:
            self._repeated(said)

    def _repeated(self, again: Repeated) -> None:
        """As the ledger does: what it was told is told again."""
        kept = self.ledger.answers.get(again.id)
        if kept is not None and self._executions.repeats(again.id, again.link):
            self.tell_again(Reply.unpack(kept.answer))  # type: ignore[arg-type]

    def _take(self, delivery: Delivery, *, again: bool) -> None:
        header, message = delivery.message.header, delivery.message
        if cancelled := cancels(header):
            waits = self._waiting.pop(cancelled[:ID_BYTES], None)
            if waits is not None:
                about = About(waits[0].message.header, waits[0].message.leaf)
                self.answer(about, interrupted() if waits[2] else refused(Reject(Code.CANCELLED)))
            about, leasing = About(header, message.leaf), self._reverts.leasing
            if leasing.requester_of(cancelled[:ID_BYTES]) == header.origin:  # it has an effect: that is released
                self._write(leasing.release(cancelled[:ID_BYTES], lambda word: self.answer(about, Answer())))
                return
            self.ledger.write(self._cancelled.add(cancelled[:ID_BYTES], message, self._now_ms))
            self.answer(about, Answer())
        elif self._cancelled.has(message.id, header.origin, self._core.me, self._now_ms):
            self.answer(About(header, message.leaf), refused(Reject(Code.CANCELLED)))
        else:
            self._waiting[message.id] = delivery, self._now_ms, again
            self._later(self._chosen.choice([0, 20, 500, 3_000]), lambda: self._begin(message.id))

    # -- a handler ----------------------------------------------------------------------------------------

    def _late(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """As the real one asks immediately before."""
        core, now_ms, message = self._core, self._now_ms, delivery.message
        if core.time.suspect:
            return Reject(Code.CLOCK_SUSPECT)
        problem = core.judging.may_not_act(message, now_ms) or self._beginning.why_not(message.header, now_ms)
        return problem or core.judging.check_time(message, delivery.age_ms + now_ms - arrived_ms, now_ms)

    def _begin(self, id_: bytes) -> None:
        waits = self._waiting.pop(id_, None)
        if waits is None:
            return  # it was cancelled
        delivery, arrived_ms, again = waits
        about = About(delivery.message.header, delivery.message.leaf)
        late, lasting, leasing = self._late(delivery, arrived_ms), lasts(delivery), self._reverts.leasing
        execution = self._executions.get(id_)
        intent = execution.intent if execution is not None else None
        if lasting is not None and intent is not None and late is None:
            why_not = leasing.why_not(intent, about.header.origin, lasting, self._now_ms)
            if why_not is Code.BUSY:  # what it does is just being reverted
                self._waiting[id_] = waits
                self._later(_LOOK_MS, lambda: self._begin(id_))
                return
            late = None if why_not is None else Reject(why_not)
        ops = None if late is not None else self._executions.begin(id_)
        if ops is None:
            self.answer(about, interrupted() if again else refused(late or Reject(Code.NOT_KNOWN_HERE)))
            return
        if self._dies("begin"):
            return
        if lasting is not None and intent is not None:
            ops = [*ops, *leasing.begin(intent, about.header.origin, lasting, self._now_ms)]
        self._write(ops)
        if self._dies("begun"):
            return
        self._node.executed.append(id_)
        for observer in self._world.observers:
            observer.began(self._node, delivery.message)
        self._later(self._chosen.choice([1, 100, self._takes_ms]), lambda: self._returns(about))

    def _returns(self, about: About) -> None:
        for observer in self._world.observers:
            observer.did(self._node, about.id)
        self.answer(about, Answer())

    # -- answers ------------------------------------------------------------------------------------------

    def answer(self, about: About, answer: Answer) -> None:
        stamp = stamp_about(about.header, about.leaf, answer, Defaults())
        reply = Reply(stamp, answer.record(self._node.name), about.header.label)
        if self._dies("done"):
            return
        ops = self._executions.answer(reply.id, reply.pack(), lambda: reply.bare("").pack())
        self._write([*ops, *self._reverts.leasing.answered(reply.id, reply.record, self._now_ms)])
        if self._dies("kept"):
            return
        self.tell_again(reply)

    def tell_again(self, reply: Reply) -> None:
        held = partial(self._executions.tell, reply.id)
        self._later(1, lambda: self._publish(reply.stamp, reply.record, held))  # not within a turn of the core

    def _publish(self, stamp: Stamp, record: Mapping[str, Any], held: Callable[[], Sequence[LedgerOp]]) -> None:
        self._sequence += 1
        about = {
            "kind": Kind.RESULT, "topic": stamp.topic, "records": [record], "label": stamp.label,
            "to": stamp.to, "correlation": stamp.correlation, "severity": stamp.severity, "sequence": self._sequence,
            "ttl_ms": HOUR_MS, "state": stamp.state,
        }
        self._telling[self._world.publish(self._node.name, **about).id] = held

    def _published(self, said: Published) -> None:
        """Somebody else holds an answer. One that is refused stays open, and the next run tells it again."""
        held = self._telling.pop(said.id, None)
        if held is not None and said.refused is None:
            self._owed += held()
