from random import Random

import pytest

from fabric.protocol.base.limits import RETRY_MS_MAX
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.pace import WINDOW_BYTES_MIN
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

AUTHORITY = Authority("outbox")
MEMBERS = {name: AUTHORITY.issue(name) for name in ("a", "b", "c")}
PLENTY = [2**40] * len(Lane)
NONE = [0] * len(Lane)
RETRY_MS = 1_000
SEVERITY = {
    Lane.CRITICAL: Severity.CRITICAL, Lane.HIGH: Severity.HIGH, Lane.MEDIUM: Severity.MEDIUM, Lane.LOW: Severity.LOW
}


def row(origin="a", sequence=0, lane=Lane.MEDIUM, size=0):
    message = verified(
        MEMBERS[origin], sequence=sequence, severity=SEVERITY[lane], phase=Phase.NONE,
        records=[{"pad": Random(sequence).randbytes(size)}],
    )
    return Row(Held(message, Direction.UP, lane, 0, T0, T0 + 60_000, ()), "^")


def outbox(*rows):
    box = Outbox("^", RETRY_MS)
    for each in rows:
        box.add(each)
    return box


def send(box, now_ms=0, allowance=None):
    """Send one row, as a driver would; its (origin, sequence), or None."""
    taken = box.take(now_ms, PLENTY if allowance is None else allowance)
    if taken is None:
        return None
    box.sent(taken, now_ms, len(taken.held.message.raw))
    return taken


def names(rows):
    return [(r.held.message.header.origin, r.held.message.header.sequence) for r in rows if r is not None]


def drain(box, now_ms=0):
    sent = []
    while (taken := send(box, now_ms)) is not None:
        sent.append(taken)
    return sent


def test_of_a_lane_in_which_nothing_ever_waited_everything_is_none():
    box = outbox(row(lane=Lane.HIGH))
    assert (box.queued(Lane.LOW), box.queued_bytes(Lane.LOW), box.gate(Lane.LOW)) == (0, 0, None)
    assert box.held_back(Lane.LOW, "a", "detections.x") == ("", 0)
    assert box.counts() == [0, 0, 1, 0, 0]
    box.set_gate(Lane.LOW, None)
    assert box.gate(Lane.LOW) is None
    box.set_gate(Lane.LOW, 7)
    assert box.gate(Lane.LOW) == 7
    assert names(drain(box)) == [("a", 0)]
    assert Outbox("^", RETRY_MS).empty


def test_what_is_missed_least_is_of_the_lowest_lane_whichever_waited_first():
    box = Outbox("point:analyst-1", RETRY_MS)
    for sequence, lane in enumerate((Lane.LOW, Lane.CRITICAL, Lane.MEDIUM)):
        each = row(sequence=sequence, lane=lane)
        box.add(Row(each.held, "point:analyst-1"))
    found = []
    while (least := box.least()) is not None:
        found.append(least.held.lane)
        box.end(least)
    assert found == [Lane.LOW, Lane.MEDIUM, Lane.CRITICAL]


def test_urgent_goes_first():
    lanes = [Lane.LOW, Lane.MEDIUM, Lane.CRITICAL, Lane.HIGH]
    box = outbox(*(row(sequence=n, lane=lane) for n, lane in enumerate(lanes)))
    assert [r.held.lane for r in drain(box)] == sorted(lanes)


def test_within_an_origin_and_lane_the_first_that_came_goes_first():
    box = outbox(*(row(sequence=n) for n in range(5)))
    assert names(drain(box)) == [("a", n) for n in range(5)]


def test_origins_take_turns_however_much_one_sends():
    box = outbox(*(row("a", n) for n in range(4)), row("b", 0), row("c", 0), row("b", 1))
    assert names(drain(box)) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 3)]


def test_the_floor_keeps_a_low_lane_moving_under_a_flood():
    # One of the lower lane goes for about every sixteen of its size that went before it.
    box = outbox(*(row("a", n, Lane.CRITICAL) for n in range(100)), *(row("b", n, Lane.LOW) for n in range(100)))
    first = [send(box).held.lane for _ in range(100)]
    assert 3 <= first.count(Lane.LOW) <= 7
    assert Lane.LOW not in first[:10]


def test_no_lane_starves_below_two_floods():
    box = outbox(
        *(row("a", n, Lane.CRITICAL) for n in range(150)),
        *(row("b", n, Lane.MEDIUM) for n in range(150)),
        *(row("c", n, Lane.LOW) for n in range(150)),
    )
    first = [send(box).held.lane for _ in range(150)]
    assert first.count(Lane.MEDIUM) >= 3 and first.count(Lane.LOW) >= 3
    assert first.count(Lane.CRITICAL) > 120


def test_credit_is_kept():
    box = outbox(row(sequence=0), row(sequence=1), row(sequence=2))
    size = send(box).held.size
    allowance = [0] * len(Lane)
    assert send(box, allowance=allowance) is None
    allowance[Lane.MEDIUM] = size - 1
    assert send(box, allowance=allowance) is None
    allowance[Lane.MEDIUM] = size
    assert names([send(box, allowance=allowance)]) == [("a", 1)]


def test_one_frame_may_always_go_when_nothing_of_its_lane_is_in_flight():
    box = outbox(row(sequence=0, size=50_000), row(sequence=1), row("b", 0, Lane.HIGH))
    sent = [send(box, allowance=NONE) for _ in range(3)]
    assert names(sent) == [("b", 0), ("a", 0)]
    box.settle(sent[1].held.message.id, 0)
    assert names([send(box, allowance=NONE)]) == [("a", 1)]


def test_without_credit_for_a_lane_the_others_go_on():
    box = outbox(row("a", 0, Lane.HIGH), row("a", 1, Lane.HIGH), row("b", 0, Lane.LOW))
    allowance = [0] * len(Lane)
    allowance[Lane.LOW] = 10_000
    assert names([send(box, allowance=allowance) for _ in range(3)]) == [("a", 0), ("b", 0)]


def test_what_is_in_flight_is_not_sent_again_before_its_time():
    box = outbox(row())
    send(box)
    assert send(box) is None
    assert box.overdue(RETRY_MS - 1) == []
    assert names(box.overdue(RETRY_MS)) == [("a", 0)]
    assert names([send(box, RETRY_MS)]) == [("a", 0)]


@pytest.mark.parametrize(("ttl_ms", "wanted"), [
    (86_400_000, [1_000, 2_000, 4_000, 8_000, 16_000, RETRY_MS_MAX, RETRY_MS_MAX, RETRY_MS_MAX]),
    (32_000, [1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000]),
    (4_000, [1_000] * 8),
])
def test_the_wait_doubles_with_every_try_up_to_the_maximum_or_an_eighth_of_its_life(ttl_ms, wanted):
    message = verified(MEMBERS["a"], ttl_ms=ttl_ms)
    box = outbox(Row(Held(message, Direction.UP, Lane.LOW, 0, T0, T0 + ttl_ms, ()), "^"))
    now_ms, waits = 0, []
    for _ in range(8):
        send(box, now_ms)
        wait_ms = next(w for w in range(500, 40_000, 500) if box.overdue(now_ms + w))
        waits.append(wait_ms)
        now_ms += wait_ms
    assert waits == wanted


def test_when_the_link_is_gone_everything_in_flight_goes_again_in_its_order():
    box = outbox(*(row("a", n) for n in range(4)), row("b", 0))
    for _ in range(3):
        send(box)
    box.recall()
    assert box.in_flight_bytes == [0] * len(Lane)
    sent = names(drain(box))
    assert [n for origin, n in sent if origin == "a"] == [0, 1, 2, 3]
    assert sorted(sent) == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0)]


def test_an_answer_settles_a_row_once():
    box = outbox(row())
    sent = send(box)
    assert box.settle(sent.held.message.id, 0) is sent
    assert box.settle(sent.held.message.id, 0) is None
    assert box.empty


def test_an_answer_for_what_was_not_sent_settles_nothing():
    waiting = row()
    box = outbox(waiting)
    assert box.settle(waiting.held.message.id, 0) is None
    assert box.rows() == [waiting]


def test_a_row_that_waits_for_its_time_does_not_stop_other_origins():
    box = outbox(row("a", 0), row("b", 0))
    again = send(box)
    box.settle(again.held.message.id, 0)
    box.again(again, 200)
    assert names([send(box, 100), send(box, 100)]) == [("b", 0)]
    assert names([send(box, 200)]) == [("a", 0)]


def test_a_row_that_is_over_is_never_sent():
    over, alive = row(sequence=0), row(sequence=1)
    box = outbox(over, alive)
    box.end(over)
    assert names(drain(box)) == [("a", 1)]


def test_a_row_that_ends_in_flight_gives_its_room_back():
    box = outbox(row(sequence=0), row(sequence=1))
    sent = send(box)
    box.end(sent)
    assert box.in_flight_bytes == [0] * len(Lane)
    assert box.overdue(10**9) == []
    assert names([send(box, allowance=NONE)]) == [("a", 1)]


def test_what_is_waiting_is_counted_by_lane():
    box = outbox(row("a", 0, Lane.HIGH), row("a", 1, Lane.LOW), row("a", 2, Lane.LOW))
    send(box)
    assert box.counts() == [0, 0, 1, 0, 2]
    assert box.queued_bytes(Lane.HIGH) == 0 and box.queued_bytes(Lane.LOW) > 0
    assert len(box.rows()) == 3 and not box.empty


def test_the_pace_bounds_what_is_under_way_and_lets_answers_make_room():
    box = outbox(*(row(sequence=n, size=3_000) for n in range(60)))
    first = drain(box)
    flying = sum(box.in_flight_bytes)
    window_bytes = box.paces[Lane.MEDIUM].window_bytes
    assert window_bytes - 5_000 < flying <= window_bytes
    for sent in first[:4]:
        box.settle(sent.held.message.id, 1)
        box.end(sent)
    assert len(drain(box, 1)) >= 4, "answers made room"


def test_a_lower_lane_under_way_keeps_no_higher_one_back():
    box = outbox(*(row("a", n, Lane.LOW, 3_000) for n in range(60)))
    low = drain(box)
    for n in range(60):
        box.add(row("b", n, Lane.CRITICAL, 3_000))
    went = [sent.held.lane for sent in drain(box)]
    assert went.count(Lane.CRITICAL) == len(low) and went[:16] == [Lane.CRITICAL] * 16


def test_the_floor_holds_when_higher_lanes_fill_the_window_for_good():
    box = outbox(*(row("b", n, Lane.LOW, 900) for n in range(400)))
    went = {Lane.CRITICAL: 0, Lane.LOW: 0}
    flying = []
    for n in range(1_000):
        box.add(row("a", n, Lane.CRITICAL, 900))
        while (sent := send(box, n)) is not None:
            flying.append(sent)
            went[sent.held.lane] += sent.held.size
        ended = next((f for f in flying if f.held.lane is Lane.CRITICAL), None)
        if ended is not None and n > 100:
            flying.remove(ended)
            box.settle(ended.held.message.id, n)
            box.end(ended)
    # Nothing of the low lane is ever answered, so credit alone would stop it; what it is owed goes.
    assert went[Lane.LOW] >= went[Lane.CRITICAL] // 20


def test_what_was_sent_twice_says_nothing_of_how_quick_answers_are():
    box = outbox(row(), row(sequence=1))
    first, second = drain(box)
    box.overdue(RETRY_MS)
    drain(box, RETRY_MS)
    box.settle(first.held.message.id, RETRY_MS)
    assert box.paces[Lane.MEDIUM]._quickest_ms is None


def test_another_link_is_another_way():
    box = outbox(*(row(sequence=n) for n in range(3)))
    drain(box)
    known = box.paces
    box.recall()
    assert not {*map(id, known)} & {*map(id, box.paces)}


def test_what_is_urgent_and_answered_at_once_does_not_hide_how_long_the_others_wait():
    """Where it is read it passes them (SPEC 10), so its answers come early however much of them waits."""
    box = outbox(*(row("a", n, Lane.LOW, 3_000) for n in range(60)))
    critical, per_ms, ready_at_ms = row("b", 0, Lane.CRITICAL), 500, 0
    flying = []
    for now_ms in range(1, 3_000):
        if now_ms % 10 == 0:  # one of each ten milliseconds, answered in the next
            critical.tries = 0
            box.add(critical)
        flying += drain(box, now_ms)
        first, *others = sorted(flying, key=lambda sent: sent.held.lane)
        if first is critical:
            box.settle(first.held.message.id, now_ms + 1)
            flying.remove(first)
        elif flying and now_ms >= ready_at_ms:
            flying = others
            box.settle(first.held.message.id, now_ms)
            ready_at_ms = now_ms + first.held.size // per_ms
            first.tries = 0
            box.again(first, 0)
    assert box.paces[Lane.LOW].window_bytes < 2 * WINDOW_BYTES_MIN
    assert box.paces[Lane.HIGH] is box.paces[Lane.LOW] is not box.paces[Lane.CRITICAL] is box.paces[Lane.URGENT]


def restored(*fields, **more):
    made = row(*fields, **more)
    made.held.restored = True
    return made


def test_what_wakes_goes_before_what_came_since_and_behind_what_was_read_before():
    box = outbox(*(restored(sequence=n) for n in (1, 2)), *(row(sequence=n) for n in (5, 6)))
    assert names([send(box)]) == [("a", 1)]
    for woken in (restored(sequence=3), restored(sequence=4), restored("b", 7)):
        box.add(woken)
    box.add(row(sequence=8))
    box.recall()
    sent = names(drain(box))
    assert [number for origin, number in sent if origin == "a"] == [1, 2, 3, 4, 5, 6, 8]
    assert sent.index(("b", 7)) <= 2, "origins take turns as before"


def reading(sequence, order, restored=False):
    """A row for a reader, at a place among all that its relay held."""
    held = row(sequence=sequence).held
    held.order, held.restored = order, restored
    return Row(held, "point:anna/00")


def test_behind_a_gate_nothing_goes_and_what_wakes_goes_to_its_place():
    """Whether it was awake for others meanwhile, and from whichever start of its relay on."""
    box = outbox(*(reading(n, 1 + n) for n in range(3)))
    box.set_gate(Lane.MEDIUM, 3)
    box.add(reading(9, 10))
    assert box.queued(Lane.MEDIUM) == 2 and len(box.rows()) == 4 and not box.empty
    for n in (3, 4):
        box.add(reading(n, 1 + n, restored=True))
    assert names(drain(box)) == [("a", 0), ("a", 1)]
    box.recall()
    box.set_gate(Lane.MEDIUM, 8)
    assert names(drain(box)) == [("a", n) for n in range(5)]
    box.set_gate(Lane.MEDIUM, None)
    assert names(drain(box)) == [("a", 9)]


def test_what_ends_behind_a_gate_is_let_go_and_the_oldest_that_waits_is_found_before_it():
    box = outbox(reading(0, 1))
    box.set_gate(Lane.MEDIUM, 2)
    rows = [reading(n, 1 + n) for n in range(1, 101)]
    for each in rows:
        box.add(each)
    first = box.least()
    assert names([first]) == [("a", 0)]
    box.end(first)
    for each in rows[:-1]:
        assert box.least() is each
        box.end(each)
    assert box.rows() == rows[-1:] and box.bytes == rows[-1].held.size
    box.end(rows[-1])
    assert box.empty and box.least() is None and box.bytes == 0


def test_what_a_reader_refused_for_now_comes_again_in_its_order():
    box = outbox(*(reading(n, 1 + n) for n in range(4)))
    for each in drain(box)[:3]:
        box.settle(each.visit, 0)
        box.again(each, 200)
    assert names(drain(box, 200)) == [("a", 0), ("a", 1), ("a", 2)]
