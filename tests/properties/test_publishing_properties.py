"""What a program publishes, in any order of giving, cancelling, sealing, and a relay's answers: each record ends once,
the counts are right, and no source passes what is not on disk."""

from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.publishing import lanes
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Draft, Position, Stamp
from fabric.edge.publishing.intake import Entry, Intake
from fabric.edge.publishing.receipts import Many
from fabric.edge.publishing.recipients import Recipients
from fabric.edge.publishing.snapshot import Snapshot
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import KeepPosition, Published, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.publishing import publishing
from tests.support import EVERYTHING, T0, Authority, entropy

ME = (AUTHORITY := Authority("publishing")).issue("zeek-1", grants=EVERYTHING)
STAMPS = [
    Stamp(Kind.EVENT, topic, severity, Phase.NONE, 86_400_000, Label.GREEN)
    for topic in ("detections.x", "detections.slow") for severity in (Severity.LOW, Severity.HIGH)
]
SOURCES = ("log", "queue")
LARGE = 5_000
RECORDS = st.tuples(
    st.sampled_from(STAMPS), st.sampled_from(["good", "good", "large", "bad"]), st.sampled_from([None, *SOURCES])
)


class Clock:
    def now_ms(self):
        return T0


class Outbox:
    def check_source(self, source):
        """There is room for each."""


class Machine(RuleBasedStateMachine):
    @initialize(durable=st.booleans())
    def begin(self, durable):
        self.patches = [mock.patch.object(lanes, "WAITING_MAX", 7), mock.patch.object(lanes, "BYTES_MAX", 3 * LARGE)]
        for patch in self.patches:
            patch.start()
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
        recipients = Recipients(self.core, entropy("keys"))
        composer = Composer(ME.credential, ME.signer, RootCache(), entropy("composer"), recipients=recipients.keys_of)
        self.made = publishing(self.core, composer, AwaitingKeys(self.core, recipients))
        self.counts = self.made.lanes.counts
        self.made.in_flight.durable = self.durable = durable
        self.mailbox = Mailbox()
        self.intake = Intake(Clock(), self.mailbox, self.made.lanes, self.made.sources)
        if durable:
            self.intake.keeps(Outbox())
        self.now_ms = T0
        self.given = dict.fromkeys(SOURCES, 0)
        self.ended = {source: {} for source in SOURCES}  # number -> whether it is dealt with
        self.passed = dict.fromkeys(SOURCES, 0)
        self.futures, self.manies, self.begun = [], [], []

    def record(self, kind, source):
        """A record, its position, and the same for the model."""
        position = None
        if source is not None and self.durable:
            self.given[source] += 1
            position = Position(source, str(self.given[source]))
        content = {"n": object() if kind == "bad" else 1}
        return Snapshot(content, LARGE if kind == "large" else 20), position

    def deal(self, position, is_dealt_with):
        if position is not None:
            self.ended[position.source][int(position.position)] = is_dealt_with

    @rule(record=RECORDS)
    def publish(self, record):
        stamp, kind, source = record
        snapshot, position = self.record(kind, source)
        try:
            future = self.intake.publish(stamp, snapshot, position, 0.0)
        except FabricError as busy:
            assert busy.code is Code.BUSY
            self.deal(position, lambda: True)
        else:
            self.futures.append(future)
            self.deal(position, future.done)

    @rule(records=st.lists(RECORDS, max_size=12), refused=st.integers(0, 20))
    def publish_many(self, records, refused):
        entries = []
        for number, (stamp, kind, source) in enumerate(records):
            error = FabricError(Code.BAD_INPUT) if number == refused else None
            entries.append(Entry(stamp, *self.record(kind, source), error))
        many = self.intake.publish_many(entries, 0.0)
        assert many.taken <= len(entries)
        self.manies.append(many)
        for number, entry in enumerate(entries):
            self.deal(entry.position, lambda many=many, number=number: many.outcomes()[number] is not None)

    @rule(record=RECORDS)
    def begin_one(self, record):
        stamp, kind, source = record
        snapshot, position = self.record(kind, source)
        draft = self.intake.begin(stamp, snapshot, position)
        self.begun.append(draft)
        self.deal(position, draft.token.done)

    @rule(which=st.integers(0, 5), adds=st.booleans())
    def add_or_drop(self, which, adds):
        if which >= len(self.begun):
            return
        draft: Draft = self.begun.pop(which)
        try:
            if not adds:
                raise FabricError(Code.BUSY)
            self.intake.add(draft, 0.0)
        except FabricError:
            self.intake.drop(draft)
        else:
            self.futures.append(draft.token)

    @rule(source=st.sampled_from(SOURCES))
    def pass_over(self, source):
        if self.durable:
            _, position = self.record("good", source)
            self.intake.pass_over(position)
            self.deal(position, lambda: True)

    @rule(which=st.integers(0, 10))
    def cancel(self, which):
        if which < len(self.futures):
            self.futures[-1 - which].cancel()

    @rule(which=st.integers(0, 3))
    def withdraw(self, which):
        if which < len(self.manies):
            many: Many = self.manies[-1 - which]
            many.withdraw(FabricError(Code.BUSY))

    @rule()
    def turn(self):
        ready = Ready()
        self.mailbox.run(self.now_ms, ready)
        self.made.publisher.compose(self.now_ms, ready)
        self.mailbox.run(self.now_ms, ready)
        kept = {op.source: int(op.position) for op in ready.persist if isinstance(op, KeepPosition)}
        self.made.publisher.committed()
        self.hear(ready)
        for source, number in kept.items():
            assert number > self.passed[source], "it goes forward"
            self.passed[source] = number
            waits = [n for n, is_dealt_with in self.ended[source].items() if n <= number and not is_dealt_with()]
            assert not waits, "it is past what is not on disk"

    def hear(self, ready):
        for delivered in ready.deliver:
            if isinstance(delivered, Published):
                self.made.publisher.published(delivered)

    @rule(most=st.integers(1, 4), refuses=st.booleans(), is_full=st.booleans())
    def relay_answers(self, most=1 << 20, refuses=False, is_full=False):
        box, now_ms = self.core.outboxes[UPLINK], self.now_ms
        self.now_ms += 1_000  # long enough for who holds something back to be asked again
        while most and (row := box.take(now_ms, [1 << 40] * len(Lane))) is not None:
            most -= 1
            box.sent(row, now_ms, 1)
            box.settle(row.sent_as, now_ms)
            if is_full and row.held.message.header.topic == "detections.slow":
                self.core.on_put_off(row, Reject(Code.BUSY, "anna waits"))
                box.hold_back(row, "anna", now_ms, now_ms + 200)
            else:
                ready = Ready()
                self.core.on_settled(row, Reject(Code.PUBLISH_DENIED) if refuses else None, now_ms, ready)
                self.hear(ready)

    @invariant()
    def what_is_counted_is_there(self):
        if not hasattr(self, "made"):
            return
        queued = sum(map(len, self.made.lanes._queued))
        open_ = [each for each in self.futures if not each.done()]
        open_ += [outcome for many in self.manies for outcome in many.outcomes() if outcome is None]
        assert len(open_) <= self.counts.owed <= self.counts.waiting
        assert not self.counts.without_place and self.counts.under_way >= self.counts._open >= 0
        for lane in Lane:
            waits = [*self.made.lanes._queued[lane], *(d for of in self.made.lanes._aside[lane].values() for d in of)]
            assert sum(d.size for d in waits if d.size >= lanes.LARGE_BYTES) == self.made.lanes._large_bytes[lane]
            assert len(waits) <= lanes.WAITING_MAX and self.made.lanes._large_bytes[lane] < lanes.BYTES_MAX + LARGE
        assert queued <= self.counts.waiting

    def teardown(self):
        if not hasattr(self, "made"):
            return
        while self.begun:
            self.add_or_drop(0, adds=False)
        for _ in range(40):
            self.turn()
            self.relay_answers()
        assert (self.counts.owed, self.counts.waiting, self.counts.under_way, self.counts._open) == (0, 0, 0, 0)
        assert self.made.lanes._large_bytes == self.made.lanes._aside_records == [0 for _ in Lane]
        assert not self.made.lanes and not self.made.sources._begun and not self.made.in_flight
        assert all(future.done() for future in [*self.futures, *(many.future for many in self.manies)])
        self.mailbox.close()
        for patch in self.patches:
            patch.stop()


TestPublishing = Machine.TestCase
TestPublishing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
