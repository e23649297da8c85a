"""What waits to be handled: bounded, in order, and in turns by what each identity costs."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.limits import HELLO_BYTES_MAX
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame, lane_claimed
from fabric.protocol.wire.frames import Data, Ping
from fabric.transport.inbox import STRANGERS, Inbox

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32
MS = 1_000_000
ENTRY = 512


def drain(inbox):
    found = []
    while (entry := inbox.take()) is not None:
        found.append(entry)
    return found


def test_one_link_comes_in_the_order_of_its_frames_and_its_end():
    inbox = Inbox()
    assert inbox.put(1, A, A, b"one") and inbox.put(1, A, A, b"two") and inbox
    assert not inbox.end(1, A), "what it brought goes before"
    assert [entry.payload for entry in drain(inbox)] == [b"one", b"two", None]
    assert not inbox and inbox.bytes == 0 and inbox.end(1, A)


def data(lane, number):
    return encode_frame(Data(lane, number, []))


def payloads(inbox):
    return [entry.payload for entry in drain(inbox)]


def test_urgent_data_goes_before_what_is_not_urgent_and_stays_in_its_order():
    inbox = Inbox()
    frames = {n: data(lane, n) for n, lane in enumerate((Lane.LOW, Lane.HIGH, Lane.CRITICAL, Lane.LOW, Lane.URGENT))}
    for frame in frames.values():
        assert inbox.put(1, A, A, frame)
    assert payloads(inbox) == [frames[n] for n in (2, 4, 0, 1, 3)] and inbox.bytes == 0


def test_it_passes_nothing_else_of_its_link_nor_what_stays_behind_that():
    """A credential, a list or a route that it depends on goes first; urgent data keeps its order among itself."""
    inbox, other = Inbox(), encode_frame(Ping(1))
    low, urgent, later = data(Lane.LOW, 1), data(Lane.URGENT, 2), data(Lane.URGENT, 3)
    inbox.put(1, A, A, low)
    inbox.put(1, A, A, other)
    inbox.put(1, A, A, urgent)
    assert inbox.take().payload == low and inbox.take().payload == other
    inbox.put(1, A, A, later)
    assert payloads(inbox) == [urgent, later], "the later one does not pass the one that waited"
    inbox.put(1, A, A, low)
    inbox.put(1, A, A, later)
    assert payloads(inbox) == [later, low], "it is gone, and nothing is ahead any more"


def test_another_link_of_the_identity_is_passed_and_the_end_of_its_own_is_not():
    inbox, urgent = Inbox(), data(Lane.URGENT, 1)
    inbox.put(1, A, A, b"anything")
    inbox.put(2, A, A, urgent)
    assert payloads(inbox) == [urgent, b"anything"]
    inbox.put(1, A, A, urgent)
    inbox.end(1, A)
    assert payloads(inbox) == [urgent, None]


def test_a_stranger_passes_no_other_stranger():
    inbox, hello = Inbox(), b"hello"
    inbox.put(1, STRANGERS, A, hello)
    inbox.put(2, STRANGERS, B, data(Lane.URGENT, 1))
    inbox.put(3, STRANGERS, C, hello)
    assert payloads(inbox) == [hello, data(Lane.URGENT, 1), hello]


def test_an_identity_does_not_get_more_turns_for_what_it_calls_urgent():
    inbox, served = Inbox(), Counter()
    for n in range(200):
        inbox.put(1, A, A, data(Lane.URGENT, n))
        inbox.put(2, B, B, data(Lane.LOW, n))
    for _ in range(200):
        served[inbox.take().peer] += 1
        inbox.spent(MS)
    assert abs(served[A] - served[B]) <= 2


def test_what_is_urgent_does_not_hold_back_an_identity_s_other_links_for_ever():
    """Their pings and ends are heard, though one link always has more that is urgent."""
    inbox, ping = Inbox(), encode_frame(Ping(1))
    inbox.put(1, A, A, data(Lane.URGENT, 0))
    inbox.put(2, A, A, ping)
    inbox.put(2, A, A, data(Lane.URGENT, 1))
    inbox.end(2, A)
    taken = []
    for n in range(2, 100):
        inbox.put(1, A, A, data(Lane.URGENT, n))
        taken.append(inbox.take())
    of_other = [n for n, entry in enumerate(taken) if entry.link == 2]
    assert of_other == [15, 31, 47], "one of sixteen"
    assert [taken[n].payload for n in of_other] == [ping, data(Lane.URGENT, 1), None]


def test_a_frame_that_nothing_passes_stays_behind_what_is_urgent_of_its_link():
    inbox = Inbox()
    urgent = [data(Lane.URGENT, n) for n in range(40)]
    for each in urgent:
        inbox.put(1, A, A, each)
    inbox.end(1, A)
    assert payloads(inbox) == [*urgent, None]


def test_what_is_urgent_is_seen_in_plain_frames_only():
    assert [lane_claimed(data(lane, 1)) for lane in Lane] == list(Lane)
    appended = bytes([data(Lane.LOW, 1)[0] + 1]) + data(Lane.URGENT, 1)[1:] + b"\xc0"
    assert lane_claimed(appended) is Lane.URGENT, "a later version may append elements"
    strange = [
        b"", b"\x94", b"\x94\x05", b"\x94\x05\x05", b"\x94\x05\xcc\x00", b"\xdc\x00\x04\x05\x00", encode_frame(Ping(1)),
    ]
    assert [lane_claimed(each) for each in strange] == [None] * len(strange)


def test_a_link_that_is_accepted_in_between_keeps_its_order():
    inbox = Inbox()
    inbox.put(1, STRANGERS, A, b"hello")
    inbox.put(2, STRANGERS, B, b"hello")
    inbox.put(1, A, A, b"data")
    assert [entry.payload for entry in drain(inbox) if entry.link == 1] == [b"hello", b"data"]
    inbox.put(1, A, A, b"more")
    assert drain(inbox)[0].payload == b"more"


def test_a_flood_leaves_room_for_a_newcomer():
    inbox = Inbox(bytes_max=100 * (1_000 + ENTRY))
    taken = sum(inbox.put(n % 64, A, A, bytes(1_000)) for n in range(500))
    assert taken == 50, "one identity has half of it, however many links"
    assert sum(inbox.put(100, B, B, bytes(1_000)) for _ in range(500)) == 25
    assert sum(inbox.put(101, C, C, bytes(1_000)) for _ in range(500)) >= 12
    assert inbox.put(102, b"d" * 32, b"d" * 32, bytes(1_000))
    assert inbox.dropped["share"] == 500 - 50 + 500 - 25 + 500 - 12 or inbox.dropped["share"] > 1_300


def test_tiny_frames_cost_what_holding_them_costs():
    inbox = Inbox(bytes_max=100 * ENTRY)
    assert sum(inbox.put(1, A, A, b"") for _ in range(500)) == 50


def test_a_stranger_has_a_hello_waiting_and_its_repeat():
    inbox = Inbox()
    hello = bytes(HELLO_BYTES_MAX)
    assert [inbox.put(1, STRANGERS, A, hello) for _ in range(3)] == [True, True, False]
    assert inbox.put(2, STRANGERS, B, hello), "another is not told to wait for it"
    assert not inbox.put(3, STRANGERS, C, bytes(3 * HELLO_BYTES_MAX)) and inbox.dropped["stranger"] == 2


def test_who_sends_costly_frames_waits_for_them_himself():
    inbox, served = Inbox(), Counter()
    for n in range(400):
        inbox.put(1 + n % 8, A, A, b"costly")
        inbox.put(20, B, B, b"cheap")
    spent_ns = 0
    while spent_ns < 400 * MS:
        entry = inbox.take()
        cost_ns = 20 * MS if entry.peer == A else MS
        inbox.spent(cost_ns)
        served[entry.peer] += cost_ns
        spent_ns += cost_ns
    assert abs(served[A] - served[B]) <= 40 * MS


def test_a_debt_is_not_forgotten_when_the_queue_is_empty():
    """One costly frame at a time, sent again as soon as the last was handled: the oldest trick."""
    inbox, served = Inbox(), Counter()
    for _ in range(1_000):
        inbox.put(2, B, B, b"cheap")
    inbox.put(1, A, A, b"costly")
    while (entry := inbox.take()) is not None and served[B] < 500:
        served[entry.peer] += 1
        inbox.spent(50 * MS if entry.peer == A else MS)
        if entry.peer == A:
            inbox.put(1, A, A, b"costly")
    assert served[B] == 500 and served[A] <= 12


def test_who_was_away_has_nothing_saved_up():
    inbox = Inbox()
    for n in range(200):
        inbox.put(1, A, A, b"")
        if n < 100:
            inbox.take()
            inbox.spent(MS)
    for _ in range(100):
        inbox.put(2, B, B, b"")
    order = []
    while (entry := inbox.take()) is not None:
        order.append(entry.peer)
        inbox.spent(MS)
    assert 45 <= order[:100].count(A) <= 55


def test_debts_are_bounded():
    inbox = Inbox()
    for n in range(20_000):
        key = n.to_bytes(32, "big")
        inbox.put(n, key, key, b"")
        inbox.take()
        inbox.spent(MS)
    assert len(inbox._debts_ns) <= 4_097


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "end", "take"]), st.integers(1, 6), st.booleans(), st.integers(0, 4_000),
        st.integers(0, 5 * MS), st.sampled_from([None, *Lane]),
    ),
    max_size=200,
)


def lines_of(frames):
    """What must stay in order of a link: urgent data, and all that is not urgent data; each with how much of the rest
    that nothing passes was before it."""
    fixed = 0
    urgent, others = [], []
    for frame in frames:
        lane = None if frame is None else lane_claimed(frame)
        if lane is not None and lane <= Lane.CRITICAL:
            urgent.append((frame, fixed))
        else:
            others.append(frame)
            fixed += lane is None
    return urgent, others


@given(steps)
def test_whatever_comes_it_is_bounded_and_in_order(script):
    bytes_max = 40_000
    inbox, came, seen, ended = Inbox(bytes_max), defaultdict(list), defaultdict(list), set()
    for number, (what, link, is_open, size, cost_ns, lane) in enumerate(script):
        peer = bytes([link % 3]) * 32
        if link in ended and what != "take":
            continue
        if what == "put":
            payload = number.to_bytes(4, "big") + bytes(size) if lane is None else data(lane, number)
            if inbox.put(link, peer if is_open else STRANGERS, peer, payload):
                came[link].append(payload)
        elif what == "end":
            ended.add(link)
            if not inbox.end(link, peer):
                came[link].append(None)
        elif (entry := inbox.take()) is not None:
            seen[entry.link].append(entry.payload)
            inbox.spent(cost_ns)
        assert 0 <= inbox.bytes <= bytes_max
        assert bool(inbox) == any(len(came[each]) > len(seen[each]) for each in came)
    for entry in drain(inbox):
        seen[entry.link].append(entry.payload)
    for link, frames in came.items():
        urgent, others = lines_of(frames)
        urgent_seen, others_seen = lines_of(seen[link])
        assert others_seen == others and urgent_seen == urgent, "and nothing passed what nothing passes"
    assert inbox.bytes == 0 and not inbox and not inbox._queues
