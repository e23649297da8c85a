"""The handler `processes`: it touches the one that is meant, or none."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fabric.edge.control import Control
from fabric.protocol.base.errors import FabricError
from relays.handlers.kinds import Options
from relays.handlers.linux_processes import ancestors, stat_of
from relays.handlers.processes import KIND, make
from tests.handling import action_for, end_of, place_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")


@pytest.fixture
def handler(tmp_path):
    return started(tmp_path)


def started(folder, **options):
    made = make(Options("processes", options), place_in(folder))
    made.start()
    return made


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "600"]) as running:
        wait(running, "S")
        yield running
        running.kill()


def wait(process, *states):
    deadline = time.monotonic() + 10
    while stat_of(process.pid).state not in states:
        assert time.monotonic() < deadline, stat_of(process.pid)
        time.sleep(0.002)


def asked(action, pid, **more):
    return action_for(action, "process", {"pid": pid, **more})


def test_one_that_is_held_for_several_reasons_goes_on_when_the_last_of_them_ends(tmp_path, handler, process):
    by_pid, by_name = asked("contain", process.pid), asked("contain", process.pid, name="sleep")
    handler(by_pid), handler(by_name)
    again = started(tmp_path)
    assert again.revert(by_pid).result == {"was_held": True, "goes_on": False, "still_held": True}
    assert again.revert(by_pid).result == {"was_held": False}
    wait(process, "T")
    assert again.revert(by_name).result["goes_on"]
    handler(by_pid), handler(by_name)
    assert handler(asked("allow", process.pid)).result["goes_on"]  # who says so means it
    assert [handler.revert(each).result for each in (by_pid, by_name)] == [{"was_held": False}] * 2


def test_it_is_held_still_and_goes_on(tmp_path, handler, process):
    answer = handler(wanted := asked("contain", process.pid, name="sleep"))
    assert end_of(answer) == ("completed", "")
    assert answer.result == {"held": process.pid, "name": "sleep", "already": False}
    wait(process, "T")
    assert handler(wanted).result["already"]
    again = started(tmp_path)  # another process of the control point
    assert again.revert(wanted).result == {"was_held": True, "goes_on": True}
    wait(process, "S")
    assert again.revert(wanted).result == {"was_held": False}
    handler(asked("contain", process.pid))
    wait(process, "T")
    assert handler(asked("allow", process.pid)).result["goes_on"]
    wait(process, "S")


def test_a_number_that_somebody_else_has_by_now_is_not_touched(tmp_path, handler, process):
    handler(asked("contain", process.pid))
    wait(process, "T")
    file = tmp_path / "handler" / "held.json"
    kept = json.loads(file.read_text())
    kept["kept"][0]["name"] = f"{process.pid}/1"  # it began at another time
    file.write_text(json.dumps(kept))
    assert handler.revert(asked("contain", process.pid)).result == {"was_held": True, "goes_on": False}
    assert stat_of(process.pid).state == "T"


def test_after_the_machine_started_anew_nobody_is_held(tmp_path, handler, process):
    handler(asked("contain", process.pid))
    file = tmp_path / "handler" / "held.json"
    file.write_text(file.read_text().replace(Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "another"))
    started(tmp_path)
    assert json.loads(file.read_text())["kept"] == []


def test_it_ends_when_it_is_asked_to_and_is_killed_where_it_does_not_listen(tmp_path, process):
    answer = started(tmp_path)(asked("stop", process.pid))
    assert answer.result == {"ended": process.pid, "name": "sleep", "killed": False}
    assert process.wait(5) == -signal.SIGTERM
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-S", "-c", deaf], stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        handler = started(tmp_path, grace=["50ms"])
        control = Control()
        control.cancel()
        answer = handler(action_for("stop", "process", {"pid": running.pid}, control=control))
        assert end_of(answer) == ("failed", "E723")
        assert running.poll() is None
        assert handler(asked("stop", running.pid)).result["killed"] and running.wait(5) == -signal.SIGKILL


def test_one_that_is_held_is_killed_at_once_and_forgotten(handler, process):
    handler(asked("contain", process.pid))
    wait(process, "T")
    assert handler(asked("stop", process.pid)).result["killed"]
    assert handler.revert(asked("contain", process.pid)).result == {"was_held": False}


def test_all_that_is_said_of_it_has_to_be_so(handler, process):
    program = os.readlink(f"/proc/{process.pid}/exe")
    digest = hashlib.sha256(Path(program).read_bytes()).hexdigest().upper()
    right = {"name": "sleep", "cwd": os.getcwd(), "command_line": "sleep 600", "parent": {"pid": os.getpid()},
             "executable": {"path": program, "name": Path(program).name, "hashes": {"sha256": digest}}}
    wrong = [{"name": "sshd"}, {"cwd": "/nowhere"}, {"command_line": "sleep 1"}, {"parent": {"pid": 1}},
             {"parent": {"parent": {"pid": os.getpid()}}}, {"executable": {"path": "/bin/true"}},
             {"executable": {"name": "true"}}, {"executable": {"hashes": {"sha256": "0" * 64}}},
             {"executable": {"hashes": {"md5": "0" * 32}}}]
    for each in wrong:
        answer = handler(asked("contain", process.pid, **each))
        assert end_of(answer) == ("refused", "E953") and "another process." in answer.reason, each
    assert stat_of(process.pid).state == "S"
    assert end_of(handler(asked("contain", process.pid, **right))) == ("completed", "")


def test_who_is_needed_is_not_touched(tmp_path, handler, process):
    stats = [stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    kernel = next((stat.pid for stat in stats if stat is not None and stat.kernel), 1)
    for pid in [1, *ancestors(), kernel]:
        for action in ("contain", "stop"):
            assert end_of(handler(asked(action, pid))) == ("refused", "E951"), pid
    strict = started(tmp_path, never=["sleep"])
    assert end_of(strict(asked("stop", process.pid))) == ("refused", "E951") and process.poll() is None


def test_who_is_not_there(handler, process):
    process.kill()
    process.wait()
    for pid in (process.pid, 0, 4_194_305, 2**40):
        assert end_of(handler(asked("stop", pid))) == ("failed", "E954")
    assert end_of(handler(action_for("stop", "process", {"name": "sleep"}))) == ("refused", "E706")


def test_a_name_may_hold_anything(tmp_path, handler):
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "600"]) as running:
        wait(running, "S")
        assert stat_of(running.pid).name == "a) S 1 (b" and stat_of(running.pid).parent == os.getpid()
        assert handler(asked("contain", running.pid, name="a) S 1 (b")).result["held"] == running.pid
        running.kill()


@pytest.mark.parametrize("content", [b"x", b'{"kept": [{"name": "1/x", "by": "a", "since_ms": 1, "action": ""}]}',
                                     b'{"kept": [{"name": "1/1", "by": "a", "since_ms": 1, "action": ""}]}'])
def test_a_damaged_file_is_an_error(tmp_path, handler, content):
    (tmp_path / "handler" / "held.json").write_bytes(content)
    with pytest.raises(FabricError):
        handler.start()


def test_one_requester_leaves_room_to_others(tmp_path, handler, process, monkeypatch):
    handler._kept._max = 1
    assert end_of(handler(asked("contain", process.pid))) == ("completed", "")
    with subprocess.Popen(["sleep", "600"]) as other:
        assert end_of(handler(asked("contain", other.pid))) == ("failed", "E709")
        other.kill()


def test_it_says_what_it_needs():
    (need,) = KIND.needs(Options("processes"))
    assert not need.problem
