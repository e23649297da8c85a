"""How a supervisor hears of its starts, and what it does where the system refuses one."""

import errno
import json
import os
import signal
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

import relays.starting
from relays.last_words import last_words
from relays.starting import STARTS_MAX, EachAnew, Forked, command_of, command_of_server
from relays.supervisor import Supervisor


class Refuses:
    """Starts nothing, and says so."""

    def __init__(self):
        self.asked, self.told = [], []

    def start(self, relay, log):
        self.asked.append(relay)
        self.told.append((relay, OSError(errno.EAGAIN, "Resource temporarily unavailable")))

    def fates(self):
        told, self.told = self.told, []
        return told

    def waits_for(self):
        return []

    def reaped(self, pid):
        pass

    def close(self):
        pass


class Silent(Refuses):
    def start(self, relay, log):
        self.asked.append(relay)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, and is set by hand."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_refused_start_is_told_in_the_relay_s_log_and_tried_again_less_and_less_often(tmp_path, clock):
    watch = Supervisor("small", ["hq"], tmp_path)
    watch._starting = starting = Refuses()
    tried = []
    for _ in range(1_000):
        watch._look_after()
        if len(starting.asked) > len(tried):
            tried.append(clock[0] - 1_000)
        clock[0] += 0.1
    assert [round(b - a, 1) for a, b in zip(tried, tried[1:], strict=False)][:5] == [0.6, 1.1, 2.1, 4.1, 8.1]
    words = last_words("small", "hq", tmp_path)
    assert (words["code"], words["detail"]) == ("E916", "Resource temporarily unavailable") and "again" in words["next"]


def test_a_relay_is_not_asked_for_twice_and_few_are_at_a_time(tmp_path, clock):
    names = [f"r{n}" for n in range(STARTS_MAX + 3)]
    watch = Supervisor("small", names, tmp_path)
    watch._starting = starting = Silent()
    for _ in range(3):
        watch._look_after()
        clock[0] += 100
    assert starting.asked == names[:STARTS_MAX]
    starting.told = [("r0", os.getpid()), ("r1", OSError(errno.ECHILD, "it ended before it began"))]
    watch._look_after()
    assert starting.asked == names[: STARTS_MAX + 2]


def test_a_fork_server_that_cannot_be_started_is_why_none_begins(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", refuse)
    before = os.listdir("/proc/self/fd")
    for starting in (Forked(tmp_path, ["hq"], None, tmp_path / "errors"), EachAnew(tmp_path, None)):
        with (tmp_path / "log").open("ab") as log:
            starting.start("hq", log)
        ((relay, why),) = starting.fates()
        assert relay == "hq" and why.errno == errno.EAGAIN and starting.fates() == [] == starting.waits_for()
        starting.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture
def servers(monkeypatch):
    """Starts what is said in place of a fork server: the processes."""
    spawn, started = os.posix_spawn, []

    def instead(*_, **how):
        started.append(spawn(instead.command[0], instead.command, {}, **how))
        return started[-1]

    monkeypatch.setattr(os, "posix_spawn", instead)
    started_by = SimpleNamespace(started=started, use=lambda *command: setattr(instead, "command", command))
    yield started_by
    for pid in started:
        with suppress(ChildProcessError):
            if not os.waitpid(pid, os.WNOHANG)[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def fate_of(starting, relay, folder, meanwhile=lambda: None):
    """What becomes of one start, when the server has ended."""
    with (folder / "log").open("ab") as log:
        starting.start(relay, log)
    meanwhile()
    return starting.fates()


@pytest.mark.parametrize("command", [["/bin/false"], ["/bin/sleep", "60"]], ids=["ends by itself", "is killed"])
def test_a_fork_server_that_ends_is_why_none_of_those_begins_and_the_next_start_has_another(
    tmp_path, servers, command
):
    servers.use(*command)
    starting = Forked(tmp_path, ["hq", "east"], None, tmp_path / "errors")
    before = len(os.listdir("/proc/self/fd"))

    def ends():
        if command[0] == "/bin/sleep":
            os.kill(servers.started[-1], signal.SIGKILL)
        os.waitpid(servers.started[-1], 0)
        starting.reaped(servers.started[-1])

    for count, relay in enumerate(("hq", "east"), 1):
        ((named, why),) = fate_of(starting, relay, tmp_path, ends)
        assert len(servers.started) == count
        assert named == relay and "ended" in why.strerror and starting.server is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fork_server_that_does_not_answer_is_ended(tmp_path, servers, monkeypatch):
    servers.use("/bin/sleep", "60")
    monkeypatch.setattr(relays.starting, "_ANSWER_S_MAX", -1.0)
    starting = Forked(tmp_path, ["hq"], None, tmp_path / "errors")
    assert fate_of(starting, "hq", tmp_path) == []
    pid, status = os.waitpid(servers.started[0], 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    starting.reaped(pid)
    ((relay, why),) = starting.fates()
    assert relay == "hq" and "ended" in why.strerror


@pytest.mark.parametrize("home", [None, "home"])
def test_the_command_line_of_each_relay_has_room_in_that_of_the_server(tmp_path, home):
    names = ["a", "the-longest-of-them", "bc"]
    room = len("\0".join(command_of_server(tmp_path, names, 2**22, home)))
    assert all(len("\0".join(command_of(tmp_path / name, 2**22, home))) < room for name in names)


def test_the_log_says_it_in_one_line(tmp_path):
    watch = Supervisor("small", ["hq"], tmp_path)
    watch._tell("hq", OSError(errno.ENOMEM, "Cannot allocate memory"))
    (line,) = (tmp_path / "small" / "run" / "hq.log").read_text().splitlines()
    assert json.loads(line)["event"] == "relay cannot be started"
