"""Programs of a comparison: what they cost, and what is said when one ends early."""

import os
import time

import pytest

from scripts.comparison.processes import Cpu, Failed, Program, cpu_us


def test_processor_time_is_that_of_the_process_and_of_the_kernel_for_it():
    """A name may have anything in it, parentheses too."""
    stat = "7 (a) R 1 (x) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 12345"
    assert cpu_us(stat, ticks_per_s=100) == 2_000_000


def test_the_cost_of_a_record_is_that_since_the_beginning():
    cpu = Cpu({"this": os.getpid()})
    cpu.begin()
    began_s = time.process_time()
    while time.process_time() - began_s < 0.1:
        pass
    assert cpu.per_record(10)["this"] >= 80_000 / 10
    assert cpu.per_record(0)["this"] >= 80_000  # no division by nothing


def test_a_program_that_ended_says_its_last_words(tmp_path):
    with Program(tmp_path / "reader.log", "scripts.comparison.nothing") as program, pytest.raises(Failed) as failed:
        program.hear()
    assert "reader ended early" in str(failed.value)
    assert "No module named scripts.comparison.nothing" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_program_that_says_nothing_in_time_is_named(tmp_path):
    with Program(tmp_path / "reader.log", "code", "-q") as program, pytest.raises(Failed, match="reader said nothing"):
        program.hear(timeout_s=0.01)
