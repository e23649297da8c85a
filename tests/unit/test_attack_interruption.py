"""A Ctrl-C while a tree is taken down is heard afterwards, and only once."""

import signal

import pytest

from scripts.attacks import interruption


@pytest.fixture(autouse=True)
def expecting():
    before = {asked: signal.getsignal(asked) for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interruption.expect()
    yield
    for asked, handler in before.items():
        signal.signal(asked, handler)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_ends_what_runs_and_a_second_one_does_nothing(asked):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(asked)
    signal.raise_signal(signal.SIGINT)


def test_one_that_comes_while_it_is_held_waits():
    interruption.hold()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruption.release()


def test_without_one_nothing_is_raised():
    interruption.hold()
    interruption.release()
