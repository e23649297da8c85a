from fabric.protocol.rates import Rates


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
