"""What waits for readers sleeps on disk beyond the next of it, and wakes in its order, once, for each of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.core.ready import Ready, Tick
from fabric.protocol.custody.sessions import Sessions
from fabric.protocol.envelope.header import Kind
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Intro, Role, Routes
from fabric.spool.sleepers import Sleepers
from tests.driven import (
    ANNA,
    AUTHORITY,
    AWAKE,
    BOB,
    CARL,
    DAY,
    DORA,
    EVE,
    LARGE,
    PLANT,
    ZEEK,
    Driven,
    destination,
    session,
)
from tests.support import verified


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
    assert talk.read(talk.come(BOB), 80) == [*ids, *later]
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
    assert talk.read(talk.come(BOB), 90) == ids
    assert talk.spool._db.execute("SELECT count(*) FROM messages").fetchone() == (0,)


def test_who_was_forgotten_and_comes_back_gets_nothing_of_before_whatever_ends_its_relay(talk):
    """What slept goes from disk later, and a relay that ends before that has not forgotten who was forgotten."""
    talk.lose(talk.come(ANNA, keep_ms=1_000))
    talk.lose(talk.come(BOB))
    ids = talk.publish(range(30))
    talk.wait(1_500)
    link = talk.come(ANNA)
    talk.restart()
    later = talk.publish(range(30, 45))
    talk.restart()
    assert talk.asleep(ANNA) == 15 - AWAKE
    link = talk.come(ANNA)
    assert talk.read(link, 60) == later
    assert talk.read(talk.come(BOB), 120) == [*ids, *later]
    talk.spool.sweep(talk.now_ms)
    talk.spool.sweep(talk.now_ms)
    assert talk.spool._db.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    assert talk.spool._db.execute("SELECT count(*) FROM kept WHERE name LIKE 'ended %'").fetchone() == (0,)


def test_what_nobody_wants_goes_from_disk_in_parts_that_are_soon_read(talk, monkeypatch):
    talk.lose(talk.come(ANNA, keep_ms=1_000))
    talk.publish(range(30), records=LARGE)
    talk.wait(1_500)
    monkeypatch.setattr("fabric.spool.sleepers._UNWANTED_BYTES", 200_000)
    left = [26]
    while left[-1]:
        talk.spool.sweep(talk.now_ms)
        left += talk.spool._db.execute("SELECT count(*) FROM messages").fetchone()
    assert left == sorted(left, reverse=True) and len(left) >= 3


def test_what_runs_out_while_it_sleeps_ends_as_expired(talk):
    talk.lose(talk.come(ANNA, keep_ms=7 * DAY))
    talk.publish(range(30))
    talk.now_ms += DAY + 60_000
    talk.wait(20_000)
    assert talk.core.counters["ended:expired"] == 30 and talk.core.custody.readers_bytes == 0


@pytest.fixture
def slow(tmp_path):
    """More is awake than fits on a link at a time."""
    slow = Driven(tmp_path / "hq.db", awake=40)
    yield slow
    slow.spool.close()


@pytest.mark.parametrize("members", [(ANNA,), (ANNA, BOB)])
def test_what_wakes_while_others_of_its_lane_still_wait_goes_after_them(slow, members):
    for member in members:
        slow.lose(slow.come(member))
    ids = slow.publish(range(80), records=LARGE)
    for member in members:
        assert slow.read(slow.come(member), 120) == ids
    assert len(slow.core.custody) == slow.core.custody.readers_bytes == 0


def test_what_another_reader_has_is_not_taken_before_what_sleeps(slow):
    """Of what both are to get, what the other one has not taken yet is awake."""
    slow.lose(slow.come(BOB))
    link = slow.come(ANNA)
    ids = slow.publish(range(80), records=LARGE)
    assert slow.read(link, 120) == ids and slow.asleep(BOB) == 40
    more = slow.publish(range(80, 90), records=LARGE)
    assert len(slow.core.custody) == 50, "for her they are awake"
    assert slow.read(slow.come(BOB), 120) == [*ids, *more]
    assert slow.read(link, 20) == more and slow.core.custody.readers_bytes == 0


def test_what_nobody_else_waits_for_any_more_sleeps_whatever_became_of_it_there(slow):
    """Else somebody who leaves again and again would keep in memory what waits for others."""
    slow.lose(slow.come(BOB))
    slow.come(DORA)
    slow.publish(range(60))
    assert len(slow.core.custody) == 60
    slow.core.session_keeper.forget(destination(DORA), slow.now_ms, ready := Ready())
    slow.spool.commit(ready.persist)
    slow.step(Tick())
    assert len(slow.core.custody) == 40 and slow.asleep(BOB) == 20


def test_events_and_intel_of_an_origin_come_in_one_order(slow):
    slow.lose(slow.come(CARL))
    intel = {"kind": Kind.INTEL, "topic": "intel.ipv4", "label": Label.CLEAR}
    sensor, ids = slow.connect(ZEEK, Role.POINT, session=b"z" * 16), []
    for n in range(90):
        fields = {} if n % 3 else intel
        message = verified(ZEEK, sequence=n, issued_at_ms=slow.now_ms, ttl_ms=DAY, records=LARGE, **fields)
        slow.send(sensor, message)
        ids.append(message.id)
    slow.restart()
    assert slow.asleep(CARL) and slow.read(slow.come(CARL), 150) == ids


def test_readers_wake_in_turn(slow):
    """One who takes whatever comes keeps nobody else waiting."""
    for member in (ANNA, BOB):
        slow.lose(slow.come(member))
    ids = slow.publish(range(200), records=LARGE)
    links = [slow.come(member) for member in (ANNA, BOB)]
    got = {link: [] for link in links}
    for _ in range(250):
        for link in links:
            got[link] += slow.read(link, 1)
        assert abs(len(got[links[0]]) - len(got[links[1]])) <= 120
    assert got[links[0]] == got[links[1]] == ids


def test_less_is_kept_from_its_renewal_on_and_the_oldest_go(slow, monkeypatch):
    """Nothing that is new goes for it, and what goes is counted."""
    monkeypatch.setattr("fabric.protocol.relay.messages.readers._SHED_ROWS", 10)
    monkeypatch.setattr("fabric.protocol.custody.sleeping.AWAKE_BYTES", 100_000)
    link = slow.come(ANNA)
    slow.lose(link)
    ids = slow.publish(range(100), records=LARGE)
    monkeypatch.setattr(Sessions, "keep", lambda *_: Keep(1_000_000))
    link = slow.come(ANNA)
    slow.lose(link)
    ids += slow.publish(range(100, 103), records=LARGE)
    slow.wait(10_000)
    outbox = slow.core.outboxes[destination(ANNA)]
    assert slow.core.custody.waiting_bytes(outbox) <= 1_000_000
    lost = slow.core.counters["ended:subscriber_slow"]
    assert lost == 103 - 1_000_000 // (outbox.bytes // len(outbox.rows()))
    assert slow.read(slow.come(ANNA), 80) == ids[lost:]


def test_who_waits_loses_nothing_where_less_is_kept_from_its_renewal_on(slow, monkeypatch):
    """It gets nothing new until it has read enough."""
    slow.lose(slow.come(EVE))
    ids = slow.publish(range(60), records=LARGE)
    monkeypatch.setattr(Sessions, "keep", lambda *_: Keep(100_000, DAY, waits=True))
    slow.lose(slow.come(EVE))
    slow.publish([60], records=LARGE)
    slow.wait(10_000)
    assert slow.core.counters["ended:subscriber_slow"] == 0 and slow.core.counters["waits:event"] == 1
    assert slow.read(slow.come(EVE), 90) == ids


def test_what_a_reader_may_no_longer_see_when_it_wakes_is_withheld(slow):
    """Its clearance counts as it is when a message leaves, not as it was when it fell asleep."""
    link = slow.come(ANNA)
    slow.lose(link)
    green = slow.publish(range(30), records=LARGE)
    slow.publish(range(30, 60), records=LARGE, label=Label.AMBER)
    assert slow.asleep(ANNA) == 20
    lower = AUTHORITY.issue("anna", grants=ANNA.credential.grants, clearance=Label.GREEN, serial=2)
    assert slow.read(slow.come(lower), 150) == green
    assert slow.core.counters["ended:withheld"] == 30 and slow.core.custody.readers_bytes == 0


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
    monkeypatch.setattr("fabric.protocol.relay.messages.readers.POINT_QUOTA_BYTES", 3_000)
    talk.core.readers.have(12_000)
    for member in (ANNA, BOB):
        talk.lose(talk.come(member))
        talk.publish(range(0 if member is ANNA else 100, 60 if member is ANNA else 160))
        talk.wait(1_000)
    waiting = [talk.core.custody.waiting_bytes(talk.core.outboxes[destination(m)]) for m in (ANNA, BOB)]
    assert sum(waiting) <= 12_000 and min(waiting) > 2_000 and talk.core.counters["ended:subscriber_slow"] > 0
    assert all(talk.core.sessions.is_away(destination(member)) for member in (ANNA, BOB))


@settings(deadline=None, max_examples=20)
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


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from(["publish", "come", "lose", "read", "restart"]), max_size=14))
def test_who_waits_loses_nothing_whatever_happens_also_of_what_sleeps(tmp_path_factory, deeds):
    talk = Driven(tmp_path_factory.mktemp("sleepers") / "hq.db")
    patch = pytest.MonkeyPatch()
    patch.setattr(Sessions, "keep", lambda *_: Keep(12_000, DAY, waits=True))
    patch.setattr(Sessions, "keeps_much", lambda *_: True)
    try:
        link, got, offered = talk.come(EVE), [], 0
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
                    link = talk.come(EVE)
                case "lose" if link is not None:
                    link = talk.lose(link)
                case "read" if link is not None:
                    got += talk.read(link, 60)
                    talk.now_ms += 300
                case "restart":
                    talk.restart()
                    link = None
            outbox = talk.core.outboxes.get(destination(EVE))
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
                sleepers.asleep.add("r", 0, 5, n)
                sleepers.put(n, 0, 5, ["r"])
                known.add(n)
        else:
            sleepers.woke(n, 0, ["r"])
            known.discard(n)
        assert list(sleepers.due("r", (0, 1))) == sorted(known)
        assert (sleepers.asleep.rows_in("r", 0), sleepers.asleep.bytes) == (len(known), 5 * len(known))


@pytest.mark.parametrize("kinds", [(Kind.EVENT, Kind.INTEL), (Kind.INTEL, Kind.EVENT)])
def test_after_a_restart_no_more_of_a_lane_is_awake_than_before_it(slow, kinds):
    """Events and intel sleep in queues of their own, and are of one lane."""
    slow.lose(slow.come(CARL))
    fields = {Kind.EVENT: {}, Kind.INTEL: {"kind": Kind.INTEL, "topic": "intel.x"}}
    ids = slow.publish(range(40), records=LARGE, **fields[kinds[0]])
    ids += slow.publish(range(40, 90), records=LARGE, **fields[kinds[1]])
    before = len(slow.core.outboxes[destination(CARL)].rows())
    slow.restart()
    after = len(slow.core.outboxes[destination(CARL)].rows())
    assert after <= max(before, 40), (before, after)
    assert slow.read(slow.come(CARL), 200) == ids
