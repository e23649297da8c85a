from fabric.protocol.access.rates import Rates


def allowed(rates, count, *, origin="zeek-1", rate=10, at_ms=0):
    return sum(rates.allow(origin, 1, rate, at_ms) for _ in range(count))


def test_a_rate_of_zero_is_no_limit():
    assert allowed(Rates(), 10_000, rate=0) == 10_000


def test_after_a_quiet_moment_ten_seconds_worth_may_go_at_once():
    assert allowed(Rates(), 1_000) == 100


def test_then_the_rate_holds():
    rates = Rates()
    allowed(rates, 1_000)
    assert allowed(rates, 1_000, at_ms=1_000) == 10
    assert allowed(rates, 1_000, at_ms=1_050) == 0
    assert allowed(rates, 1_000, at_ms=1_100) == 1


def test_what_is_refused_takes_nothing():
    rates = Rates()
    allowed(rates, 99)
    assert not rates.allow("zeek-1", 2, 10, 0)
    assert rates.allow("zeek-1", 1, 10, 0)


def test_a_bucket_never_holds_more_than_its_size():
    rates = Rates()
    allowed(rates, 100)
    assert allowed(rates, 1_000, at_ms=3_600_000) == 100


def test_a_batch_larger_than_the_bucket_passes_a_full_one_and_is_paid_back():
    rates = Rates()
    assert rates.allow("zeek-1", 150, 10, 0)
    assert not rates.allow("zeek-1", 1, 10, 5_000)
    assert rates.allow("zeek-1", 1, 10, 5_200)


def test_one_origin_does_not_use_up_anothers():
    rates = Rates()
    allowed(rates, 1_000)
    assert allowed(rates, 1_000, origin="zeek-2") == 100


def test_a_clock_that_was_set_back_gives_nothing_away():
    rates = Rates()
    allowed(rates, 1_000, at_ms=10_000)
    assert allowed(rates, 1_000, at_ms=0) == 0


def test_a_generous_grant_does_not_fill_the_bucket_of_a_tight_one():
    rates = Rates()
    passed = 0
    for at_ms in range(0, 1_000, 10):
        rates.allow("zeek-1", 1, 10_000, at_ms)
        passed += rates.allow("zeek-1", 1, 1, at_ms)
    assert passed <= 11


def test_nobody_gets_a_full_bucket_by_having_others_pushed_out():
    """However many come, a bucket that somebody used up is there until it is full again."""
    rates = Rates(buckets_max=100)
    assert allowed(rates, 1_000) == 100
    for n in range(1_000):
        allowed(rates, 1, origin=f"sybil-{n}")
    assert len(rates) == 100 and allowed(rates, 1_000, at_ms=1_000) == 10


def test_who_finds_no_room_waits_until_buckets_are_full():
    rates = Rates(buckets_max=100)
    for n in range(100):
        allowed(rates, 1, origin=f"sybil-{n}")
    assert allowed(rates, 1) == 0
    assert allowed(rates, 1, at_ms=100) == 0, "they are looked at once a second"
    assert allowed(rates, 1, at_ms=1_000) == 1 and len(rates) == 1


def test_a_bucket_that_is_not_full_is_kept_when_the_others_go():
    rates = Rates(buckets_max=2)
    allowed(rates, 1_000)
    allowed(rates, 1, origin="edr-1")
    assert allowed(rates, 1, origin="new", at_ms=5_000) == 1
    assert len(rates) == 2 and allowed(rates, 1_000, at_ms=5_000) == 50
