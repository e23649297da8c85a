"""When a relay looks for garbage, and that Python does not by itself."""

import gc
import weakref

import pytest

from relays.process.garbage import Garbage


class Knot:
    """What only a full look finds."""

    def __init__(self):
        self.self = self


@pytest.fixture
def garbage():
    before = gc.get_threshold()
    yield Garbage(0)  # what the tests themselves froze stays so: to look at all of it takes a second
    gc.set_threshold(*before)


def knot():
    """An old one, lost: no look at young objects finds it."""
    made = Knot()
    found = weakref.ref(made)
    gc.collect(1)
    gc.collect(1)
    del made
    return found


def test_a_full_look_is_taken_once_a_minute_while_little_is_held(garbage):
    lost = knot()
    garbage.look(10, 59_999)
    assert lost() is not None
    garbage.look(10, 60_000)
    assert lost() is None
    lost = knot()
    garbage.look(10, 119_999)
    assert lost() is not None
    garbage.look(10, 120_000)
    assert lost() is None


def test_and_not_while_much_waits(garbage):
    lost = knot()
    garbage.look(1_001, 60_000)
    assert lost() is not None
    garbage.look(1_000, 60_250)
    assert lost() is None


def test_python_takes_none_by_itself(garbage):
    looks = []

    def count(phase, info):
        if phase == "start" and info["generation"] == 2:
            looks.append(info)

    gc.callbacks.append(count)
    try:
        many = [[] for _ in range(300_000)]
    finally:
        gc.callbacks.remove(count)
    assert len(many) == 300_000 and looks == []


def test_what_was_there_at_the_start_is_looked_at_no_more():
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    made = [[] for _ in range(1_000)]
    Garbage(0)
    gc.set_threshold(*threshold)
    assert gc.get_freeze_count() >= before + len(made)
