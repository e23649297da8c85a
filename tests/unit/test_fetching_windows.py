"""What is asked for next, and in which order what comes is written."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.fetching.windows import Windows
from fabric.protocol.base.limits import CHUNK_BYTES, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN
from fabric.protocol.vocabulary.fetching import Wanted

MB = 2**20


def test_the_next_range_is_asked_for_when_half_of_the_one_before_is_there():
    windows = Windows(100 * MB, 0)
    first = windows.range_bytes
    assert windows.ask(0) == (0, first) and windows.ask(0) is None
    for offset, bytes_ in Wanted("0" * 16, 0, first // 2).pieces(100 * MB):
        windows.take(offset, bytes(bytes_), 0)
    assert windows.ask(0) == (first, first) and windows.ask(0) is None


def test_ranges_grow_while_they_come_quickly_and_shrink_when_they_do_not():
    windows, now_ms, sizes = Windows(1000 * MB, 0), 0, []
    for took_ms in [100] * 8 + [3_000] * 2 + [10_000] * 8:
        windows.again()
        offset, bytes_ = windows.ask(now_ms)
        now_ms += took_ms
        for begin, size in Wanted("0" * 16, offset, bytes_).pieces(1000 * MB):
            windows.take(begin, bytes(size), now_ms)
        sizes.append(windows.range_bytes)
    assert max(sizes) == WINDOW_BYTES_MAX and sizes[7] == sizes[9] and sizes[-1] == WINDOW_BYTES_MIN


def test_what_was_not_asked_for_adds_nothing():
    windows = Windows(10 * MB, 100)
    assert windows.take(100, b"x", 0) == []
    windows.ask(0)
    assert windows.take(99, b"x", 0) == [] and windows.take(100, b"", 0) == []
    assert windows.take(windows.asked_to - 1, b"xx", 0) == []
    assert windows.take(100, b"x", 0) == [b"x"] and windows.take(100, b"x", 0) == [] and windows.at == 101


def test_what_is_kept_for_later_is_no_more_than_was_asked_for():
    windows = Windows(10 * MB, 0)
    _, bytes_ = windows.ask(0)
    for shift in range(5):
        for offset in range(1 + shift, bytes_ - CHUNK_BYTES, CHUNK_BYTES):
            windows.take(offset, bytes(CHUNK_BYTES), 0)
    assert sum(map(len, windows._ahead.values())) <= bytes_


def test_one_that_is_there_is_done():
    assert Windows(0, 0).done and Windows(5, 5).done and Windows(5, 5).ask(0) is None


steps = st.lists(st.one_of(
    st.tuples(st.just("ask"), st.just(0), st.just(0)),
    st.tuples(st.just("again"), st.booleans(), st.just(0)),
    st.tuples(st.just("piece"), st.integers(0, 40), st.integers(1, 9)),
    st.tuples(st.just("range"), st.just(0), st.just(0)),
), max_size=60)  # fmt: skip


@given(size=st.integers(0, 3_000_000), at=st.floats(0, 1), what=steps)
def test_whatever_comes_in_whatever_order_what_is_written_is_the_artifact(size, at, what):
    """Each byte says where it belongs."""
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    windows, written, asked = Windows(size, int(at * size)), [], []
    begin = windows.at
    for kind, one, two in [*what, ("ask", 0, 0), ("range", 0, 0)]:
        if kind == "ask" and (range_ := windows.ask(0)) is not None:
            assert range_[0] + range_[1] <= size and 0 < range_[1] <= WINDOW_BYTES_MAX
            asked.append(range_)
        elif kind == "again":
            windows.again(slower=one)
        elif kind == "piece":  # any piece that a target may ever have sent, or one that overlaps
            offset = one * CHUNK_BYTES // 3
            written += windows.take(offset, content[offset:offset + two * CHUNK_BYTES // 3], 0)
        elif kind == "range" and asked:
            for offset, bytes_ in Wanted("0" * 16, *asked.pop()).pieces(size):
                written += windows.take(offset, content[offset:offset + bytes_], 0)
        assert b"".join(written) == content[begin:windows.at]
        assert windows.done == (windows.at >= size)
    while not windows.done:  # and it comes whole in the end
        windows.again()
        offset, bytes_ = windows.ask(0)
        for first, length in Wanted("0" * 16, offset, bytes_).pieces(size):
            written += windows.take(first, content[first:first + length], 0)
    assert b"".join(written) == content[begin:]
