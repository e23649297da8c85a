"""Who tells what no handler does: woken for what there is to do, and for nothing else."""

import threading
from types import SimpleNamespace

import structlog

from fabric.edge.acting.at_work import AtWork
from fabric.edge.acting.clerk import Clerk
from fabric.edge.acting.letters import Letters
from fabric.edge.acting.waiting import Waiting
from fabric.edge.control import Control
from fabric.edge.handling.handlers import Answer
from fabric.edge.locks import Condition, Room
from tests.integration.harness import wait_for
from tests.unit.test_at_work import ABOUT
from tests.unit.test_edge_executing import Loop


class Desk(Room):
    """It says how often it was rung, and whether somebody sleeps at it."""

    rung = 0
    sleeper = None

    def wait(self, timeout=None):
        self.sleeper = timeout or "for ever"
        try:
            return super().wait(timeout)
        finally:
            self.sleeper = None

    def notify_all(self):
        self.rung += 1
        super().notify_all()


class Office:
    def __init__(self):
        self.loop, self.looked = Loop(), 0
        self.changed = Condition()
        self.desk, self.at_work = Desk(self.changed), AtWork()
        self.letters = Letters(self.loop, self.loop.publish, self.changed, self.desk, structlog.get_logger())
        self.now_ms = 10_000
        there = SimpleNamespace(identity=self.loop.identity, clock=SimpleNamespace(now_ms=lambda: self.now_ms))
        self.clerk = Clerk(
            there, self.loop.publish, self.letters, self.at_work, Waiting(), self.changed, self.desk, self._look
        )
        self.thread = threading.Thread(target=self.clerk.run, daemon=True)
        self.thread.start()

    def _look(self):
        self.looked += 1

    def sleeps(self, until):
        wait_for(lambda: self.desk.sleeper == until, f"it sleeps {until} s")

    def taken(self, *, waits=False):
        with self.changed:
            self.at_work.taken(ABOUT, Control(), self.now_ms)
            self.clerk.needed(waits=waits)

    def ended(self):
        with self.changed:
            self.at_work.ended(ABOUT.id)

    def close(self):
        with self.changed:
            self.clerk.abandon()
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_what_is_over_at_once_wakes_it_once_and_what_comes_soon_after_it_not_at_all():
    office = Office()
    office.sleeps("for ever")
    office.taken()
    office.sleeps(1.0)
    for _ in range(3):
        office.ended()
        office.taken()
    assert office.desk.rung == 1 and office.desk.sleeper == 1.0
    office.close()


def test_it_looks_soon_at_what_waits_for_a_handler():
    office = Office()
    office.sleeps("for ever")
    office.taken()
    office.sleeps(1.0)
    office.taken(waits=True)
    assert office.desk.rung == 2
    wait_for(lambda: office.looked >= 2, "it looks at what waits")
    office.close()


def test_it_says_that_something_is_at_work_when_that_is_due():
    office = Office()
    office.sleeps("for ever")
    office.taken()
    office.now_ms += 1_000
    wait_for(lambda: office.loop.published, "something is said")
    (record,) = [record for _, record in office.loop.published]
    assert record["state"] == "accepted"
    office.close()


def test_an_answer_that_no_handler_gave_is_told_at_once():
    office = Office()
    office.sleeps("for ever")
    with office.changed:
        office.letters.taken()
        office.letters.add(office.letters.reply(ABOUT, Answer()))
    wait_for(lambda: office.loop.ends(), "it is told")
    assert office.letters.open == 0
    office.close()
