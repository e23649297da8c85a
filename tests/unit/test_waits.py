"""For whom a relay holds what it holds, how much, and since when; and how `fabric status` says it."""

import pytest

from fabric.protocol.core.ready import Tick
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Role
from relays.cli.tree.waits import lines_of
from relays.process.waits import NAMED_MAX, waiting
from tests.conversation import Conversation
from tests.driven import ANNA, BOB, Driven
from tests.support import DAY_MS, EVERYTHING, T0, Authority, entropy, verified
from tests.unit.test_relay_actions import WALLS, Stage, action, leave

AUTHORITY = Authority("waits")
MID, HQ, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low"))
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


def publish(talk, count, **fields):
    sensor = talk.connect(ZEEK, Role.POINT)
    sent = [verified(ZEEK, sequence=n, issued_at_ms=talk.now_ms, ttl_ms=DAY_MS, **fields) for n in range(count)]
    for message in sent:
        talk.send(sensor, message)
    return sum(len(message.raw) for message in sent)


def test_what_waits_for_a_parent_that_is_away_is_said_at_once():
    talk = Conversation(Relay(MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), ("hq",)))
    assert waiting(talk.core, "hq", talk.now_ms) == ([], 0)
    bytes_ = publish(talk, 3)
    talk.wait(5_000)
    publish(talk, 1, topic="detections.later")
    talk.core.time.wall_is_ahead(70)
    (entry,), more = waiting(talk.core, "hq", talk.now_ms)
    assert entry.pop("bytes") > bytes_ and more == 0
    assert entry == {"for": "hq", "kind": "parent", "away": True, "messages": 4, "since_ms": T0 + 70}


def test_what_only_passes_is_not_waited_for_and_what_is_not_answered_is():
    talk = Conversation(Relay(MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), ("hq",)))
    talk.connect(HQ, Role.PARENT)
    publish(talk, 1)
    assert waiting(talk.core, "hq", talk.now_ms) == ([], 0)
    talk.wait(1_000)
    (entry,), _ = waiting(talk.core, "hq", talk.now_ms)
    assert (entry["for"], entry["away"], entry["messages"]) == ("hq", False, 1)


@pytest.fixture
def driven(tmp_path):
    talk = Driven(tmp_path / "hq.db")
    yield talk
    talk.spool.close()


def test_what_sleeps_for_a_reader_counts_and_each_reader_is_named(driven):
    for member in (ANNA, BOB):
        driven.lose(driven.come(member))
    began_ms = driven.now_ms
    driven.publish(range(30))
    driven.wait(3_000)
    entries, more = waiting(driven.core, "", driven.now_ms)
    assert [(entry["for"], entry["kind"], entry["messages"], entry["since_ms"]) for entry in entries] == [
        ("anna", "point", 30, began_ms), ("bob", "point", 30, began_ms)
    ]
    assert all(entry["away"] and 0 < entry["bytes"] < entry["share_bytes"] for entry in entries) and more == 0
    driven.read(driven.come(ANNA), 60)
    driven.step(Tick())
    assert [entry["for"] for entry in waiting(driven.core, "", driven.now_ms)[0]] == ["bob"]


def test_all_for_whom_an_action_is_held_are_named():
    stage = Stage()
    leave(stage, 1)
    stage.ask(action())
    leave(stage, 0)
    stage.ask(action(sequence=2))
    (held,) = [entry for entry in waiting(stage.talk.core, "", stage.talk.now_ms)[0] if entry["kind"] == "nowhere"]
    first, second = WALLS[1].id, WALLS[0].id  # most is held for the one that left first
    assert (held["for"], held["names"], held["names_more"], held["messages"]) == (first, [first, second], 0, 2)


# -- how it is said -------------------------------------------------------------------------------------------


def entry(name, kind="point", *, away=True, bytes_=2_048, since_ms=T0, **more):
    return {"for": name, "kind": kind, "away": away, "messages": 1, "bytes": bytes_, "since_ms": since_ms, **more}


def said(*states, now_ms=T0 + 60_000):
    return [cell.text for cell in lines_of(list(states), now_ms)]


def test_a_line_says_where_for_whom_how_much_and_since_when():
    assert said({"relay": "plant-1", "waiting": [entry("dmz", "parent", bytes_=3 << 20) | {"messages": 1_204}]}) == [
        "plant-1 holds for dmz (away): 1,204 messages, 3MB, since 08:00:00Z"
    ]
    assert said({"relay": "hq", "waiting": [
        entry("anna", share_bytes=16 << 20, bytes_=5 << 20), entry("fw-p1", "nowhere"),
        entry("soc", "child", away=False),
    ]}) == [
        "hq holds for anna (away): 1 message, 5MB of 16MB, since 08:00:00Z",
        "hq holds for fw-p1 (connected nowhere): 1 message, 2KB, since 08:00:00Z",
        "hq holds for soc: 1 message, 2KB, since 08:00:00Z",
    ]


def test_of_those_for_whom_the_same_is_held_a_few_are_named_and_the_others_counted():
    held = entry("fw-1", "nowhere", names=[f"fw-{n}" for n in range(1, 17)], names_more=4)
    assert said({"relay": "hq", "waiting": [held]}) == [
        "hq holds for fw-1, fw-2, fw-3 and 17 more (connected nowhere): 1 message, 2KB, since 08:00:00Z"
    ]


def test_what_waits_for_longer_than_a_day_has_a_date():
    (line,) = said({"relay": "hq", "waiting": [entry("anna")]}, now_ms=T0 + DAY_MS)
    assert line.endswith("since 2027-01-15 08:00:00Z"), line


def test_of_many_the_most_are_shown_and_the_others_counted():
    states = [
        {"relay": f"r{n}", "waiting": [entry(f"p{n}-{m}", bytes_=100 * n + m) for m in range(4)], "waiting_more": n}
        for n in range(3)
    ]
    lines = said(*states)
    assert len(lines) == 7 and lines[0].startswith("r2 holds for p2-3")
    assert lines[-1] == "and something waits for 9 more: see `fabric status --json`"


def test_a_state_without_it_says_nothing():
    assert said({"relay": "hq"}) == []
    assert NAMED_MAX >= 6, "what is shown is in the state"
