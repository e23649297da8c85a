"""Every execution ends in an answer, whatever its handler does; leaving loses nothing that was done or published."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import house_in, wait_for

HOUSE = """
fabric = "handlers"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "20s", result = "1h" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
sensor = { publish = [{ topic = "detections.>", severity_max = "critical" }] }
wall   = { execute = ["deny ipv4_net"] }
soar   = { request = [{ action = "deny ipv4_net", to = "role=wall", severity_max = "high" }] }

[points]
fw-1   = { relay = "hq", role = "wall",   clearance = "amber" }
fw-2   = { relay = "hq", role = "wall",   clearance = "amber" }
fw-3   = { relay = "hq", role = "wall",   clearance = "amber" }
zeek-1 = { relay = "hq", role = "sensor", clearance = "amber" }
soar-1 = { relay = "hq", role = "soar",   clearance = "amber" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=wall" }
require = 0
"""
# What it does follows from the last number of the address that it is to deny.
HANDLER = """#!/bin/bash
input=$(cat)
[[ $input =~ 192\\.0\\.2\\.([0-9]+) ]]
case "${BASH_REMATCH[1]}" in
    1) setsid sleep 600 & echo '{"rule": 1}' ;;
    2) sleep 600 & echo '{"rule": 2}' ;;
    3) head -c 400000000 /dev/zero ;;
    4) printf '{"rule": 4, "big": %s}' 340282366920938463463374607431768211456 ;;
    5) printf '{"rule": 5, "half": "\\\\ud800"}' ;;
    6) printf '{"rule": 6, "deep": '; printf '[%.0s' {1..60}; printf ']%.0s' {1..60}; printf '}' ;;
    7) printf '{"rule": 7, "nan": NaN, "inf": -Infinity}' ;;
    8) printf '{"rule": 8, "large": "'; head -c 500000 /dev/zero | tr '\\0' x; printf '"}' ;;
    9) echo 'no \x1b[31mroute' >&2; exit 3 ;;
    10) mv "$0" "$0.old"; printf '#!/usr/bin/nonesuch\\n' > "$0"; chmod +x "$0" ;;
    20) sleep 1; echo '{"rule": 20}' ;;
    21) trap '' TERM; sleep 600 ;;
esac
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("handlers"), HOUSE) as house:
        house.up()
        house.wait_whole()
        yield house


@contextmanager
def wall(house, id_, *options):
    script = house.work / f"{id_}.handler"
    script.write_text(HANDLER)
    script.chmod(0o755)
    what = ("--on", "deny ipv4_net", "--exec", str(script))
    running = house.start("edge", "run", "--as", id_, *what, "--json", *options)
    try:
        running.wait_line('"ready"')
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def net(number):
    return f"ipv4_net=192.0.2.{number}"


def logged(running, event):
    return [line for line in map(json.loads, running.err) if line.get("event") == event]


def act(house, number, to="fw-1", **options):
    """The one outcome; the last word counts."""
    with house.point("soar-1") as soar:
        *_, last = soar.request("deny", net(number), to=f"id={to}", **options)
        return last


COMPLETED = [
    (1, {"rule": 1}, ""),
    (2, {"rule": 2}, ""),
    (4, {"rule": 4}, "big: an integer beyond 64 bits"),
    (5, {"rule": 5}, "half: text with half a character"),
    (6, {"rule": 6}, "deep[0]"),
    (7, {"rule": 7}, "nan: a number that JSON does not have, and 1 more of 3 fields"),
    (8, {"rule": 8}, "large: with its 500,"),
]


@pytest.fixture(scope="module")
def first(house):
    with wall(house, "fw-1", "--timeout", "10s") as running:
        yield running


@pytest.mark.parametrize(("number", "result", "why"), COMPLETED, ids=[str(row[0]) for row in COMPLETED])
def test_what_was_done_is_completed_whatever_is_left_running_or_cannot_be_sent(house, first, number, result, why):
    began = time.monotonic()
    outcome = act(house, number)
    assert (str(outcome.end), outcome.result) == ("completed", result) and time.monotonic() - began < 8
    assert (outcome.code, why in outcome.reason) == ("E715" if why else "", True)
    if why:
        assert logged(first, "result not sent whole")[-1]["why"] in outcome.reason


def test_400_mb_of_output_cost_no_memory_and_are_told(house, first):
    outcome = act(house, 3)
    assert str(outcome.end) == "failed" and "400,000,000 bytes" in outcome.result["error"]
    status = Path(f"/proc/{first.process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 200_000, "kB at most"


def test_what_a_handler_says_of_its_failure_is_in_the_log_of_its_control_point(house, first):
    outcome = act(house, 9)
    assert (str(outcome.end), outcome.code, outcome.result) == ("failed", "E709", {"error": "exit code 3"})
    assert "exit code 3" in outcome.reason
    ended = wait_for(lambda: logged(first, "handler ended"), "the end in the log")[-1]
    assert (ended["exit"], ended["said"]) == (3, "no \x1b[31mroute")
    assert "\x1b" not in "".join(first.err), "it stands there escaped"


def test_a_handler_that_cannot_be_run_any_more_is_named_at_both_ends(house, first):
    assert str(act(house, 10).end) == "completed"
    outcome = act(house, 11)
    assert (str(outcome.end), outcome.code) == ("failed", "E717")
    assert "/usr/bin/nonesuch" in outcome.result["error"] and "nonesuch, is not there" in outcome.reason
    assert "nonesuch" in logged(first, "handler cannot be run")[-1]["why"]


@pytest.mark.parametrize("content", ["echo '{}'\n", "#!/usr/bin/nonesuch\n", "#!/bin/sh\r\necho\r\n", ""])
def test_one_that_can_never_be_run_is_named_at_the_start_before_anything_is_asked_for(house, tmp_path, content):
    script = tmp_path / "handler"
    script.write_text(content, newline="")
    script.chmod(0o755)
    done = house.cli("edge", "run", "--as", "fw-3", "--on", "deny ipv4_net", "--exec", str(script), "--json").expect(2)
    assert done.error["code"] == "E717" and str(script) in done.error["detail"] and not done.out


def wait_at_work(running, count):
    handler = running.args[running.args.index("--exec") + 1].encode()
    wait_for(lambda: _running(handler) == count, f"{count} handlers at work")


def test_who_finds_no_handler_free_in_its_time_is_expired_and_the_log_says_so(house):
    with wall(house, "fw-2", "--at-once", "1", "--timeout", "2500ms") as busy, ThreadPoolExecutor() as asks:
        hangs = asks.submit(act, house, 21, "fw-2")
        wait_at_work(busy, 1)
        waits = act(house, 20, "fw-2", ttl="1s")
        assert (str(waits.end), waits.code, waits.by) == ("expired", "E719", "fw-2")
        assert logged(busy, "all handlers are busy")[0]["waiting"] == 1
        assert (str(hangs.result().end), hangs.result().result) == ("failed", {"error": "timed out"})
        assert str(act(house, 22, "fw-2").end) == "completed"


def test_what_a_handler_did_until_the_stop_is_told_and_what_hangs_is_killed_and_told_too(house):
    with wall(house, "fw-2", "--at-once", "2", "--grace", "2s") as running, ThreadPoolExecutor() as asks:
        done, hangs = (asks.submit(act, house, number, "fw-2") for number in (20, 21))
        wait_at_work(running, 2)
        waits = asks.submit(act, house, 22, "fw-2")
        wait_for(lambda: logged(running, "all handlers are busy"), "one that waits")
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert (str(waits.result().end), waits.result().code) == ("refused", "E716")
        assert (str(done.result().end), done.result().result) == ("completed", {"rule": 20})
        assert (str(hangs.result().end), hangs.result().result) == ("failed", {"error": "stopped"})
        assert running.wait().code == 0 and time.monotonic() - began < 6


def test_who_asks_twice_does_not_wait_for_the_grace(house):
    with wall(house, "fw-2", "--grace", "30s") as running, ThreadPoolExecutor() as asks:
        hangs = asks.submit(act, house, 21, "fw-2")
        wait_at_work(running, 1)
        running.process.send_signal(signal.SIGTERM)
        assert str(act(house, 1, "fw-2").end) == "refused"
        running.process.send_signal(signal.SIGTERM)
        assert hangs.result().result == {"error": "stopped"} and running.wait(10).code == 0


def test_a_handler_with_a_name_beside_a_command_takes_what_the_command_does_not(house, tmp_path):
    (tmp_path / "url").write_text("http://127.0.0.1:1/s3cret\n")
    asked = ("edge", "run", "--as", "fw-2", "--handler", f"webhook url-file={tmp_path}/url for=500ms", "--json")
    hook = house.start(*asked)
    assert json.loads(hook.wait_line('"ready"')) == {"ready": "fw-2", "takes": ["* *"], "not_granted": []}
    outcome = act(house, 1, "fw-2")
    assert (str(outcome.end), outcome.code) == ("failed", "E952") and "refused" in outcome.reason
    told = json.loads(hook.wait_line('"end"'))
    assert (told["end"], told["code"], told["target_type"]) == ("failed", "E952", "ipv4_net")
    done = hook.stop()
    assert done.code == 0 and "s3cret" not in done.out + done.err + str(outcome)
    with wall(house, "fw-2", "--handler", "webhook url=http://127.0.0.1:1/") as both:
        assert json.loads(both.wait_line('"ready"'))["takes"] == ["deny ipv4_net", "* *"]
        assert act(house, 1, "fw-2").result == {"rule": 1}


def _running(handler):
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += handler in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[1:2]
        except OSError:
            continue
    return found


def raises(_action):
    raise ValueError("no route to 198.51.100.7")


def exits(_action):
    raise SystemExit(1)


async def later(_action):
    await asyncio.sleep(0)
    return {"rule": 1, "big": 2**128}


PYTHON = [(raises, "failed", "E709"), (exits, "failed", "E709"), (lambda _: 7, "failed", "E709"),
          (lambda _: {"rule": 1, "big": 2**128}, "completed", "E715"), (later, "completed", "E715")]


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_whatever_a_python_handler_does_its_requester_is_told_and_its_log_says_why(house, capfd, face):
    handlers = iter(PYTHON[: 4 if face == "blocking" else 5])

    def check(number):
        handler, end, code = current[0]
        outcome = act(house, number, "fw-3")
        assert (str(outcome.end), outcome.code) == (end, code), handler
        assert outcome.result == ({"rule": 1} if end == "completed" else {})
        assert "198.51.100.7" not in str(outcome)

    current = [None]
    if face == "blocking":
        with house.point("fw-3") as point:
            point.on_action("deny", "ipv4_net")(lambda action: current[0][0](action))
            point.wait_ready()
            for number, current[0] in enumerate(handlers):
                check(number)
    else:
        async def program():
            async with AsyncControlPoint(house.identity("fw-3")) as point:
                point.on_action("deny", "ipv4_net")(lambda action: current[0][0](action))
                await point.wait_ready()
                for number, current[0] in enumerate(handlers):
                    await asyncio.to_thread(check, number)

        asyncio.run(program())
    said = capfd.readouterr().err
    assert "ValueError" in said and "no route to 198.51.100.7" in said, "the traceback, in its own log"


# -- leaving ------------------------------------------------------------------------------------------------


def test_leaving_waits_for_what_was_published_later(house):
    """The relay stands still for a moment: what is not held then waits."""
    with house.point("zeek-1") as sensor, house.frozen(house.pid("hq")):
        futures = [sensor.publish_later("detections.x", {"n": n}) for n in range(3_000)]
        assert not futures[-1].done()
    assert all(future.done() and future.exception() is None for future in futures)


def test_who_leaves_before_it_is_held_is_told_how_much_is_missing(house):
    sensor = house.point("zeek-1")
    sensor.connect()
    with house.frozen(house.pid("hq")):
        for n in range(3_000):
            sensor.publish_later("detections.x", {"n": n})
        with pytest.raises(FabricError) as early:
            sensor.flush(timeout_s=0.1)
        assert early.value.code is Code.TIMED_OUT and "3000 record(s)" in early.value.detail
        with pytest.raises(FabricError) as raised:
            sensor.close(timeout_s=0.1)
    assert raised.value.code is Code.NOT_HELD and "3000 record(s)" in raised.value.detail
    sensor.close()  # it is told once


def test_an_error_does_not_wait_and_the_log_has_the_number(house, capfd):
    sensor = house.point("zeek-1")
    sensor.connect()
    with house.frozen(house.pid("hq")):
        for n in range(100):
            sensor.publish_later("detections.x", {"n": n})
        began = time.monotonic()
        sensor.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert time.monotonic() - began < 5
    assert "records=100" in re.sub("\x1b\\[[0-9;]*m", "", capfd.readouterr().err)


def test_with_an_outbox_leaving_takes_no_time_and_loses_nothing(house, tmp_path):
    with house.frozen(house.pid("hq")):
        sensor = house.point("zeek-1", outbox=tmp_path / "outbox")
        sensor.connect()
        for n in range(2_000):
            sensor.publish_later("detections.x", {"n": n})
        began = time.monotonic()
        sensor.close()
        assert time.monotonic() - began < 5
    with house.point("zeek-1", outbox=tmp_path / "outbox") as sensor:
        assert sensor.drain(20)


def test_in_asyncio_too(house):
    async def program():
        pid = house.pid("hq")
        async with AsyncControlPoint(house.identity("zeek-1")) as sensor:
            os.kill(pid, signal.SIGSTOP)
            tasks = [asyncio.ensure_future(sensor.publish("detections.x", {"n": n})) for n in range(500)]
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.5, os.kill, pid, signal.SIGCONT)
        assert len(await asyncio.gather(*tasks)) == 500
        await sensor.close()

    asyncio.run(program())


FORGETFUL = """
import sys
from pathlib import Path
from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import load_identity
point = ControlPoint(load_identity(Path(sys.argv[1])))
point.connect()
print("ready", flush=True)
sys.stdin.readline()
point.publish_later("detections.x", {})
"""


def test_a_program_that_ends_without_leaving_is_told(house):
    process = subprocess.Popen(
        [sys.executable, "-c", FORGETFUL, str(house.identity("zeek-1").folder)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    with house.frozen(house.pid("hq")):
        _, err = process.communicate("go\n", timeout=20)
    assert process.returncode == 0 and "ended without close()" in err


PROGRAM = """
import asyncio, sys
from fabric.edge import ControlPoint as Async
from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import load_identity
from pathlib import Path
me = load_identity(Path(sys.argv[2]))
if sys.argv[1] == "blocking":
    with ControlPoint(me) as point:
        print("ready", flush=True)
        point.run_forever()
else:
    async def program():
        async with Async(me) as point:
            print("ready", flush=True)
            await point.run_forever()
    asyncio.run(program())
print("left", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("comes_back", [True, False])
def test_send_that_is_stopped_waits_for_what_it_read_or_says_how_much_is_missing(house, tmp_path, how, comes_back):
    if not comes_back and how is signal.SIGINT:
        pytest.skip("one long wait is enough")
    file = tmp_path / "records"
    file.write_text("".join(f'{{"n": {n}}}\n' for n in range(2_000)))
    wait_for(lambda: "zeek-1" not in house.fresh_state("hq")["points"], "the one before is gone")
    sender = house.start("send", str(file), "--as", "zeek-1", "--topic", "detections.x", "--follow", "--json")
    house.wait_connected("hq", "zeek-1")
    wait_for(lambda: _idle(sender.process.pid), "it waits for more")
    before = _read(sender.process.pid)
    with house.frozen(house.pid("hq")):
        with open(file, "a") as more:
            more.write("".join(f'{{"n": {n}}}\n' for n in range(3_000)))
        wait_for(lambda: _read(sender.process.pid) > before + 30_000, "all of it is read")
        if not comes_back:  # else it is stopped in the midst of publishing
            wait_for(lambda: _idle(sender.process.pid), "all of it is published")
        sender.process.send_signal(how)
        if not comes_back:
            done = sender.wait(25).expect(6)
    if comes_back:
        done = sender.wait(15).expect(0)
        assert done.lines[0]["held"] >= 2_000 and done.lines[0]["refused"] == 0
    else:
        left = json.loads(done.err.splitlines()[-1])["error"]
        missing = int(left["detail"].split()[0])
        # It may have been interrupted between publishing a line and counting it.
        assert left["code"] == "E718" and missing and abs(missing - done.lines[0]["refused"]) <= 1


def _read(pid):
    """How many bytes a process has read so far, wherever."""
    return int(Path(f"/proc/{pid}/io").read_text().split("rchar:")[1].split()[0])


def _idle(pid):
    def used():
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = used()
    time.sleep(0.3)
    return used() == before


def _catches(pid, number):
    return int(Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_program_without_a_traceback(house, face, how):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, face, str(house.identity("zeek-1").folder)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: _catches(process.pid, signal.SIGTERM), "that it runs for ever")
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "left\n", "")
