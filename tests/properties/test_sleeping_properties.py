"""Whatever becomes of durable readers and of their relay, each gets what was for it once and in its order, but for what
a gap marker counts, and no relay has more in memory, or for a reader, than it may."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.core.ready import Tick
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import GAP_TOPIC
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.credentials import Grants, Keep
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Ping, Role
from tests.driven import AUTHORITY, HQ, ZEEK, Driven, destination
from tests.support import verified

AWAKE, WAKE_ROWS, WAKE_BYTES = 6, 3, 150_000
MUCH, LITTLE = Keep(2**26), Keep(2**20)
PATTERNS = ("detections.>", "intel.>")
LARGE = [{"x": "".join(f"{n * n * 7919:x}" for n in range(9_000))}]
SIGNERS = {member.credential.digest: member.credential for member in (HQ, ZEEK)}
NAMES = ("anna", "bob", "dora")


def issued(name: str, keep: Keep | None, serial: int):
    return AUTHORITY.issue(name, grants=Grants(subscribe=PATTERNS, keep=keep), serial=serial)


@contextmanager
def small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fabric.spool.sleepers._WAKE_ROWS", WAKE_ROWS)
        patch.setattr("fabric.protocol.relay.messages.readers._SHED_ROWS", 7)
        patch.setattr("fabric.protocol.relay.messages.readers.AWAKE_BYTES", WAKE_BYTES)
        patch.setattr("fabric.protocol.custody.sleeping.AWAKE_BYTES", WAKE_BYTES)
        yield


class Readers(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.patches = small_steps()
        self.patches.__enter__()
        self.talk = Driven(Path(self.folder.name) / "hq.db", awake=AWAKE)
        self.members = {name: issued(name, None if name == "dora" else MUCH, 1) for name in NAMES}
        self.links: dict[str, int | None] = dict.fromkeys(NAMES)
        self.due: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.got: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.lost = dict.fromkeys(NAMES, 0)
        self.behind: set[bytes] = set()
        self.sent = self.sensors = self.serial = 0
        for name in NAMES:
            self.come(name)

    def teardown(self):
        if hasattr(self, "talk"):
            self.finish()
            self.talk.spool.close()
            self.patches.__exit__(None, None, None)
            self.folder.cleanup()

    # -- deeds ------------------------------------------------------------------------------------------

    @rule(rows=st.integers(1, 14), intel=st.booleans(), severity=st.sampled_from([1, 3, 4]))
    def publish(self, rows, intel, severity):
        fields = {"kind": Kind.INTEL, "topic": "intel.ipv4", "label": Label.CLEAR} if intel else {}
        self.sensors += 1
        sensor = self.talk.connect(ZEEK, Role.POINT, session=b"%016d" % self.sensors)
        for _ in range(rows):
            message = self._message(severity=severity, **fields)
            self.talk.send(sensor, message)
        self.talk.lose(sensor)

    def _message(self, **fields):
        message = verified(ZEEK, sequence=self.sent, issued_at_ms=self.talk.now_ms, ttl_ms=86_400_000, records=LARGE,
                           **fields)
        self.sent += 1
        for name in NAMES:
            self.due[name].append((message.header.lane, message.id))
        return message

    @rule(name=st.sampled_from(NAMES))
    def come(self, name):
        if self.links[name] is None:
            self.links[name] = self.talk.come(self.members[name], patterns=PATTERNS)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name):
        if self.links[name] is not None:
            self.talk.lose(self.links[name])
            self.links[name] = None

    @rule(name=st.sampled_from(NAMES), turns=st.integers(1, 12))
    def read(self, name, turns):
        for _ in range(turns if self.links[name] is not None else 0):
            self._take(name)
            self.talk.step(Tick())

    def _take(self, name) -> bool:
        items = self.talk.items(self.links[name])
        acks = []
        # What waited unread for long was sent again: a reader takes it once.
        for item in dict.fromkeys(item._replace(age_ms=0, hops=(), targets=()) for item in items):
            message = open_envelope(item.envelope, SIGNERS, RootCache())
            assert isinstance(message, Verified)
            acks.append(message.id)
            if message.header.topic == GAP_TOPIC:
                self.lost[name] += read_records(message.header, message.envelope.parts)[0].content["lost"]
            else:
                self.got[name].append(message.id)
        if acks:
            self.talk.say(self.links[name], Ack(acks))
        return bool(items)

    @rule()
    def restart(self):
        self.talk.restart()
        self.links = dict.fromkeys(NAMES)

    @rule()
    def kill_before_a_commit(self):
        """What it was about to take is sent again, and some of what it was about to let go is given again."""
        self.sensors += 1
        sensor = self.talk.connect(ZEEK, Role.POINT, session=b"%016d" % self.sensors)
        self.talk.say(sensor, Intro([ZEEK.credential.raw]))
        message = self._message()
        frame = encode_frame(Data(message.header.lane, self.talk.now_ms, [Item(Direction.UP, 0, [], [], message.raw)]))
        core = self.talk.core
        core.step(core.read(sensor, frame), self.talk.now_ms)
        core.step(Tick(), self.talk.now_ms)
        self.restart()
        self.sensors += 1
        self.talk.send(self.talk.connect(ZEEK, Role.POINT, session=b"%016d" % self.sensors), message)

    @rule(keep=st.sampled_from([MUCH, LITTLE]))
    def renew(self, keep):
        self.serial += 1
        self.members["anna"] = issued("anna", keep, 1 + self.serial)
        if self.links["anna"] is not None:
            self.leave("anna")
            self.come("anna")

    @rule(ms=st.sampled_from([300, 3_000]))
    def wait(self, ms):
        """Those who are here say that they are: a silent one's link ends."""
        self.talk.wait(ms)
        for link in self.links.values():
            if link is not None:
                self.talk.say(link, Ping(self.talk.now_ms))

    # -- promises ---------------------------------------------------------------------------------------

    @invariant()
    def each_gets_what_is_for_it_once_and_in_order(self):
        for name in NAMES if hasattr(self, "talk") else ():
            got = self.got[name]
            assert len(set(got)) == len(got), f"{name} got something twice"
            lane_of = {id_: lane for lane, id_ in self.due[name]}
            for lane in set(lane_of.values()):
                place = {id_: n for n, (_, id_) in enumerate(self.due[name])}
                places = [place[id_] for id_ in got if lane_of[id_] == lane]
                assert places == sorted(places), f"{name}, {lane}: {places}"

    @invariant()
    def no_more_is_awake_than_may_go_next(self):
        """What is awake for a reader of whom less is kept waits behind bob's gate, and goes all at once."""
        outbox = self.talk.core.outboxes.get(destination(self.members["bob"])) if hasattr(self, "talk") else None
        rows = [(row, row.held.message.id) for row in (outbox.rows() if outbox is not None else ())]
        self.behind = {id_ for row, id_ in rows if row.gated or id_ in self.behind}
        own = [row.held.lane for row, id_ in rows if row.queued and not row.gated and id_ not in self.behind]
        assert all(own.count(lane) <= AWAKE + 1 + WAKE_ROWS for lane in Lane)

    def finish(self):
        talk = self.talk
        for name in NAMES:
            self.come(name)
        for _ in range(60):
            self.wait(250)
            took = [self._take(name) for name in NAMES]
            if not any(took) and not talk.core.custody.readers_bytes:
                talk.wait(250)
                took = [self._take(name) for name in NAMES]
                if not any(took):
                    break
            for _ in range(10):
                for name in NAMES:
                    self._take(name)
                    talk.step(Tick())
        for name in NAMES:
            missing = {id_ for _, id_ in self.due[name]} - set(self.got[name])
            assert len(missing) == self.lost[name], f"{name}: {len(missing)} are missing, {self.lost[name]} counted"
        self.each_gets_what_is_for_it_once_and_in_order()
        assert talk.core.custody.readers_bytes == 0 == len(talk.core.custody)
        assert talk.spool._db.execute("SELECT count(*) FROM messages").fetchone() == (0,)


Readers.TestCase.settings = settings(max_examples=5, stateful_step_count=20, deadline=None,
                                     suppress_health_check=list(HealthCheck))
TestReaders = Readers.TestCase
