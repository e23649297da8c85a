"""A topic that waits for a reader has a line of its own: its order stays, and what else its origin sends goes by."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.custody.line import TOPICS_APART_MAX
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

AUTHORITY = Authority("line")
MEMBERS = {name: AUTHORITY.issue(name) for name in ("a", "b")}
PLENTY = [2**40] * len(Lane)


@cache
def signed(sequence, topic, origin):
    return verified(MEMBERS[origin], sequence=sequence, topic=topic)


def row(sequence, topic="detections.slow", origin="a"):
    return Row(Held(signed(sequence, topic, origin), Direction.UP, Lane.MEDIUM, 0, T0, T0 + 60_000, ()), "^")


def outbox(*rows):
    box = Outbox("^", 1_000)
    for each in rows:
        box.add(each)
    return box


def send(box, now_ms):
    taken = box.take(now_ms, PLENTY)
    if taken is not None:
        box.sent(taken, now_ms, 1)
    return taken


def answer(box, taken, now_ms, *, full):
    assert box.settle(taken.sent_as, now_ms) is taken
    if full:
        box.hold_back(taken, "analyst-1", now_ms, now_ms + 200)
    else:
        box.end(taken)


def drain(box, now_ms, full=lambda _: False):
    """What is sent and taken until nothing more may go; rows for which `full` says so are refused."""
    taken = []
    while (sent := send(box, now_ms)) is not None:
        answer(box, sent, now_ms, full=full(sent))
        if sent.done:
            taken.append(sent.held.message.header.sequence)
    return taken


def slow(sent):
    return sent.held.message.header.topic == "detections.slow"


def test_what_an_origin_says_on_other_topics_goes_by_what_waits():
    box = outbox(*(row(n, "detections.slow" if n % 2 else "detections.fast") for n in range(10)))
    assert drain(box, 0, slow) == [0, 2, 4, 6, 8]
    assert box.waiting_for() == {"analyst-1": 5} and box.held_back(Lane.MEDIUM, "a", "detections.slow")[1] > 0
    assert drain(box, 199) == [], "nobody asks yet"
    assert drain(box, 200) == [1, 3, 5, 7, 9] and box.waiting_for() == {} and box.empty


def test_what_was_under_way_together_comes_in_its_order_and_before_what_came_since():
    box = outbox(*(row(n) for n in range(5)))
    under_way = [send(box, 0) for _ in range(3)]
    for sent in under_way:
        answer(box, sent, 1, full=True)
    box.add(row(5))
    assert drain(box, 1_000) == [0, 1, 2, 3, 4, 5]


def test_one_asks_and_seldom_when_it_is_refused_again_and_again():
    box, asked_ms = outbox(*(row(n) for n in range(3))), []
    for now_ms in range(0, 60_000, 100):
        sent = send(box, now_ms)
        if sent is not None:
            asked_ms.append(now_ms)
            assert not now_ms or send(box, now_ms) is None, "one at a time"
            answer(box, sent, now_ms, full=True)
    gaps = [later - before for before, later in zip(asked_ms, asked_ms[1:], strict=False)]
    assert gaps[:5] == [200, 400, 800, 1_600, 3_200] and set(gaps[5:]) == {5_000}
    assert drain(box, 70_000) == [0, 1, 2]


def test_another_origin_finds_out_for_itself():
    box = outbox(row(0), row(1, origin="b"))
    sent = send(box, 0)
    answer(box, sent, 0, full=True)
    assert send(box, 0).held.message.header.origin == "b"


def test_what_ends_while_it_waits_is_counted_no_more():
    rows = [row(n) for n in range(6)]
    box = outbox(*rows)
    drain(box, 0, slow)
    for each in rows[:5]:
        box.end(each)
    assert box.counts()[Lane.MEDIUM] == 1 and box.queued(Lane.MEDIUM) == 1
    assert drain(box, 1_000) == [5] and box.empty and box.bytes == 0


def test_the_one_that_asks_may_be_lost_with_its_link():
    box = outbox(row(0), row(1))
    answer(box, send(box, 0), 0, full=True)
    assert send(box, 200) is not None
    box.recall()
    assert drain(box, 300) == [0, 1]


def test_so_many_topics_wait_apart_and_of_more_the_first_holds_up_its_origin():
    box = outbox(*(row(n, f"detections.t{n}") for n in range(TOPICS_APART_MAX + 2)))
    assert drain(box, 0, lambda _: True) == []
    assert box.waiting_for() == {"analyst-1": TOPICS_APART_MAX}
    assert sorted(drain(box, 200)) == list(range(TOPICS_APART_MAX + 2))


@pytest.mark.parametrize("seldom", [False, True])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_whatever_is_refused_each_topic_of_an_origin_is_taken_in_its_order_once(seldom, data):
    """Of a topic nothing that is under way is taken after something before it was refused: as a relay does."""
    topics = ["detections.slow", "detections.fast", "detections.other"]
    rows = [row(n, data.draw(st.sampled_from(topics))) for n in range(12)]
    box, taken, now_ms = outbox(), [], 0
    waiting = list(rows)
    for _ in range(40):
        for _ in range(data.draw(st.integers(0, 3))):
            if waiting:
                box.add(waiting.pop(0))
        under_way = [sent for _ in range(4) if (sent := send(box, now_ms)) is not None]
        full = {topic for topic in topics if data.draw(st.booleans()) and not (seldom and data.draw(st.booleans()))}
        for sent in under_way:
            topic = sent.held.message.header.topic
            answer(box, sent, now_ms, full=topic in full)
            if sent.done:
                taken.append(sent)
        now_ms += data.draw(st.sampled_from([1, 200, 5_000]))
    now_ms += 10_000
    for each in waiting:
        box.add(each)
    while (sent := send(box, now_ms)) is not None:
        answer(box, sent, now_ms, full=False)
        taken.append(sent)
    for topic in topics:
        mine = [each for each in rows if each.held.message.header.topic == topic]
        assert [each for each in taken if each in mine] == mine
    assert box.empty and box.bytes == 0 and box.waiting_for() == {}


def test_where_a_reader_is_waited_for_no_more_its_topics_ask_at_once_and_one_message_each():
    box = outbox(*(row(n, f"detections.{'ab'[n % 2]}") for n in range(6)))
    drain(box, 0, lambda _: True)
    for now_ms in (200, 600):
        drain(box, now_ms, lambda _: True)
    assert drain(box, 700) == []
    box.ask()
    asking = [send(box, 700), send(box, 700), send(box, 700)]
    assert [each and each.held.message.header.sequence for each in asking] == [0, 1, None]


def test_the_next_peer_is_asked_at_once():
    box = outbox(row(0), row(1))
    for now_ms in (0, 200, 600):
        drain(box, now_ms, slow)
    assert drain(box, 700) == []
    box.recall()
    assert drain(box, 700) == [0, 1]


def test_a_topic_is_open_as_soon_as_what_asked_was_taken():
    box = outbox(row(0))
    answer(box, send(box, 0), 0, full=True)
    asking = send(box, 200)
    assert box.waiting_for() == {"analyst-1": 1}
    answer(box, asking, 201, full=False)
    assert box.waiting_for() == {}
    box.add(row(1))
    assert box.held_back(Lane.MEDIUM, "a", "detections.slow")[1] == 0


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_refused_for_a_moment_is_offered_again_in_its_order(data):
    """In whatever order the answers come, and whatever was taken meanwhile: an origin's rows go as they came."""
    rows = [row(n, data.draw(st.sampled_from(["detections.slow", "detections.fast"]))) for n in range(10)]
    box, now_ms, waiting = outbox(), 0, list(rows)
    for _ in range(30):
        for _ in range(data.draw(st.integers(0, 4))):
            if waiting:
                box.add(waiting.pop(0))
        under_way = [sent for _ in range(data.draw(st.integers(0, 6))) if (sent := send(box, now_ms)) is not None]
        numbers = [sent.place for sent in under_way]
        assert numbers == sorted(numbers)
        for sent in data.draw(st.permutations(under_way)):
            assert box.settle(sent.sent_as, now_ms) is sent
            if data.draw(st.booleans()):
                box.again(sent, now_ms + 200)
            else:
                box.end(sent)
        queued = [each.place for each in box.rows()]
        assert queued == sorted(queued)
        now_ms += data.draw(st.sampled_from([1, 200]))
