from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.limits import LANE_WINDOW_BYTES
from fabric.protocol.links.credit import LinkCredit
from fabric.protocol.vocabulary.severity import Lane


def every(lane):
    return True


def test_both_sides_start_with_a_full_window():
    credit = LinkCredit()
    assert credit.allowance() == [LANE_WINDOW_BYTES] * len(Lane)
    assert credit.grant(every) is None


def test_what_was_sent_takes_from_its_lane_only():
    credit = LinkCredit()
    credit.sent(Lane.HIGH, 1_000)
    assert credit.allowance()[Lane.HIGH] == LANE_WINDOW_BYTES - 1_000
    assert credit.allowance()[Lane.LOW] == LANE_WINDOW_BYTES


def test_what_is_sent_again_is_paid_once():
    credit = LinkCredit()
    credit.sent(Lane.HIGH, 1_000)
    credit.refund(Lane.HIGH, 1_000)
    assert credit.allowance()[Lane.HIGH] == LANE_WINDOW_BYTES


def test_credit_is_given_when_half_a_window_was_used():
    credit = LinkCredit()
    credit.consume(Lane.HIGH, LANE_WINDOW_BYTES // 2 - 1)
    assert credit.grant(every) is None
    credit.consume(Lane.HIGH, 1)
    frame = credit.grant(every)
    assert frame.allowed_bytes[Lane.HIGH] == LANE_WINDOW_BYTES // 2 + LANE_WINDOW_BYTES
    assert credit.grant(every) is None


def test_credit_is_cumulative_so_a_lost_one_is_made_good_by_the_next():
    credit = LinkCredit()
    credit.consume(Lane.LOW, LANE_WINDOW_BYTES)
    lost = credit.grant(every)
    repeated = credit.grant(every, always=True)
    assert repeated == lost
    assert repeated.allowed_bytes[Lane.LOW] == 2 * LANE_WINDOW_BYTES


def test_a_lane_that_takes_nothing_in_is_granted_nothing_until_it_does_again():
    credit = LinkCredit()
    for lane in Lane:
        credit.consume(lane, LANE_WINDOW_BYTES)
    frame = credit.grant(lambda lane: lane is not Lane.LOW)
    assert frame.allowed_bytes[Lane.LOW] == LANE_WINDOW_BYTES, "what was granted stays granted"
    assert frame.allowed_bytes[Lane.HIGH] == 2 * LANE_WINDOW_BYTES
    assert credit.grant(lambda lane: lane is not Lane.LOW) is None
    assert credit.grant(every).allowed_bytes[Lane.LOW] == 2 * LANE_WINDOW_BYTES


def test_a_lane_that_was_not_granted_what_it_used_is_stinted_until_it_is():
    credit = LinkCredit()
    credit.consume(Lane.LOW, 1)
    credit.grant(lambda lane: False)
    assert credit.stinted
    credit.grant(every)
    assert not credit.stinted


@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, LANE_WINDOW_BYTES), st.booleans())))
def test_what_two_sides_count_is_the_same_whatever_is_lost(steps):
    ours, theirs = LinkCredit(), LinkCredit()
    for lane, bytes_, lost in steps:
        if ours.allowance()[lane] < bytes_:
            continue
        ours.sent(lane, bytes_)
        theirs.consume(lane, bytes_)
        frame = theirs.grant(every)
        if frame is not None and not lost:
            ours.allow(frame.allowed_bytes)
        assert all(0 <= allowance <= LANE_WINDOW_BYTES for allowance in ours.allowance())
    ours.allow(theirs.grant(every, always=True).allowed_bytes)
    assert ours.allowance() == [LANE_WINDOW_BYTES] * len(Lane)
