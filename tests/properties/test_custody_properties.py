"""Bytes that are counted are bytes that are held: for any order of puts, fuller copies, ends, new ways and restarts."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.base.limits import RETRY_MS
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox
from fabric.protocol.envelope.layout import redact
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from tests.simulation.disk import Disk
from tests.support import EVERYTHING, T0, Authority, message, opened

AUTHORITY = Authority("custody")
ORIGINS = [AUTHORITY.issue(f"origin-{n}", grants=EVERYTHING) for n in range(2)]
ORIGINS[1] = replace(ORIGINS[1], credential=replace(ORIGINS[1].credential, issuers=("plant",)))
CREDENTIALS = {origin.credential.digest: origin.credential for origin in ORIGINS}
WAYS = ("^", "relay:a", "relay:b", "point:c/00")
RULES = {"a": Label.AMBER, "r": Label.RED}
MESSAGES = [
    opened(message(origin, records=[{"a": "a" * size, "r": "r" * 40, "g": 1}], rules=RULES, sequence=n), origin)
    for origin in ORIGINS
    for n, size in enumerate([1, 100, 1_000, 5_000])
]
QUOTA = 6_000
LABELS = (Label.GREEN, Label.AMBER, Label.RED)


def copy_of(n, label):
    """The copy that came by a relay with this clearance."""
    whole = MESSAGES[n]
    return whole.with_parts_of(redact(whole.envelope, whole.header.manifest, lambda entry: entry.label <= label))


class Accounts(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.disk = Disk()
        self._new_process()

    def _new_process(self) -> None:
        self.boxes = {name: Outbox(name, RETRY_MS) for name in WAYS}
        self.custody = Custody(lambda name: self.boxes[name], QUOTA)
        self.now_ms = T0

    def _write(self, ready: Ready) -> None:
        for op in ready.persist:
            self.disk._write(op)

    def _held(self) -> list[Held]:
        return list(self.custody._held.values())

    @rule(n=st.integers(0, 7), label=st.sampled_from(LABELS), ways=st.sets(st.sampled_from(WAYS), min_size=1))
    def copy_comes(self, n: int, label: Label, ways: set[str]) -> None:
        """As a relay takes it: new where there is room, else a repeat that may have more parts."""
        copy, ready = copy_of(n, label), Ready()
        known = self.custody.get(copy.id, Direction.UP)
        if known is not None:
            before, fuller = known.message, known.message.united_with(copy)
            taken = fuller is not before and self.custody.replace(known, fuller, ready)
            assert known.message is (fuller if taken else before), "where there is no room the first copy stays"
        elif not self.custody.no_room_for(copy):
            held = Held(copy, Direction.UP, copy.header.lane, 0, self.now_ms, self.now_ms + 60_000, ())
            self.custody.put(held, [(way, ()) for way in sorted(ways)], ready)
        self._write(ready)

    @rule(data=st.data())
    def one_is_sent(self, data: st.DataObject) -> None:
        box = self.boxes[data.draw(st.sampled_from(WAYS))]
        row = box.take(self.now_ms, [1 << 30] * len(Lane))
        if row is not None:
            box.sent(row, self.now_ms, row.held.size)

    @rule(data=st.data())
    def one_ends(self, data: st.DataObject) -> None:
        rows = [row for held in self._held() for row in held.rows.values()]
        if rows:
            ready = Ready()
            self.custody.end(data.draw(st.sampled_from(rows)), ready)
            self._write(ready)

    @rule(data=st.data(), way=st.sampled_from(WAYS))
    def one_goes_another_way(self, data: st.DataObject, way: str) -> None:
        rows = [row for held in self._held() for row in held.rows.values() if row.destination != way]
        if rows:
            row, ready = data.draw(st.sampled_from(rows)), Ready()
            self.custody.readdress(row.held, [row], [(way, ("somebody",))], ready)
            self._write(ready)

    @rule()
    def links_are_lost(self) -> None:
        for box in self.boxes.values():
            box.recall()

    @rule()
    def it_starts_again(self) -> None:
        self._new_process()
        for put in self.disk.held.values():
            found = open_envelope(put.envelope, CREDENTIALS, RootCache())
            held = Held(found, put.direction, put.lane, put.age_ms, put.received_at_ms, put.expires_at_ms, put.hops)
            self.custody.adopt(held, put.destinations, put.moved)

    @invariant()
    def counted_is_held(self) -> None:
        if not hasattr(self, "custody"):
            return
        lanes, origins, vouched = [0] * len(Lane), {}, {}
        for held in self._held():
            assert held.size == len(held.message.raw)
            if any(not row.sheddable for row in held.rows.values()):
                key = held.lane, held.message.header.origin
                lanes[held.lane] += held.size
                origins[key] = origins.get(key, 0) + held.size
                if key[1] == "origin-1":
                    vouched[held.lane, "plant"] = vouched.get((held.lane, "plant"), 0) + held.size
        assert self.custody.lane_bytes == lanes and dict(self.custody._origin_bytes) == origins
        assert dict(self.custody._voucher_bytes) == vouched
        for name, box in self.boxes.items():
            rows = [held.rows[name] for held in self._held() if name in held.rows]
            assert box.bytes == sum(len(row.held.message.raw) for row in rows)
            assert sum(box.in_flight_bytes) == sum(row.held.size for row in rows if row.sent_at_ms is not None)
            assert sum(box.queued_bytes(lane) for lane in Lane) == sum(row.held.size for row in rows if row.queued)


Accounts.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAccounts = Accounts.TestCase
