"""The time that leases go by: whatever is done to clocks, and however long the machine was off."""

import pytest

from fabric.edge.effects.lease_clock import Clocks, LeaseClock
from tests.support import HOUR_MS

YEAR_MS = 365 * 24 * HOUR_MS


class Machine:
    """Its clocks, and the programs that run on it, one after the other."""

    def __init__(self):
        self.up_ms, self.boot, self.ahead_ms, self.true_ms, self.fabric = 5_000, "one", 0, 10 * YEAR_MS, True
        self.kept = None
        self.begin()

    def clocks(self):
        own_ms = self.true_ms + self.ahead_ms
        fabric_ms = self.true_ms if self.fabric and abs(self.ahead_ms) < 30_000 else 0
        return Clocks(self.up_ms + self.base_ms, self.boot, self.up_ms, own_ms, fabric_ms)

    def begin(self):
        """A program begins, whose steady clock begins anew."""
        self.base_ms = self.true_ms + self.ahead_ms - self.up_ms
        self.clock = LeaseClock(self.kept, self.clocks())

    def runs(self, ms):
        self.up_ms += ms
        self.true_ms += ms

    @property
    def now(self):
        self.clock.look(self.clocks())
        return self.clock.now(self.clocks().now_ms)

    def ends(self):
        self.kept = self.clock.mark(self.clocks())

    def reboots(self, off_ms, ahead_ms=None):
        self.boot, self.up_ms = self.boot + "'", 1_000
        self.true_ms += off_ms
        self.ahead_ms = self.ahead_ms if ahead_ms is None else ahead_ms
        self.begin()


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize("ahead_ms", [0, -9 * YEAR_MS, YEAR_MS])
def test_while_the_machine_is_up_no_clock_that_is_set_and_no_restart_changes_it(machine, ahead_ms):
    before = machine.now
    machine.runs(HOUR_MS)
    machine.ahead_ms = ahead_ms
    assert machine.now - before == HOUR_MS
    machine.ends()
    machine.runs(HOUR_MS)
    machine.begin()
    assert machine.now - before == 2 * HOUR_MS


def test_what_a_program_that_was_killed_had_not_kept_is_counted_nevertheless(machine):
    machine.ends()
    before = machine.now
    machine.runs(HOUR_MS)
    machine.begin()
    assert machine.now - before == HOUR_MS


def test_the_time_for_which_the_machine_was_off_is_counted(machine):
    machine.ends()
    before = machine.now
    machine.reboots(HOUR_MS)
    assert machine.now - before == HOUR_MS
    machine.runs(1_000)
    assert machine.now - before == HOUR_MS + 1_000
    machine.ends()
    machine.begin()
    assert machine.now - before == HOUR_MS + 1_000, "once"


def test_cut_off_it_goes_by_the_machine_s_clock_after_a_minute(machine):
    machine.ends()
    before = machine.now
    machine.fabric = False
    machine.reboots(HOUR_MS)
    assert machine.now - before == 0
    machine.runs(60_000)
    assert machine.now - before == HOUR_MS + 60_000
    machine.ends()
    machine.runs(1_000)
    machine.begin()
    assert machine.now - before == 61_000, "a relay is waited for again"
    machine.runs(60_000)
    assert machine.now - before == HOUR_MS + 121_000


@pytest.mark.parametrize("ahead_ms", [-9 * YEAR_MS, -2 * HOUR_MS])
def test_a_clock_that_went_back_counts_as_nothing_and_the_fabric_s_puts_it_right(machine, ahead_ms):
    machine.ends()
    before = machine.now
    machine.reboots(HOUR_MS, ahead_ms)
    machine.runs(120_000)
    assert machine.now - before == 120_000, "it outlasts its time by that for which the machine was off, at most"
    machine.ends()
    machine.begin()
    assert machine.now - before == 120_000
    machine.ahead_ms = 0
    assert machine.now - before == HOUR_MS + 120_000


def test_a_clock_that_jumped_forward_is_not_believed_while_a_relay_may_tell_the_time(machine):
    machine.ends()
    before = machine.now
    machine.reboots(HOUR_MS, ahead_ms=YEAR_MS)
    machine.runs(59_000)
    assert machine.now - before == 59_000
    machine.ahead_ms = 0  # set right by then
    assert machine.now - before == HOUR_MS + 59_000


def test_a_machine_that_knows_no_start_of_its_own_goes_by_the_clocks_of_the_day(machine):
    machine.boot = ""
    machine.begin()
    machine.ends()
    before = machine.now
    machine.runs(HOUR_MS)
    machine.begin()
    assert machine.now - before == HOUR_MS


def test_when_an_effect_begins_it_is_settled(machine):
    machine.ends()
    before = machine.now
    machine.fabric = False
    machine.reboots(HOUR_MS)
    machine.clock.look(machine.clocks(), at_once=True)
    assert machine.now - before == HOUR_MS
    machine.fabric, machine.ahead_ms = True, 5 * HOUR_MS
    assert machine.now - before == HOUR_MS
    assert machine.clock.when(machine.now) == machine.clocks().now_ms
