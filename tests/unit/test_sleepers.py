"""What waits for readers sleeps on disk beyond the next of it, and wakes in its order, once, for each of them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.spool import Spool
from fabric.edge.spool.sleepers import Sleepers
from fabric.protocol.core.ready import Tick
from fabric.protocol.custody.sessions import Sessions, point_session
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Intro, Role, Routes
from tests.conversation import Conversation
from tests.support import EVERYTHING, T0, Authority, entropy, verified

AUTHORITY = Authority("sleepers")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
READS = Grants(subscribe=("detections.>",), keep=Keep(2**26))
ANNA, BOB = (AUTHORITY.issue(name, grants=READS) for name in ("anna", "bob"))
DORA = AUTHORITY.issue("dora", grants=replace(READS, keep=Keep(2**26, waits=True)))
CARL = AUTHORITY.issue("carl", grants=replace(EVERYTHING, keep=Keep(2**26)))
PLANT = AUTHORITY.issue("plant", NodeKind.RELAY)
DAY = 86_400_000
AWAKE = 4


class Driven(Conversation):
    """A root with a spool, driven as a relay drives its core."""

    def __init__(self, path):
        self.path = path
        self.epoch = 0
        self.start()

    def start(self):
        """From what is on disk, as after a crash."""
        core = Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"), ())
        now_ms, links = getattr(self, "now_ms", T0), getattr(self, "_links", 0)
        Conversation.__init__(self, core)
        self.now_ms, self._links = now_ms, links
        self.spool = Spool(self.path, awake_max=AWAKE, ballast_bytes=0)
        core.restore(self.spool.load(self.now_ms), self.now_ms)
        core.readers_sleep(self.spool.readers_asleep, AWAKE, self.now_ms)

    def restart(self):
        self.spool.close()
        self.start()

    def step(self, event):
        due = self.core.sleeping.due()
        if due is not None:
            self.core.restore(self.spool.wake_reader(*due), self.now_ms)
            self.spool.commit(self.core.woken(self.now_ms).persist)
        ready = super().step(event)
        self.spool.commit(ready.persist)
        return ready

    def come(self, member, keep_ms=DAY):
        link = self.connect(member, Role.POINT, session=session(member))
        self.epoch += 1
        patterns = ("detections.>",) if member is not CARL else ("detections.>", "intel.>")
        raw = sign_attachment(
            member.credential, member.signer, session(member), "hq", self.epoch, False, patterns, keep_ms
        )
        self.say(link, Intro([member.credential.raw]))
        self.say(link, Routes(1, True, [raw], []))
        return link

    def asleep(self, member):
        return self.spool.readers_asleep.rows_of(destination(member))

    def publish(self, numbers, **fields):
        sensor = self.connect(ZEEK, Role.POINT, session=b"z" * 16)
        sent = [verified(ZEEK, sequence=n, issued_at_ms=self.now_ms, ttl_ms=DAY, **fields) for n in numbers]
        for message in sent:
            self.send(sensor, message)
        self.lose(sensor)
        return [message.id for message in sent]

    def read(self, link, turns):
        """Take and acknowledge whatever comes in so many turns: the ids in order."""
        got = []
        for _ in range(turns):
            ids = [id_of(item.envelope) for item in self.items(link)]
            got += ids
            if ids:
                self.say(link, Ack(ids))
            self.step(Tick())
        return got


def session(member):
    return member.id.encode().ljust(16, b".")


def destination(member):
    return point_session(member.id, session(member))


def id_of(raw):
    message = open_envelope(raw, {ZEEK.credential.digest: ZEEK.credential}, RootCache())
    assert isinstance(message, Verified)
    return message.id


@pytest.fixture
def talk(tmp_path):
    talk = Driven(tmp_path / "hq.db")
    yield talk
    talk.spool.close()


def test_beyond_the_next_of_it_what_waits_sleeps_and_comes_in_its_order_once(talk):
    talk.lose(talk.come(ANNA))
    ids = talk.publish(range(30))
    assert talk.asleep(ANNA) == 30 - AWAKE and len(talk.core.custody) == AWAKE
    assert talk.read(talk.come(ANNA), 60) == ids
    assert talk.asleep(ANNA) == 0 == len(talk.core.custody) == talk.core.custody.readers_bytes
    assert talk.spool._db.execute("SELECT count(*) FROM messages").fetchone() == (0,)


def test_what_slept_at_the_end_of_a_relay_sleeps_at_its_next_start(talk):
    talk.lose(talk.come(ANNA))
    ids = talk.publish(range(30))
    waiting_bytes = talk.core.custody.readers_bytes
    talk.restart()
    assert talk.asleep(ANNA) == 30 - AWAKE and talk.core.custody.readers_bytes == waiting_bytes
    assert talk.read(talk.come(ANNA), 60) == ids


def test_two_readers_share_what_sleeps_and_each_gets_it_once(talk):
    for member in (ANNA, BOB):
        talk.lose(talk.come(member))
    ids = talk.publish(range(30))
    assert talk.asleep(ANNA) == talk.asleep(BOB) == 30 - AWAKE
    assert talk.read(talk.come(ANNA), 80) == ids
    assert talk.asleep(ANNA) == 0
    later = talk.publish(range(30, 35))
    talk.restart()
    assert sorted(talk.read(talk.come(BOB), 80)) == sorted([*ids, *later])
    assert talk.asleep(BOB) == 0
    assert talk.read(talk.come(ANNA), 20) == later


def test_who_is_forgotten_leaves_nothing_on_disk_and_others_keep_theirs(talk):
    talk.lose(talk.come(ANNA, keep_ms=1_000))
    talk.lose(talk.come(BOB))
    ids = talk.publish(range(30))
    talk.wait(1_500)
    assert talk.asleep(ANNA) == 0 and talk.core.counters["ended:subscriber_gone"] == 30
    talk.spool.sweep(talk.now_ms)
    talk.restart()
    assert talk.asleep(ANNA) == 0
    assert sorted(talk.read(talk.come(BOB), 90)) == sorted(ids)
    assert talk.spool._db.execute("SELECT count(*) FROM messages").fetchone() == (0,)


def test_what_runs_out_while_it_sleeps_ends_as_expired(talk):
    talk.lose(talk.come(ANNA, keep_ms=7 * DAY))
    talk.publish(range(30))
    talk.now_ms += DAY + 60_000
    talk.wait(20_000)
    assert talk.core.counters["ended:expired"] == 30 and talk.core.custody.readers_bytes == 0


def test_a_new_credential_counts_as_soon_as_its_node_says_where_it_is(talk):
    link = talk.come(ANNA)
    renewed = AUTHORITY.issue("anna", grants=Grants(subscribe=("detections.>",), keep=Keep(2**22)), serial=2)
    raw = sign_attachment(renewed.credential, ANNA.signer, session(ANNA), "hq", 9, False, ("detections.>",), DAY)
    talk.say(link, Intro([renewed.credential.raw]))
    talk.say(link, Routes(2, False, [raw], []))
    assert talk.core.sessions.keep(destination(ANNA)) == Keep(2**22)


def test_intel_that_sleeps_follows_a_reader_who_moved_and_events_wait_for_it(talk):
    talk.lose(talk.come(CARL))
    events = talk.publish(range(12))
    talk.publish(range(12, 42), kind=Kind.INTEL, topic="intel.ipv4", label=Label.CLEAR)
    assert talk.asleep(CARL) == 42 - AWAKE
    plant = talk.connect(PLANT, Role.CHILD, session=b"p" * 16)
    talk.place(plant, PLANT, "hq", session=b"p" * 16)
    talk.attach(plant, CARL, "plant", "detections.>", "intel.>", session=session(CARL), epoch=talk.epoch + 1)
    talk.wait(10_000)
    followed = talk.read(plant, 60)
    assert len(set(followed)) == 30 and not set(followed) & set(events), "what is not answered comes again"
    assert talk.asleep(CARL) == 12 - AWAKE


def test_what_a_relay_has_for_its_readers_is_all_that_they_get_beyond_what_everybody_has(talk, monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.holding.POINT_QUOTA_BYTES", 3_000)
    talk.core.readers_bytes_max = 12_000
    for member in (ANNA, BOB):
        talk.lose(talk.come(member))
        talk.publish(range(0 if member is ANNA else 100, 60 if member is ANNA else 160))
        talk.wait(1_000)
    waiting = [talk.core.custody.waiting_bytes(talk.core.outboxes[destination(m)]) for m in (ANNA, BOB)]
    assert sum(waiting) <= 12_000 and min(waiting) > 2_000 and talk.core.counters["ended:subscriber_slow"] > 0
    assert {name: r["away"] for name, r in talk.core.readers().items()} == {"anna": True, "bob": True}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["publish", "come", "lose", "read", "restart"]), max_size=14))
def test_whatever_happens_it_is_never_more_than_it_may_keep_and_what_comes_comes_once(tmp_path_factory, deeds):
    """Of a small share the oldest go, and are counted; nothing else is lost."""
    talk = Driven(tmp_path_factory.mktemp("sleepers") / "hq.db")
    patch = pytest.MonkeyPatch()
    patch.setattr(Sessions, "keep", lambda *_: Keep(12_000))
    try:
        link, sent, got = talk.come(ANNA), [], []
        for deed in [*deeds, "lose", "come", "read"]:
            match deed:
                case "publish":
                    sent += talk.publish(range(len(sent), len(sent) + 9))
                case "come" if link is None:
                    link = talk.come(ANNA)
                case "lose" if link is not None:
                    link = talk.lose(link)
                case "read" if link is not None:
                    got += talk.read(link, 40)
                case "restart":
                    talk.restart()
                    link = None
            outbox = talk.core.outboxes.get(destination(ANNA))
            talk.step(Tick())
            assert outbox is None or talk.core.custody.waiting_bytes(outbox) <= 12_000
        assert len(set(got)) == len(got) or "restart" in deeds, "a repeat only of what was under way at a crash"
        lost = talk.core.counters["ended:subscriber_slow"]
        assert set(got) <= set(sent) and (lost or "restart" in deeds or set(got) == set(sent))
    finally:
        patch.undo()
        talk.spool.close()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["publish", "come", "lose", "read", "restart"]), max_size=14))
def test_who_waits_loses_nothing_whatever_happens_also_of_what_sleeps(tmp_path_factory, deeds):
    talk = Driven(tmp_path_factory.mktemp("sleepers") / "hq.db")
    patch = pytest.MonkeyPatch()
    patch.setattr(Sessions, "keep", lambda *_: Keep(12_000, DAY, waits=True))
    patch.setattr(Sessions, "keeps_much", lambda *_: True)
    try:
        link, got, offered = talk.come(DORA), [], 0
        waits = lambda: talk.core.counters["waits:event"]  # noqa: E731
        taken = []
        for deed in [*deeds, "publish", "lose", "come", "read"]:
            match deed:
                case "publish":
                    for _ in range(9):
                        before = waits()
                        talk.now_ms += 20  # each is a connection of its own, and they are admitted in turn
                        ids = talk.publish([offered])
                        offered += 1
                        taken += ids if waits() == before else []
                case "come" if link is None:
                    link = talk.come(DORA)
                case "lose" if link is not None:
                    link = talk.lose(link)
                case "read" if link is not None:
                    got += talk.read(link, 60)
                    talk.now_ms += 300
                case "restart":
                    talk.restart()
                    link = None
            outbox = talk.core.outboxes.get(destination(DORA))
            talk.step(Tick())
            assert outbox is None or talk.core.custody.waiting_bytes(outbox) <= 12_000 + 1_000
            assert talk.core.counters["ended:subscriber_slow"] == 0
        assert set(got) == set(taken), "what was taken came, and nothing else"
        assert len(got) == len(taken) or "restart" in deeds
    finally:
        patch.undo()
        talk.spool.close()


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_a_queue_is_like_a_sorted_set(deeds):
    sleepers, known = Sleepers(4), set()
    for n, puts in deeds:
        if puts:
            if n not in known:
                sleepers.asleep.add("r", 0, 5)
                sleepers.put(n, 0, 5, ["r"])
                known.add(n)
        else:
            sleepers.woke(n, 0, ["r"])
            known.discard(n)
        assert sleepers.due("r", 0) == sorted(known)
        assert (sleepers.asleep.rows_in("r", 0), sleepers.asleep.bytes) == (len(known), 5 * len(known))
