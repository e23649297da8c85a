"""The process that forks relays: what a fork of it is, and what it says where the system refuses one."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from relays import fork_server
from relays.fork_server import serve

# A server, who asks it for three forks, and tells two of them to begin; both write to one pipe, each line at once.
ASKS = r"""
import os, random, socket, sys
from relays.fork_server import Begun, begin, serve

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if not os.fork():
    ours.close()
    try:
        serve(theirs)
    except Begun as begun:
        if begin(begun, ["relay", begun.relay]):
            print(begun.relay, os.getsid(0) == os.getpid(), random.random(), len(os.listdir("/proc/self/fd")) - 1)
            sys.exit()
        os.write(1, b"never told to begin\n")
    os._exit(0)
theirs.close()
for relay in ("hq", "east", "never"):
    read, write = os.pipe()
    with open(sys.argv[1], "ab") as log:
        socket.send_fds(ours, [relay.encode()], [log.fileno(), read])
    os.close(read)
    assert int(ours.recv(32)) > 0
    if relay != "never":
        os.write(write, b"!")
    os.close(write)
    os.write(1, b"asked\n")
"""


def test_a_fork_has_a_session_a_log_and_chances_of_its_own_and_begins_when_it_is_told(tmp_path):
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", ASKS, log], check=True, timeout=60, capture_output=True, text=True)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert done.stdout.split().count("asked") == 3 and "never told to begin" in done.stdout
    assert {line[0] for line in lines} == {"hq", "east"} and all(line[1] == "True" for line in lines)
    assert lines[0][2] != lines[1][2], "numbers of chance"
    assert {line[3] for line in lines} == {"3"}, "nothing of the server is open in it"


def test_reading_the_modules_starts_no_thread_and_opens_nothing():
    asked = ("import json, os, relays.fork_server as f, threading, zmq; "
             "print(json.dumps([f.threads(), threading.active_count(), len(os.listdir('/proc/self/fd')) - 1, "
             "str(zmq.Context._instance)]))")
    done = subprocess.run([sys.executable, "-c", asked], check=True, timeout=60, capture_output=True, stdin=0)
    assert json.loads(done.stdout) == [1, 1, 3, "None"]


def test_where_a_thread_was_left_nothing_is_forked(monkeypatch, capsys):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(fork_server, "threads", lambda: 2)
    monkeypatch.setattr(fork_server.run, "stop_with", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["", str(theirs.fileno()), "ids", "hq", "--supervisor", "1"])
    assert fork_server.main() == 1 and "thread" in capsys.readouterr().err
    ours.close()
    theirs.close()


@pytest.mark.parametrize("refused", [1, 2])
def test_a_refused_fork_is_an_answer(refused, monkeypatch, tmp_path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fork, forks = os.fork, []

    def some(_=None):
        forks.append(1)
        if len(forks) == refused:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", some)
    before = os.listdir("/proc/self/fd")
    with (tmp_path / "log").open("ab") as log:
        socket.send_fds(ours, [b"hq"], [log.fileno(), log.fileno()])
    ours.shutdown(socket.SHUT_WR)
    serve(theirs)
    assert int(ours.recv(32)) == -errno.EAGAIN
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1
    ours.close()
