"""A Ctrl-C while a tree is taken down is heard afterwards, and only once."""

import io
import signal
import threading
from types import SimpleNamespace

import pytest

from scripts.attacks import interruption
from scripts.attacks.process import Process


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


def test_half_a_line_of_a_child_that_was_killed_says_nothing():
    said = []
    child = Process.__new__(Process)
    child.ready = threading.Event()
    child._popen = SimpleNamespace(stdout=io.StringIO('"ready"\n{"arrivals": [1, 2'))
    child.take = lambda value: said.append(value) or True
    child._listen()
    assert said == ["ready"] and child.ready.is_set()
