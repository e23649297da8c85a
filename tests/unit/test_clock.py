"""A clock that does not jump, whatever happens to the machine's."""

import json
import os

import pytest

from fabric.transport.clock import Clock, boot_id, up_ns


class Machine:
    def __init__(self):
        self.wall_s, self.up_s, self.boot = 1_000.0, 50.0, "first"

    def clock(self, kept=None):
        return Clock(kept, lambda: int(self.wall_s * 1e9), lambda: int(self.up_s * 1e9), self.boot)

    def pass_(self, seconds, wall=None):
        self.up_s += seconds
        self.wall_s += seconds if wall is None else wall


def test_it_begins_with_the_machine_s_clock_and_runs_on():
    machine = Machine()
    clock = machine.clock()
    assert (clock.now_ms(), clock.wall_ahead_ms()) == (1_000_000, 0)
    machine.pass_(2)
    assert (clock.now_ms(), clock.wall_ahead_ms()) == (1_002_000, 0)


def test_a_machine_s_clock_that_is_set_does_not_move_it_and_is_told():
    machine = Machine()
    clock = machine.clock()
    machine.pass_(2, wall=3_602)
    assert (clock.now_ms(), clock.wall_ahead_ms()) == (1_002_000, 3_600_000)
    machine.pass_(2, wall=-4_098)
    assert (clock.now_ms(), clock.wall_ahead_ms()) == (1_004_000, -500_000)


def test_it_goes_on_over_restarts_of_its_process(tmp_path):
    machine, kept = Machine(), tmp_path / "hq.clock"
    machine.clock(kept)
    machine.pass_(10, wall=-500)
    again = machine.clock(kept)
    assert (again.now_ms(), again.wall_ahead_ms()) == (1_010_000, -510_000)


def test_and_begins_with_the_machine_s_clock_again_when_that_starts_anew(tmp_path):
    machine, kept = Machine(), tmp_path / "hq.clock"
    machine.clock(kept)
    machine.boot, machine.up_s, machine.wall_s = "second", 1.0, 2_000.0
    assert (machine.clock(kept).now_ms(), machine.clock(kept).wall_ahead_ms()) == (2_000_000, 0)


@pytest.mark.parametrize("correction_s", [-360, 3_600])
def test_a_clock_that_was_put_right_stays_right_over_a_start_of_the_machine(tmp_path, correction_s):
    machine, kept = Machine(), tmp_path / "hq.clock"
    clock = machine.clock(kept)
    machine.pass_(2, wall=2 + correction_s)
    clock.wall_ahead_ms()
    machine.pass_(8)
    before_ms = clock.now_ms()
    for boot in ("second", "third"):
        machine.boot, machine.up_s, machine.wall_s = boot, 1.0, machine.wall_s + 30
        before_ms += 30_000
        for _ in range(2):
            again = machine.clock(kept)
            assert (again.now_ms(), again.wall_ahead_ms()) == (before_ms, correction_s * 1_000)


def test_the_file_is_written_when_the_machine_s_clock_has_moved_and_not_each_time_it_is_looked_at(tmp_path):
    machine, kept = Machine(), tmp_path / "hq.clock"
    clock, written = machine.clock(kept), []
    for wall_s in (2, 2.5, 2.5, 1.5, 7):
        machine.pass_(2, wall=wall_s)
        clock.wall_ahead_ms()
        written.append(json.loads(kept.read_text())["wall_ahead_ms"])
    assert written == [0, 0, 1_000, 1_000, 5_500]


def test_a_file_that_cannot_be_read_or_written_is_done_without(tmp_path):
    machine, kept = Machine(), tmp_path / "hq.clock"
    for damaged in (
        "", "[]", "{", '{"boot": "first"}', '{"boot": "first", "base_ms": "x"}', '{"boot": "old", "wall_ahead_ms": []}',
    ):
        kept.write_text(damaged)
        assert machine.clock(kept).now_ms() == 1_000_000
    assert machine.clock(tmp_path / "hq.clock" / "below a file").now_ms() == 1_000_000
    assert machine.clock(tmp_path / "no folder" / "hq.clock").now_ms() == 1_000_000


def test_where_nobody_can_tell_one_start_of_the_machine_from_another_nothing_is_kept(tmp_path):
    machine, kept = Machine(), tmp_path / "hq.clock"
    machine.boot = ""
    machine.clock(kept)
    assert not kept.exists()


def test_the_real_ones_run():
    before = up_ns()
    assert up_ns() >= before > 0
    assert boot_id() or not os.path.exists("/proc/sys/kernel/random/boot_id")


def test_a_machine_that_thinks_it_is_1969_counts_from_1970_and_its_times_can_be_written_down():
    machine = Machine()
    machine.wall_s = -1_000_000.0
    clock = machine.clock()
    assert clock.now_ms() == 0 and clock.wall_ahead_ms() == 0
    machine.pass_(2)
    assert clock.now_ms() == 2_000 and clock.now_ms() + clock.wall_ahead_ms() == 0
    machine.wall_s = 1_700_000_000.0  # somebody sets it
    machine.pass_(2)
    assert clock.now_ms() == 4_000 and clock.now_ms() + clock.wall_ahead_ms() == 1_700_000_002_000
