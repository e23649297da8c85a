import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.envelope.lifetime import (
    ClockOffset,
    Transit,
    check_lifetime,
    expired,
    format_duration,
    from_future,
    parse_duration,
    remaining_ms,
)

NOW = 1_800_000_000_000


def test_age_alone_ends_a_message_where_clocks_are_wrong():
    for suspect in (False, True):
        assert expired(issued_at_ms=NOW, ttl_ms=100, age_ms=100, now_ms=0, by_age_only=suspect)
        assert not expired(issued_at_ms=NOW, ttl_ms=100, age_ms=99, now_ms=0, by_age_only=suspect)


def test_a_relay_that_lies_about_age_does_not_outlive_the_signed_bound():
    def over(now_ms, suspect=False):
        return expired(
            issued_at_ms=NOW, ttl_ms=100, age_ms=0, now_ms=now_ms, skew_ms=30, by_age_only=suspect
        )

    assert not over(NOW + 130)
    assert over(NOW + 131)
    assert not over(NOW + 131, suspect=True)


millis = st.integers(0, 10_000)


@given(ttl=millis, age=millis, issued=millis, now=millis, skew=millis, suspect=st.booleans())
def test_remaining_is_exactly_when_it_expires(ttl, age, issued, now, skew, suspect):
    def over(later):
        return expired(
            issued_at_ms=issued,
            ttl_ms=ttl,
            age_ms=age + later,
            now_ms=now + later,
            skew_ms=skew,
            by_age_only=suspect,
        )

    left = remaining_ms(
        issued_at_ms=issued, ttl_ms=ttl, age_ms=age, now_ms=now, skew_ms=skew, by_age_only=suspect
    )
    assert over(left)
    assert left == 0 or not over(left - 1)


def test_within_the_skew_the_future_is_only_a_fast_clock():
    assert not from_future(NOW + 30_000, NOW)
    assert from_future(NOW + 30_001, NOW)


def test_arrivals_are_judged_in_order():
    def code(issued=NOW, ttl=60_000, age=0, kind="action", suspect=False):
        refused = check_lifetime(kind, issued, ttl, age, NOW, by_age_only=suspect)
        return refused and refused.code

    assert code() is None
    assert code(issued=NOW + 60_000) is Code.FROM_FUTURE
    assert code(issued=NOW + 60_000, suspect=True) is None
    assert code(issued=NOW - 200_000) is Code.EXPIRED
    assert code(issued=NOW - 200_000, suspect=True) is None
    assert code(age=60_000, suspect=True) is Code.EXPIRED
    assert code(ttl=0) is Code.EXPIRED
    assert code(ttl=TTL_MAX_MS["action"]) is None
    assert code(ttl=TTL_MAX_MS["action"] + 1) is Code.TTL_TOO_LONG
    assert code(ttl=TTL_MAX_MS["action"] + 1, kind="event") is None
    assert code(age=-1) is Code.MALFORMED
    assert code(kind="gossip") is Code.UNKNOWN_KIND


def test_only_what_exceeds_the_links_usual_is_transit():
    link = Transit()
    assert link.observe(1_000, 6_000) == 0  # clocks five seconds apart: that is usual here
    assert link.observe(2_000, 7_000) == 0
    assert link.observe(3_000, 10_000) == 2_000  # two seconds in a full pipe
    assert link.observe(4_000, 8_990) == 0  # a faster frame is the new usual
    assert link.observe(5_000, 10_000) == 10


def test_drifting_clocks_do_not_make_messages_old():
    link, worst = Transit(), 0
    for second in range(0, 7 * 86_400, 30):  # a week, the sender's clock losing 10 s a day
        worst = max(worst, link.observe(second * 1_000 - second * 10_000 // 86_400, second * 1_000))
    assert worst <= 70


def test_a_clock_that_was_set_back_or_a_long_silence_begins_anew():
    link = Transit()
    assert link.observe(1_000_000, 1_000_000) == 0
    assert link.observe(1_001_000, 900_000) == 0
    assert link.observe(1_002_000, 901_000) == 0
    assert link.observe(1_500_000, 1_502_000) == 0  # ten minutes later: nothing to compare with


def test_the_ping_with_the_shortest_round_trip_tells_the_offset():
    clock = ClockOffset()
    assert (clock.offset_ms, clock.measured) == (0, False)
    clock.observe(1_000, 45_900, 3_000)
    assert clock.offset_ms == 43_900
    clock.observe(4_000, 44_005, 4_010)
    clock.observe(5_000, 49_000, 9_000)
    assert clock.offset_ms == 40_000
    assert (clock.offset_ms, clock.measured) == (40_000, True)


def test_old_pings_are_forgotten_and_impossible_ones_ignored():
    clock = ClockOffset()
    clock.observe(100, 600, 100)
    for _ in range(7):
        clock.observe(100, 0, 99)  # received before it was sent
        clock.observe(100, 105, 110)
    assert clock.offset_ms == 500
    clock.observe(100, 105, 110)
    assert clock.offset_ms == 0


def test_when_a_clock_was_set_what_was_measured_before_is_void():
    clock = ClockOffset()
    clock.observe(100, 100, 100)
    clock.observe(200, 3_600_210, 220)  # here or above: the first cannot be true any more
    assert clock.offset_ms == 3_600_000
    clock.observe(300, 303, 340)
    assert abs(clock.offset_ms) <= 20
    clock.observe(1_000, 22_000, 41_000)  # a slow one says little, and contradicts nobody
    assert abs(clock.offset_ms) <= 20


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30s", 30_000),
        ("10m", 600_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("250ms", 250),
        ("1h30m", 5_400_000),
        ("0s", 0),
        (" 5m ", 300_000),
    ],
)
def test_durations_are_read(text, ms):
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    "text", ["", " ", "30", "s", "-5s", "1.5h", "5 m", "30m1h", "1w", "\u0663s", "9" * 99 + "s"]
)
def test_what_is_no_duration_is_a_usage_error(text):
    with pytest.raises(FabricError) as caught:
        parse_duration(text)
    assert caught.value.code is Code.USAGE


@given(st.integers(0, 10**15))
def test_durations_are_written_as_they_are_read(ms):
    assert parse_duration(format_duration(ms)) == ms


def test_durations_are_written_for_people():
    assert format_duration(5_400_000) == "1h30m"
    assert format_duration(604_800_000) == "7d"
    assert format_duration(1_250) == "1s250ms"
    assert format_duration(0) == "0s"
    assert format_duration(-40_000) == "-40s"


def test_what_was_typed_is_named_where_it_is_no_duration():
    with pytest.raises(FabricError, match="'5' is not a duration"):
        parse_duration("5")
