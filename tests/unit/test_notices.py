"""What is counted for origins, and when it is told."""

import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import RECORDS_MAX
from fabric.protocol.core.ready import KeepNotice
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.custody.sessions import child_relay, point_session
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.messages.notices import (
    EVERY_MS,
    FIRST_MS,
    KEEP_MS,
    EndedKind,
    Notices,
    ending_of,
    entries_of,
)
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

AUTHORITY = Authority("notices")
ZEEK, EDR = AUTHORITY.issue("zeek-1"), AUTHORITY.issue("edr-1")
LATE = EndedKind(Code.EXPIRED, Kind.EVENT, "detections.zeek.conn", "up")
READER = point_session("analyst-1", bytes(16))


def note(notices, now_ms=T0, ending=LATE, member=ZEEK, **fields):
    notices.note(verified(member, **fields).header, ending, now_ms)


def counts(notices, now_ms):
    return {
        (about.origin, about.label): [(e["code"], e["messages"], e["records"]) for e in entries_of(tally)]
        for about, tally in notices.due(now_ms)
    }


def test_what_ends_together_is_told_together_a_second_later():
    notices = Notices()
    for n in range(3):
        note(notices, T0 + n * 100, records=[{}] * 5)
    note(notices, T0, LATE._replace(code=Code.WITHHELD))
    assert notices.due(T0 + FIRST_MS - 1) == []
    assert counts(notices, T0 + FIRST_MS) == {("zeek-1", Label.GREEN): [("E501", 3, 15), ("E601", 1, 1)]}


def test_messages_of_another_label_or_audience_are_not_spoken_of_in_one_notice():
    notices = Notices()
    note(notices)
    note(notices, label=Label.AMBER)
    note(notices, organisations=("acme", "partner"))
    note(notices, member=EDR)
    due = notices.due(T0 + FIRST_MS)
    assert len(due) == 4
    assert {(a.origin, a.label, a.audience.organisations) for a, _ in due} == {
        ("zeek-1", Label.GREEN, ("acme",)), ("zeek-1", Label.AMBER, ("acme",)),
        ("zeek-1", Label.GREEN, ("acme", "partner")), ("edr-1", Label.GREEN, ("acme",)),
    }
    assert len({about.name for about, _ in due}) == 4


def test_who_goes_on_is_told_every_half_minute():
    notices = Notices()
    note(notices)
    ((about, _),) = notices.due(T0 + FIRST_MS)
    notices.told(about, T0 + FIRST_MS)
    assert notices.due(T0 + FIRST_MS) == []
    note(notices, T0 + 5_000)
    assert notices.due(T0 + FIRST_MS + EVERY_MS - 1) == []
    assert counts(notices, T0 + FIRST_MS + EVERY_MS) == {("zeek-1", Label.GREEN): [("E501", 1, 1)]}


def test_whoever_was_not_told_for_a_while_is_told_soon_again():
    notices = Notices()
    note(notices)
    ((about, _),) = notices.due(T0 + FIRST_MS)
    notices.told(about, T0 + FIRST_MS)
    later_ms = T0 + 10 * EVERY_MS
    assert notices.due(later_ms) == []
    note(notices, later_ms)
    assert len(notices.due(later_ms + FIRST_MS)) == 1


def test_many_topics_are_counted_without_their_names():
    notices = Notices()
    for n in range(100):
        note(notices, ending=LATE._replace(topic=f"detections.t{n}"))
    ((_, tally),) = notices.due(T0 + FIRST_MS)
    entries = entries_of(tally)
    assert len(entries) == 65 and sum(e["messages"] for e in entries) == 100
    assert [e["messages"] for e in entries if e["topic"] == ""] == [36]


def test_many_origins_lose_the_oldest_count_and_say_so(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.messages.notices._TALLIES_MAX", 2)
    notices = Notices()
    for label in (Label.CLEAR, Label.GREEN, Label.AMBER):
        note(notices, label=label)
    assert [about.label for about, _ in notices.due(T0 + FIRST_MS)] == [Label.GREEN, Label.AMBER]
    assert notices.dropped == 1


def test_no_origin_pushes_the_others_out():
    notices = Notices()
    note(notices, member=EDR)
    for n in range(200):
        note(notices, organisations=("acme", f"partner-{n}"))
    origins = [about.origin for about, _ in notices.due(T0 + FIRST_MS)]
    assert origins.count("edr-1") == 1 and origins.count("zeek-1") == 64 and notices.dropped == 136


def test_what_nobody_comes_for_is_forgotten_after_a_week():
    notices = Notices()
    note(notices)
    assert len(notices.due(T0 + KEEP_MS)) == 1
    assert notices.due(T0 + KEEP_MS + 1) == [] and notices.dropped == 1


def test_what_was_counted_and_not_told_survives_a_restart():
    before, disk = Notices(), {}

    def save():
        for op in before.unsaved():
            disk[op.name] = op

    note(before)
    save()
    note(before, records=[{}] * RECORDS_MAX)
    note(before, member=EDR, ending=LATE._replace(topic=""))
    save()
    after = Notices()
    for op in disk.values():
        after.restore(op, T0)
    assert counts(after, T0 + FIRST_MS) == counts(before, T0 + FIRST_MS)
    for about, _ in before.due(T0 + FIRST_MS):
        before.told(about, T0 + FIRST_MS)
    save()
    assert [op.body for op in disk.values()] == [b"", b""] and before.unsaved() == []


@pytest.mark.parametrize("body", [b"", b"\xc1", pack([1, 2]), pack(["zeek-1", 9, [], [], [], T0, []]),
                                  pack(["zeek-1", 1, [], [], [], "then", []]),
                                  pack(["zeek-1", 1, [], [], [], T0, [[501, 99, "a", "up", 1, 1]]])])
def test_what_another_version_wrote_is_let_go_and_counted(body):
    notices = Notices()
    notices.restore(KeepNotice("zeek-1 ab", body), T0)
    assert notices.due(T0 + EVERY_MS) == [] and notices.dropped == 1


def row(destination, kind=Kind.EVENT):
    fields = {} if kind is Kind.EVENT else {"kind": kind, "topic": "deny.ipv4_net", "to": "soar-1"}
    held = Held(verified(ZEEK, **fields), Direction.UP, 3, 0, T0, T0, ())
    return Row(held, destination)


@pytest.mark.parametrize(("destination", "kind", "code", "towards"), [
    ("^", Kind.EVENT, Code.EXPIRED, "up"),
    ("^", Kind.EVENT, Code.WITHHELD, "up"),
    ("^", Kind.EVENT, Code.REVOKED, None),
    (child_relay("low"), Kind.EVENT, Code.PUBLISH_DENIED, "down"),
    (READER, Kind.EVENT, Code.EXPIRED, "reader"),
    (READER, Kind.EVENT, Code.SUBSCRIBER_SLOW, "reader"),
    (READER, Kind.EVENT, Code.SUBSCRIBER_GONE, None),
    (READER, Kind.EVENT, Code.NO_INTEREST, None),
    (READER, Kind.EVENT, Code.WITHHELD, None),
    (READER, Kind.RESULT, Code.SUBSCRIBER_GONE, "reader"),
    (READER, Kind.RESULT, Code.WITHHELD, "reader"),
])
def test_readers_who_left_or_may_not_see_it_are_no_loss_of_an_origin(destination, kind, code, towards):
    ending = ending_of(row(destination, kind), Reject(code))
    assert (ending.towards if ending else None) == towards


def test_of_many_origins_who_has_the_most_loses_first(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.messages.notices._TALLIES_MAX", 10)
    notices = Notices()
    note(notices, member=EDR)
    for n in range(30):
        note(notices, organisations=("acme", f"partner-{n}"))
    origins = [about.origin for about, _ in notices.due(T0 + FIRST_MS)]
    assert origins.count("edr-1") == 1 and len(origins) == 10 and notices.dropped == 21


def test_names_of_topics_are_bounded_in_all_of_them_together(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.messages.notices._NAMED_MAX", 50)
    notices = Notices()
    for n in range(20):
        for k in range(20):
            note(notices, organisations=("acme", f"p-{n}"), ending=LATE._replace(topic=f"t{k}"))
    tallies = notices.due(T0 + FIRST_MS)
    named = sum(ending.topic != "" for _, tally in tallies for ending in tally.counts)
    assert named <= 50 and sum(m for _, tally in tallies for m, _ in tally.counts.values()) == 400
    for about, _ in tallies:
        notices.told(about, T0 + FIRST_MS)
    assert notices._endings == 0


def test_what_an_earlier_process_counted_is_bounded_too(monkeypatch):
    before = Notices()
    for n in range(30):
        note(before, organisations=("acme", f"partner-{n}"))
    monkeypatch.setattr("fabric.protocol.relay.messages.notices._ORIGIN_TALLIES_MAX", 10)
    after = Notices()
    for op in before.unsaved():
        after.restore(op, T0)
    assert len(after.due(T0 + FIRST_MS)) == 10 and after.dropped == 20
