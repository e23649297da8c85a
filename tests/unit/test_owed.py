"""When a turn is committed: with what it promises at once, and ends of rows alone a moment later."""

import pytest

from fabric.protocol.core.ready import Done, Seen, Sleep
from fabric.protocol.wire.frames import Direction
from fabric.spool import Owed
from tests.support import T0

ENDS_MAX = 512


class Disk:
    """What was committed, one list a commit."""

    def __init__(self):
        self.commits = []

    def commit(self, ops):
        self.commits.append(list(ops))


@pytest.fixture
def disk():
    return Disk()


def end(number):
    return Done(number.to_bytes(16), Direction.UP, "^", last=True)


def promise(number):
    return Seen(number.to_bytes(16), Direction.UP, T0 + 60_000)


@pytest.mark.parametrize("ops", [
    [promise(1)], [promise(1), end(2)], [end(2), promise(1)], [Done(bytes(16), Direction.DOWN, "fw-1", last=True)],
])
def test_what_is_promised_is_there_at_once_whatever_else_comes_with_it(disk, ops):
    Owed(disk).commit(ops, T0)
    assert disk.commits == [ops]


def test_what_is_owed_goes_before_what_came_later_and_in_one_commit(disk):
    owed = Owed(disk)
    owed.commit([end(1)], T0)
    owed.commit([end(2)], T0 + 1)
    assert disk.commits == [] and owed.due_ms == T0 + 50
    owed.commit([promise(3), end(4)], T0 + 2)
    assert disk.commits == [[end(1), end(2), promise(3), end(4)]] and owed.due_ms is None


def test_the_moment_begins_with_the_first_that_is_owed(disk):
    owed = Owed(disk)
    owed.commit([end(1)], T0)
    owed.commit([end(2)], T0 + 49)
    owed.commit([], T0 + 49)
    assert disk.commits == []
    owed.commit([], T0 + 50)
    assert disk.commits == [[end(1), end(2)]]
    owed.commit([], T0 + 60)
    owed.commit([end(3)], T0 + 70)
    assert len(disk.commits) == 1 and owed.due_ms == T0 + 120, "and anew with the first after a commit"


def test_no_more_are_owed_than_so_many(disk):
    owed = Owed(disk)
    owed.commit([end(n) for n in range(ENDS_MAX - 1)], T0)
    assert disk.commits == []
    owed.commit([end(ENDS_MAX)], T0)
    assert [len(ops) for ops in disk.commits] == [ENDS_MAX]


def test_that_a_row_sleeps_needs_no_commit_of_its_own(disk):
    owed = Owed(disk)
    owed.commit([Sleep(bytes(16), Direction.UP, 0, 100, ("point:a/00",))], T0)
    assert disk.commits == [] and owed.due_ms is not None


def test_at_the_end_all_of_it_is_there_and_nothing_twice(disk):
    owed = Owed(disk)
    owed.settle()
    owed.commit([end(1)], T0)
    owed.settle()
    owed.settle()
    assert disk.commits == [[end(1)]] and owed.due_ms is None
