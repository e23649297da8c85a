"""Running a command: its exit counts, and nothing that it prints, starts or leaves behind delays or costs anything."""

import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from relays.cli.edge.execution import ERRORS_BYTES_MAX, LINE_BYTES_MAX, OUTPUT_BYTES_MAX, Halt, run


def sh(script, given=b"", timeout_s=20.0, halt=None, hear=lambda _: None):
    began = time.monotonic()
    ran = run(["/bin/sh", "-c", script], given, timeout_s, (halt or Halt(),), hear)
    return ran, time.monotonic() - began


def is_gone(pid):
    """Ended, whether or not somebody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_gone(pid):
    deadline = time.monotonic() + 10
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)


@pytest.fixture(params=["told of exits", "looks for exits"])
def machine(request, monkeypatch):
    if request.param == "looks for exits":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


def test_input_output_errors_and_exit_code(machine):
    ran, _ = sh("cat; echo said >&2; exit 3", b'{"action": "deny"}')
    assert ran == (3, "", b'{"action": "deny"}', 18, b"said\n")


@pytest.mark.parametrize("leaves", ["setsid sleep 60 &", "sleep 60 &", "(trap '' TERM HUP; sleep 60) &"])
def test_who_is_left_behind_with_the_output_open_delays_nothing(machine, leaves):
    ran, took_s = sh(f"{leaves} echo $!; echo done")
    left, said = ran.out.split()
    assert (ran.code, said) == (0, b"done") and took_s < 10
    os.kill(int(left), signal.SIGKILL)


def test_who_is_left_behind_and_goes_on_printing_does_not_either(machine):
    # Its number goes where the noise does not: which of the two prints first is anybody's guess.
    ran, took_s = sh("(while :; do echo noise; done) & echo $! >&2; exit 0")
    assert ran.code == 0 and took_s < 10
    wait_gone(int(ran.errors.split()[0]))  # nobody reads what it prints


def test_output_without_end_costs_no_memory_and_blocks_nobody():
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ran, _ = sh("head -c 400000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 0", timeout_s=60)
    assert (ran.code, ran.out_bytes) == (0, 400_000_000)
    assert len(ran.out) == OUTPUT_BYTES_MAX and len(ran.errors) == ERRORS_BYTES_MAX
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


def test_of_what_it_says_to_standard_error_the_end_is_kept():
    ran, _ = sh("for n in 1 2 3 4; do head -c 3000 /dev/zero | tr '\\0' $n >&2; done; echo last >&2")
    assert ran.errors.endswith(b"4" * 3_000 + b"last\n") and len(ran.errors) == ERRORS_BYTES_MAX


def test_who_does_not_read_its_input_is_not_waited_for():
    ran, _ = sh("exec <&-; sleep 0.1; exit 0", b"x" * 1_000_000)
    assert ran.code == 0
    ran, _ = sh("exit 0", b"x" * 1_000_000)
    assert ran.code == 0


def test_a_large_input_and_a_large_output_do_not_wait_for_each_other():
    ran, _ = sh("cat", b"x" * 900_000)
    assert ran.code == 0 and ran.out == b"x" * 900_000


def test_who_closes_its_output_and_goes_on_is_waited_for(machine):
    ran, took_s = sh("exec >&- 2>&-; sleep 0.3; exit 5")
    assert ran.code == 5 and took_s >= 0.3


def test_at_the_end_of_its_time_the_whole_group_goes(machine):
    ran, took_s = sh("sleep 60 & echo $!; exec sleep 60", timeout_s=0.3)
    assert (ran.code, ran.killed) == (None, "timed out") and took_s < 10
    wait_gone(int(ran.out))


def test_who_is_stopped_is_killed_with_its_group_and_nothing_begins_after_it(machine):
    halt = Halt()
    timer = threading.Timer(0.3, halt.tell)
    timer.start()
    ran, took_s = sh("trap '' TERM; sleep 60 & echo $!; wait", halt=halt)
    assert (ran.code, ran.killed) == (None, "stopped") and took_s < 10
    wait_gone(int(ran.out))
    halt.tell()
    assert sh("echo never", halt=halt)[0] == (None, "stopped", b"", 0, b"")


def test_a_signal_is_its_exit():
    assert sh("kill -SEGV $$")[0].code == -signal.SIGSEGV


def test_nothing_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    halt = Halt()
    for _ in range(20):
        sh("echo x; sleep 60 >/dev/null 2>&1 & kill $!", halt=halt)
        with pytest.raises(OSError):
            run(["/nonesuch"], b"", 1.0, (halt,))
    assert len(os.listdir("/proc/self/fd")) <= before + 2


# -- progress and cancelling ------------------------------------------------------------------------------------------


def test_what_it_says_of_its_progress_is_heard_line_by_line_while_it_runs():
    lines, halt = [], Halt("cancelled")

    def hear(line):
        lines.append(line)
        if line == b"two\n":
            halt.tell()  # it has not ended

    ran, took_s = sh("echo one >$FABRIC_PROGRESS; echo two >$FABRIC_PROGRESS; sleep 60", halt=halt, hear=hear)
    assert lines == [b"one\n", b"two\n"] and ran.killed == "cancelled" and took_s < 20


def test_of_a_line_without_end_only_the_beginning_is_heard():
    lines = []
    script = "head -c 3000000 /dev/zero | tr '\\0' x >$FABRIC_PROGRESS; printf '\\nshort\\n' >$FABRIC_PROGRESS"
    ran, _ = sh(script, hear=lines.append)
    assert ran.code == 0 and lines == [b"x" * (LINE_BYTES_MAX + 1), b"short\n"]


def test_the_last_line_needs_no_end_but_where_it_was_killed_in_its_midst():
    lines = []
    sh("printf last >$FABRIC_PROGRESS", hear=lines.append)
    sh("printf cut >$FABRIC_PROGRESS; sleep 60", timeout_s=0.3, hear=lines.append)
    assert lines == [b"last"]


def test_who_keeps_its_progress_open_delays_nothing():
    ran, took_s = sh("sleep 30 >/dev/null 2>&1 & echo $!", hear=lambda _: None)
    assert ran.code == 0 and took_s < 10
    os.kill(int(ran.out), signal.SIGKILL)


def test_two_may_tell_it_at_once():
    for _ in range(200):
        halt = Halt()
        threads = [threading.Thread(target=halt.tell) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        halt.close()
        assert halt.told


def test_where_somebody_raises_what_hears_of_its_progress_it_does_not_run_on(tmp_path):
    told = tmp_path / "pid"
    with pytest.raises(ZeroDivisionError):
        sh(f"echo $$ >{told}; echo one >$FABRIC_PROGRESS; sleep 60", hear=lambda _: 1 / 0)
    wait_gone(int(told.read_text()))
