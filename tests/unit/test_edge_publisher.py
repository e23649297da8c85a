"""What a program publishes until somebody holds it: order, room, positions, and who is told what."""

from concurrent.futures import Future
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.publishing import in_flight
from fabric.edge.publishing.awaiting_keys import WAITING_MAX as KEYS_WAITING_MAX
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Draft, Position, Stamp
from fabric.edge.publishing.recipients import Recipients
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Answered, KeepPosition, Published, Put, Ready
from fabric.protocol.enrolment.recipients import encode_found
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.publishing import publishing
from tests.support import EVERYTHING, T0, Authority, entropy

AUTHORITY = Authority("outgoing")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


def outgoing(durable=True):
    core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
    recipients = Recipients(core, entropy("keys"))
    composer = Composer(
        ME.credential, ME.signer, RootCache(), entropy("composer"), recipients=recipients.keys_of
    )
    made = publishing(core, composer, AwaitingKeys(core, recipients))
    made.in_flight.durable = durable
    return made, core


@cache
def stamp_of(severity, topic):
    """One for all that are alike, as the connections of programs have them."""
    return Stamp(Kind.EVENT, topic, severity, Phase.NONE, 60_000, Label.GREEN)


def draft(n, severity=Severity.LOW, topic="detections.x", source=None, size=10):
    return Draft(stamp_of(severity, topic), {"n": n}, T0, Future(), size, Position(source, str(n)) if source else None)


def turn(made):
    """One turn of the loop: what was persisted in it, in one commit."""
    ready = Ready()
    made.publisher.compose(T0, ready)
    made.publisher.committed()
    for delivered in ready.deliver:
        if isinstance(delivered, Published):
            made.publisher.published(delivered)
    return ready.persist


def test_with_an_outbox_a_record_is_done_when_its_turn_is_committed_and_without_when_the_relay_says_so():
    for durable in (True, False):
        made, _ = outgoing(durable)
        one = draft(1)
        made.lanes.add(one)
        (put,) = [op for op in turn(made) if isinstance(op, Put)]
        assert one.token.done() == durable and made.lanes.counts.waiting == 1
        made.publisher.published(Published(put.id, None, 1))
        assert one.token.result() == f"{put.id.hex()}.0" and made.lanes.counts.waiting == 0


def test_the_signer_is_kept_once_and_before_what_it_signed():
    made, _ = outgoing()
    made.lanes.add(draft(1))
    first = [type(op).__name__ for op in turn(made)]
    made.lanes.add(draft(2))
    assert first == ["KeepCredential", "Put"] and [type(op).__name__ for op in turn(made)] == ["Put"]


@cache
def red_stamp(severity):
    audience = Audience((), (), ("lead-1",))
    return Stamp(Kind.EVENT, "detections.x", severity, Phase.NONE, 60_000, Label.RED, audience=audience)


def red(n, severity=Severity.LOW):
    return Draft(red_stamp(severity), {"n": n}, T0, Future(), 10)


def test_what_waits_for_keys_holds_back_who_publishes_and_nothing_is_refused_for_it():
    made, core = outgoing()
    waiting = [red(n) for n in range(KEYS_WAITING_MAX + 1_000)]
    for each in waiting:
        made.lanes.add(each)
    for _ in range(8):
        turn(made)
    assert KEYS_WAITING_MAX - 1_024 < len(made.publisher._awaiting_keys) <= KEYS_WAITING_MAX
    behind, urgent = draft(1), draft(2, Severity.HIGH)
    made.lanes.add(behind)
    made.lanes.add(urgent)
    turn(made)
    assert urgent.token.done() and not behind.token.done(), "another lane goes on"
    assert not any(each.token.done() for each in waiting)
    core.trust.introduce(AUTHORITY.issue("lead-1").credential.raw)
    (asked,) = made.publisher._awaiting_keys._recipients._asked
    made.publisher._awaiting_keys.answered(Answered(asked, None, encode_found((), [], ())), T0)
    for _ in range(8):
        turn(made)
    assert behind.token.done() and all(each.token.result() for each in waiting)


def test_an_urgent_record_does_not_wait_behind_a_full_lane():
    made, core = outgoing()
    core.custody.lane_bytes[Lane.LOW] = 1 << 40
    low, high = draft(1), draft(2, Severity.HIGH)
    made.lanes.add(low)
    made.lanes.add(high)
    turn(made)
    assert high.token.done() and not low.token.done()
    core.custody.lane_bytes[Lane.LOW] = 0
    turn(made)
    assert low.token.done()


def answer(core, refused=None, now_ms=T0):
    """The relay takes all that comes, or refuses it because a reader waits: what was taken."""
    box, taken = core.outboxes[UPLINK], []
    while (row := box.take(now_ms, [1 << 40] * len(Lane))) is not None:
        box.sent(row, now_ms, 1)
        box.settle(row.sent_as, now_ms)
        if row.held.message.header.topic == refused:
            core.on_put_off(row, Reject(Code.BUSY, "anna waits"))
            box.hold_back(row, "anna", now_ms, now_ms + 200)
        else:
            ready = Ready()
            core.on_settled(row, None, now_ms, ready)
            taken += ready.deliver
    return taken


def test_what_waits_for_a_reader_takes_no_place_of_what_can_go_and_comes_in_its_order():
    made, core = outgoing(durable=False)
    slow = [draft(n, topic="detections.slow") for n in range(280)]
    for one in slow[:260]:
        made.lanes.add(one)
        turn(made)
    assert answer(core, "detections.slow") == [] and core.put_off_by == "anna" and core.held_back == 256
    fast = draft(280, topic="detections.fast")
    for one in (*slow[260:], fast):
        made.lanes.add(one)
    turn(made)
    (taken,) = answer(core, "detections.slow")
    made.publisher.published(taken)
    assert fast.token.done() and core.put_off_by == "anna" and not any(one.token.done() for one in slow)
    order = []
    for turns in range(9):
        for published in answer(core, now_ms=T0 + 10_000 + turns):
            made.publisher.published(published)
            order += [one for one in slow if one.token.done() and one not in order]
        turn(made)
    assert order == slow and made.lanes.counts.waiting == 0 and core.put_off is None


def test_many_stamps_are_sealed_a_part_at_a_time_each_with_all_that_is_looked_at_of_it():
    made, core = outgoing(durable=False)
    drafts = [draft(n, topic=f"detections.t{n % 512}") for n in range(2_048)]
    for one in drafts:
        made.lanes.add(one)
    began = turns = 0
    while made.lanes.counts.waiting:
        puts = [op for op in turn(made) if isinstance(op, Put)]
        assert len(puts) <= 256, "who is to take them does not wait for all of them to be sealed"
        rows = core.outboxes[UPLINK].rows()
        assert turns or all(row.held.message.header.records == 2 for row in rows), "with what else there was of it"
        began, turns = began + len(puts), turns + 1
        for published in answer(core):
            made.publisher.published(published)
    assert began <= 1_024 and turns <= 5
    results = [one.token.result() for one in drafts]
    assert len(set(results)) == len(drafts)
    of_one = [result for n, result in enumerate(results) if n % 512 == 7]
    numbers = [int(each.partition(".")[2]) for each in of_one]
    assert numbers[0] == 0 and all(later in (0, one + 1) for one, later in pairwise(numbers)), "in order"


def test_a_burst_is_no_longer_where_a_topic_waits_for_a_reader():
    made, core = outgoing(durable=False)
    made.lanes.add(draft(0, topic="detections.slow"))
    turn(made)
    answer(core, "detections.slow")
    for n in range(600):
        made.lanes.add(draft(n, topic=f"detections.t{n}"))
        made.lanes.add(draft(n, topic="detections.slow"))
    bursts = []
    while any(made.lanes._queued):
        turn(made)
        bursts.append(0)
        for published in answer(core, "detections.slow"):
            made.publisher.published(published)
            bursts[-1] += 1
    assert bursts == [256, 256, 88] and made.lanes._aside_records[Lane.LOW] == 600


def test_a_source_keeps_its_order_where_its_stamps_are_more_than_a_burst_seals():
    """A kill after the commit must not have a later record on disk that an earlier one holds back: it would come twice.
    """
    made, _ = outgoing()
    topics = [*range(300), *range(100)]
    followed = [draft(n, topic=f"detections.t{topic}", source="conn.log") for n, topic in enumerate(topics)]
    others = [draft(n, topic="detections.t0") for n in range(5)]
    for one in (*followed, *others):
        made.sources.begin(one)
        made.lanes.add(one)
    persisted = turn(made)
    assert [op.position for op in persisted if isinstance(op, KeepPosition)] == ["255"]
    assert [one.token.done() for one in followed] == [n < 256 for n in range(400)]
    assert all(one.token.done() for one in others), "what has no place in a source need not wait for it"
    assert [op.position for op in turn(made) if isinstance(op, KeepPosition)] == ["399"]


def test_the_end_is_told_to_all_however_many_stamps_they_have():
    made, _ = outgoing()
    drafts = [draft(n, topic=f"detections.t{n}") for n in range(2_500)]
    for one in drafts:
        made.lanes.add(one)
    made.publisher.close(FabricError(Code.CLOSED, "the end"))
    assert all(one.token.done() for one in drafts) and not any(made.lanes._queued)
    assert made.publisher.take_left() == len(drafts)


def test_what_a_burst_left_is_sealed_at_once_while_there_is_room_and_otherwise_waits_for_an_answer():
    for durable in (True, False):
        made, core = outgoing(durable)
        for n in range(700):
            made.lanes.add(draft(n, topic=f"detections.t{n}"))
        more = []
        for _ in range(4):
            turn(made)
            more.append(made.publisher.has_more)
        assert more == ([True, True, False, False] if durable else [False] * 4)
        if not durable:
            for published in answer(core):
                made.publisher.published(published)
            turn(made)
            assert not made.publisher.has_more and made.lanes.counts.waiting == 700 - 256


def test_a_burst_of_nothing_but_cancelled_records_is_followed_by_the_next_at_once():
    made, _ = outgoing()
    drafts = [draft(n) for n in range(1_100)]
    for each in drafts:
        made.lanes.add(each)
    for each in drafts[:1_024]:
        each.token.cancel()
    turn(made)
    assert made.publisher.has_more and made.lanes.counts.waiting == 76
    turn(made)
    assert not made.publisher.has_more and drafts[-1].token.done() and drafts[-1].token.result().endswith(".75")


def test_what_was_put_aside_goes_on_in_bursts_too_when_there_is_room_for_it(monkeypatch):
    monkeypatch.setattr(in_flight, "LANE_QUOTA_BYTES", 0)
    made, core = outgoing()
    made.lanes.add(draft(0, topic="detections.slow"))
    turn(made)
    answer(core, "detections.slow")
    for n in range(300):
        stamp = Stamp(Kind.EVENT, "detections.slow", Severity.LOW, Phase.NONE, 60_000 + n, Label.GREEN)
        made.lanes.add(Draft(stamp, {"n": n}, T0, Future()))
    turn(made)
    assert not made.publisher.has_more, "it waits for a reader: no turn helps"
    assert made.lanes._aside_records[Lane.LOW] == 300
    assert len(answer(core, now_ms=T0 + 1_000)) == 1
    turn(made)
    assert made.publisher.has_more and made.lanes._aside_records[Lane.LOW] == 300 - 256
    turn(made)
    assert not made.publisher.has_more and made.lanes._aside_records[Lane.LOW] == 0


def test_what_was_put_aside_is_told_of_the_end():
    made, core = outgoing(durable=False)
    first, later = draft(1, topic="detections.slow"), draft(2, topic="detections.slow")
    made.lanes.add(first)
    turn(made)
    answer(core, "detections.slow")
    made.lanes.add(later)
    turn(made)
    made.publisher.close(FabricError(Code.CLOSED))
    assert first.token.exception().code is later.token.exception().code is Code.CLOSED
    assert made.publisher.take_left() == 2


def positions(persisted):
    return [op.position for op in persisted if isinstance(op, KeepPosition)]


def test_a_position_does_not_pass_a_record_that_has_no_room_yet():
    made, _ = outgoing()
    waits, goes = draft(1, source="log"), draft(2, Severity.HIGH, source="log")
    for one in (waits, goes):
        made.sources.begin(one)
    made.lanes.add(goes)
    assert positions(turn(made)) == [] and goes.token.done()
    made.lanes.add(waits)
    assert positions(turn(made)) == ["2"]


def test_a_record_that_is_cancelled_while_it_waits_is_never_taken_and_holds_nothing_back():
    made, _ = outgoing()
    waits, added, after = (draft(n, source="log") for n in (1, 2, 3))
    for one in (waits, added, after):
        made.sources.begin(one)
    made.lanes.add(added)
    assert waits.token.cancel() and added.token.cancel()
    made.lanes.add(waits)
    assert turn(made) == [] and made.lanes.counts.waiting == 0
    made.lanes.add(after)
    persisted = turn(made)
    assert positions(persisted) == ["3"] and made.lanes.counts.waiting == 1
    assert sum(isinstance(op, Put) for op in persisted) == 1


def test_what_is_sealed_is_not_cancelled():
    made, _ = outgoing(durable=False)
    one = draft(1)
    made.lanes.add(one)
    (put,) = [op for op in turn(made) if isinstance(op, Put)]
    assert not one.token.cancel()
    made.publisher.published(Published(put.id, None, 1))
    assert one.token.result() == f"{put.id.hex()}.0"


def test_nothing_is_taken_in_while_the_disk_is_short():
    made, core = outgoing()
    core.custody.open_intake(False)
    made.lanes.add(draft(1, Severity.CRITICAL))
    assert turn(made) == [] and made.lanes.counts.waiting == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([Severity.LOW, Severity.HIGH]), st.sampled_from(["a", "b"]), st.booleans()),
                min_size=1, max_size=30), st.sets(st.sampled_from([Lane.LOW, Lane.HIGH])))
def test_a_position_never_passes_a_record_that_is_not_on_disk(records, full):
    """Whichever lanes are full, and whichever records are unfit: what is behind the position is on disk, or refused."""
    made, core = outgoing()
    for lane in full:
        core.custody.lane_bytes[lane] = 1 << 40
    drafts = [
        draft(n, severity, "detections.x" if fit else "not granted", source)
        for n, (severity, source, fit) in enumerate(records)
    ]
    for one in drafts:
        made.sources.begin(one)
        made.lanes.add(one)
    kept = {op.source: int(op.position) for op in turn(made) if isinstance(op, KeepPosition)}
    for n, one in enumerate(drafts):
        if n <= kept.get(one.position.source, -1):
            assert one.token.done()
    for lane in full:
        core.custody.lane_bytes[lane] = 0
    kept |= {op.source: int(op.position) for op in turn(made) if isinstance(op, KeepPosition)}
    for source in {"a", "b"}:
        of_source = [n for n, one in enumerate(drafts) if one.position.source == source]
        assert kept.get(source) == (of_source[-1] if of_source else None)


def test_what_ends_after_its_program_was_told_is_told_to_whoever_asked():
    made, _ = outgoing()
    told = []
    made.publisher.on_refused = lambda id_, records, error: told.append((id_, records, error.code))
    made.lanes.add(draft(1))
    made.lanes.add(draft(2))
    (put,) = [op for op in turn(made) if isinstance(op, Put)]
    made.publisher.published(Published(put.id, Reject(Code.EXPIRED), 2))
    assert told == [(put.id.hex(), 2, Code.EXPIRED)] and made.lanes.counts.waiting == 0 and made.publisher.refused == 2


def test_a_record_that_cannot_be_sent_waits_for_nothing():
    made, _ = outgoing()
    bad = draft(1)
    bad.record = {"x": object()}
    made.lanes.add(bad)
    turn(made)
    assert made.lanes.counts.waiting == 0
    with pytest.raises(FabricError):
        bad.token.result()


def test_what_the_outbox_had_is_counted():
    made, core = outgoing()
    made.lanes.add(draft(1))
    made.lanes.add(draft(2))
    turn(made)
    again, _ = outgoing()
    again.publisher.keeps(core.outboxes[UPLINK].rows())
    assert again.lanes.counts.waiting == 2 and not again.lanes.counts.wait_empty(0.0)


def test_the_end_fails_whoever_still_waits():
    made, _ = outgoing(durable=False)
    sealed, waiting = draft(1), draft(2)
    made.lanes.add(sealed)
    turn(made)
    made.lanes.add(waiting)
    made.publisher.close(FabricError(Code.CLOSED))
    for one in (sealed, waiting):
        with pytest.raises(FabricError):
            one.token.result()
    with pytest.raises(FabricError) as refused:
        made.lanes.add(draft(3))
    assert refused.value.code is Code.CLOSED


def test_what_is_refused_at_once_is_told_before_its_source_passes_it():
    made, core = outgoing()
    core.why_not = lambda message, now_ms: Reject(Code.PUBLISH_DENIED, "detections.x")
    one, ready, told = draft(1, source="conn.log"), Ready(), []
    one.token.add_done_callback(lambda future: told.append((future.exception().code, list(ready.persist))))
    made.sources.begin(one)
    made.lanes.add(one)
    made.publisher.compose(T0, ready)
    assert told == [(Code.PUBLISH_DENIED, [])] and KeepPosition("conn.log", "1") in ready.persist
    assert made.lanes.counts.waiting == made.lanes.counts.owed == 0
    assert not any(isinstance(each, Published) for each in ready.deliver)


@pytest.mark.parametrize(("waited_ms", "ends"), [(59_999, False), (60_000, True)])
def test_what_waited_to_be_sealed_is_as_old_as_that(waited_ms, ends):
    """Its ttl runs from when it was published, also for who has no clock to compare with."""
    made, core = outgoing()
    one = draft(1)
    made.lanes.add(one)
    made.publisher.compose(T0 + waited_ms, Ready())
    made.publisher.committed()
    assert [row.held.age_ms for row in core.outboxes[UPLINK].rows()] == ([] if ends else [waited_ms])
    assert (one.token.exception() is not None and one.token.exception().code is Code.EXPIRED) is ends
