"""What a process has in memory, from /proc/PID/status (proc_pid_status(5))."""

from __future__ import annotations

from pathlib import Path


def resident_kb(pid: int | str) -> int:
    """Now. `pid` may be "self"."""
    return _kb(pid, "VmRSS")


def peak_kb(pid: int | str) -> int:
    """The most that it had since it began."""
    return _kb(pid, "VmHWM")


def _kb(pid: int | str, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1])
    return 0
