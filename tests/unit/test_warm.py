"""Commands that are forks of a process which has read the modules: they are what a command that is started anew is."""

import json
import os
import signal
import socket
import subprocess

import pytest

from tests.integration import warm


@pytest.fixture
def home(tmp_path):
    return {**os.environ, "FABRIC_HOME": str(tmp_path), "COLUMNS": "80"}


def test_it_has_its_own_arguments_environment_streams_and_end(home, tmp_path):
    first = warm.start(["publish", "detections.x", "--as", "nobody", "--json", "{}"], home)
    second = warm.start(["topology", "lint", str(tmp_path / "none.toml"), "--json"], home)
    assert (first.wait(30), second.wait(30)) == (1, 2)
    assert first.stdout.read() == "" and json.loads(first.stderr.read())["error"]["code"] == "E904"
    assert "none.toml" in second.stderr.read()


def test_what_it_is_given_it_reads(home):
    command = warm.start(["join", "-"], home, with_stdin=True)
    command.stdin.write("mf1-no-token\n")
    command.stdin.close()
    assert command.wait(30) == 5 and "E218" in command.stderr.read()


def test_it_is_the_head_of_a_session_and_a_signal_ends_it(home):
    command = warm.start(["join", "-"], home, with_stdin=True)
    assert os.getsid(command.pid) == command.pid and command.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.01)
    command.kill()
    assert command.wait(30) == -signal.SIGKILL and command.poll() == -signal.SIGKILL
    command.kill()  # and of whoever has its number by now nothing


def test_a_command_whose_program_has_ended_meanwhile_does_not_begin_and_nothing_is_said_of_it(capfd):
    warmed = warm.Warm()
    told, theirs = socket.socketpair()
    told.close()
    read, write = os.pipe()
    with theirs, socket.socket(fileno=os.dup(warmed.channel)) as channel:
        request = json.dumps(["print('it began')", {}]).encode()
        socket.send_fds(channel, [request], [read, write, write, theirs.fileno()])
    os.close(write)
    with os.fdopen(read) as said:
        assert said.read() == ""
    warmed.close()
    assert capfd.readouterr().err == ""
