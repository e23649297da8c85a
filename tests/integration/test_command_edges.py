"""The edges of the command line, for every command there is: streams that are closed or full, signals; disks that are
short, and relays that are not there yet."""

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ping
from relays.authority import init_authority, make_identities
from relays.cli.app import app
from relays.topology.loader import load
from tests.integration.harness import FABRIC, ROOT, House, house_in, wait_for
from tests.integration.intruder import Intruder

# How each command is called so that it gets as far as it can where nothing runs. FILE is a topology, HERE a folder.
CALLS = {
    "up": "--only nobody FILE", "down": "", "status": "", "drain": "hq", "nearest": "--as nobody",
    "publish": "detections.x - --as sensor-m", "send": "- --topic detections.x --as sensor-m --no-wait",
    "subscribe": "detections.> --as analyst-m --no-wait", "notices": "--as analyst-m --no-wait",
    "relabel": "- --label green --as analyst-m", "bench": "--as sensor-m --to analyst-m --topic detections.x",
    "act": "deny ipv4_net=192.0.2.1 --to all --as soar-hq", "actions": "--as soar-hq", "action": "4f1c09 --as soar-hq",
    "artifacts": "4f1c09 --as soar-hq", "fetch": "4f1c09 --as soar-hq",
    "cancel": f"{'4f' * 32} --as soar-hq", "approvals": "--as soar-hq", "approve": "4f1c09 --as soar-hq --yes",
    "deny": "4f1c09 --why x --as soar-hq --yes", "bundle": "mid FILE -o HERE/bundle", "join": "-",
    "revoke": "nobody --fabric trial", "topology lint": "FILE", "topology graph": "FILE", "topology flows": "FILE",
    "edge run": "--on scan --exec true --as fw-m --no-wait", "edge handlers": "",
    "edge kinds": "", "edge status": "--as fw-m",
    "audit show": "--as sensor-m", "audit verify": "--as sensor-m", "audit export": "--as sensor-m",
    "leases": "--as fw-m", "release": "4f1c09 --as soar-hq", "extend": "4f1c09 --duration 1h --as soar-hq",
    "deadletter list": "--as sensor-m", "deadletter show": "conn/1 --as sensor-m",
    "deadletter drop": "conn/1 --as sensor-m", "deadletter replay": "--all --as sensor-m --no-wait",
    "source test": "conn {} --as sensor-m", "sink test": "archive --as sensor-m", "authority floor": "1 trial",
    "explain publish": "detections.x --as sensor-m",
    "explain relabel": "detections.x --from amber --label green --as analyst-m",
    "explain subscribe": "detections.> --as analyst-m", "explain act": "deny ipv4_net=192.0.2.1 --to all --as soar-hq",
    "relay run": "nobody FILE", "authority init": "other", "authority show": "trial",
    "authority backup": "trial -o HERE/backup", "authority restore": "FILE", "authority policies": "FILE",
    "authority delegate": "issuer-1 FILE --relay nobody --role sensor", "issuer run": "--as nobody",
    "token issue": "--role sensor", "token list": "--as nobody", "token withdraw": "00 --as nobody",
    "credential show": "sensor-m", "credential list": "", "credential needs-renewal": "sensor-m",
    "credential renew": "nobody",
}
# Those that have something to show where nothing runs.
SHOWING = ["topology lint", "topology graph", "topology flows", "edge handlers", "edge kinds", "explain publish",
           "explain relabel", "explain subscribe", "explain act", "authority show", "credential show",
           "credential list", "credential needs-renewal"]
UNREACHABLE = ["send", "subscribe", "notices", "act", "cancel", "relabel"]
# Whoever may decide nothing is told so before a relay is looked for.
MAY_NOT = ["approvals", "approve", "deny"]


def commands(group=None, path=()):
    """Every command that there is, as it is written, with its help."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A fabric whose identities exist, and of which nothing runs."""
    with house_in(tmp_path_factory.mktemp("still")) as house:
        make_identities(load(house.file), init_authority(house.fabric, house.home), house.home)
        yield house


def run_all(house: House, cases: list[dict]) -> list[dict]:
    words = json.dumps([{"closed": [], "out": None, **case} for case in cases])
    running = house.start(stdin=subprocess.PIPE, program="from tests.integration import many; many.main()")
    with running.process.stdin as given:
        given.write(words)
    results = json.loads(running.wait(120).expect(0).out)
    for case, result in zip(cases, results, strict=True):
        both = result["out"] + result["err"]
        assert "Traceback" not in both and "E917" not in both and result["code"] < 98, (case, result)
    return results


def call(house: House, name: str, *more: str) -> list[str]:
    given = CALLS[name].replace("FILE", str(house.file)).replace("HERE", str(house.work))
    return [*name.split(), *given.split(), *more]


@pytest.fixture(scope="module")
def usual(still):
    """What each command does with --json where nothing runs."""
    names = list(CALLS)
    return dict(zip(names, run_all(still, [{"args": call(still, name, "--json")} for name in names]), strict=True))


def test_with_json_every_error_is_an_object(usual):
    assert set(usual) == {name for name, _ in commands()}, "each command is called"
    for name, result in usual.items():
        for line in result["err"].splitlines():
            assert isinstance(json.loads(line), dict), (name, result)


def test_streams_that_are_closed_change_nothing_else(still, usual):
    results = run_all(still, [{"args": call(still, name, "--json"), "closed": [0, 1, 2]} for name in CALLS])
    for name, result in zip(CALLS, results, strict=True):
        # Of those that would read it, a closed input is an error of its own.
        wanted = 2 if name in ("publish", "join") else usual[name]["code"]
        if name not in ("bundle", "authority backup"):  # what they make is there by now
            assert (result["code"], result["out"], result["err"]) == (wanted, "", ""), (name, result)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_each_of_them_alone_in_a_process_of_its_own(still, closed):
    asked = [*FABRIC, "publish", "detections.x", "-", "--as", "sensor-m", "--json"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *asked], cwd=ROOT, capture_output=True, text=True, input="",
        env={**os.environ, "FABRIC_HOME": str(still.home)},
    )
    assert done.returncode == 2 and done.stdout == "" and bool(done.stderr) == (closed != 2)
    assert closed != 0 or "standard input is closed" in json.loads(done.stderr)["error"]["detail"]


def test_a_full_disk_behind_the_output_is_an_error_of_ours(still):
    cases = [{"args": call(still, name, "--json"), "out": "/dev/full"} for name in SHOWING]
    cases += [{"args": words, "out": "/dev/full"} for words in (["--version"], ["--help"], ["topology", "--help"])]
    cases += [{"args": call(still, "topology graph"), "out": "/dev/full"}]
    for case, result in zip(cases, run_all(still, cases), strict=True):
        assert result["code"] == 1 and "E930" in result["err"] and "No space left" in result["err"], (case, result)


def test_where_no_relay_answers(usual):
    assert [usual[name]["code"] for name in UNREACHABLE] == [69] * len(UNREACHABLE)
    assert all("E901" in usual[name]["err"] for name in UNREACHABLE)
    assert [usual[name]["code"] for name in MAY_NOT] == [5] * len(MAY_NOT)


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null/x", "~nobody-of-this-name/x"])
def test_a_home_that_cannot_be(still, home):
    done = subprocess.run(
        [*FABRIC, "up", "--dev", str(still.file), "--json"], cwd=ROOT, env={**os.environ, "FABRIC_HOME": home},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    error = json.loads(done.stderr)["error"]
    assert done.returncode in (1, 2) and error["next"] and "None" not in error["detail"], done
    assert not Path(ROOT, "~nobody-of-this-name").exists()


def test_what_is_no_text_at_all(still):
    odd = os.fsdecode(b"\xff\xfe")
    for args in (["status", odd], ["topology", "lint", odd], ["publish", odd, f'{{"a": "{odd}"}}', "--as", odd]):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                       "FABRIC_HOME": str(still.home)}
        done = subprocess.run([*FABRIC, *args], cwd=ROOT, env=environment, capture_output=True)
        assert done.returncode in (1, 2, 69) and b"Traceback" not in done.stderr and b"E917" not in done.stderr, done


def test_a_forgotten_fabric_is_named_and_so_is_the_command_that_says_which(still):
    (still.home / "forgotten" / "ids").mkdir(parents=True)
    try:
        for args, wanted in ((("status",), "fabric status trial"), (("drain", "hq"), "fabric drain hq --fabric trial")):
            error = still.cli(*args, "--json").expect(2).error
            assert wanted in error["next"] and "forgotten" in error["detail"] and str(still.home) in error["next"]
    finally:
        (still.home / "forgotten" / "ids").rmdir()
        (still.home / "forgotten").rmdir()


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asked", [
    ("subscribe", "detections.>", "--as", "analyst-m"),
    ("send", "/dev/null", "--topic", "detections.x", "--as", "sensor-m"),
    ("edge", "run", "--on", "deny ipv4_net", "--exec", "true", "--as", "fw-m"),
], ids=lambda asked: asked[0])
def test_what_waits_for_its_relay_says_so_and_ends_when_it_is_asked_to(still, asked, signal_):
    running = still.start(*asked)
    running.wait_line("waiting: E901")
    done = running.stop(signal_)
    assert done.code == 128 + signal_ and "Traceback" not in done.err


# -- disks ----------------------------------------------------------------------------------------------------


@contextmanager
def short_disk(folder: Path):
    """One on which less is free than an outbox leaves to others."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount a tmpfs")
    (folder / "filler").write_bytes(bytes(20 << 20))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_short_disk_under_an_outbox_is_said_and_what_waits_goes_on_when_there_is_room(still, tmp_path):
    file = tmp_path / "conn.log"
    file.write_text("".join(f'{{"n": {n}}}\n' for n in range(50)))
    with short_disk(tmp_path / "disk") as disk:
        outbox = str(disk / "outbox")
        who = ("--as", "sensor-m", "--outbox", outbox)
        error = still.cli("publish", "detections.x", "{}", *who, "--timeout", "1500ms", "--json").expect(1).error
        assert error["code"] == "E933" and "room" in error["next"] and "--outbox" not in error["next"]
        sending = still.start("send", str(file), "--topic", "detections.x", *who, "--json")
        told = json.loads(sending.wait_line('"E933"'))["waiting"]
        assert told["records"] == 50 and told["next"]
        (disk / "filler").unlink()
        done = sending.wait(40).expect(0)
        assert done.lines[-1]["held"] == 50 and done.lines[-1]["waiting"] == 50


# -- while a fabric runs --------------------------------------------------------------------------------------


def test_two_senders_with_one_outbox_of_which_one_stands_still(house, tmp_path):
    """The second is refused at once, also while the first is stopped, and the first loses nothing by it."""
    file, outbox = tmp_path / "conn.log", str(tmp_path / "outbox")
    file.write_text('{"n": 0}\n')
    who = ("--as", "sensor-m", "--label", "green", "--outbox", outbox)
    asked = ("send", str(file), "--topic", "detections.edges.two", *who)
    with house.point("analyst-m") as analyst:
        messages = analyst.subscribe("detections.edges.two", timeout_s=30)
        first = house.start(*asked, "--follow", "--json")
        assert next(messages).content == {"n": 0}
        with house.frozen(first.process.pid):
            second = house.cli(*asked, "--json").expect(1)
            assert second.error["code"] == "E932" and outbox in second.error["detail"]
            with file.open("a") as more:
                more.write('{"n": 1}\n')
        assert next(messages).content == {"n": 1}
        first.stop(signal.SIGTERM).expect(0)
    assert house.cli(*asked, "--json").expect(0).lines[-1]["held"] == 0, "all of it was read"


def test_a_file_whose_name_is_no_text_is_read_once_too(house, tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.log")
    file.write_text('{"n": 0}\n')
    asked = ("send", str(file), "--topic", "detections.edges.odd", "--as", "sensor-m", "--label", "green", "--outbox",
             str(tmp_path / os.fsdecode(b"\xfe.outbox")), "--json")
    assert [house.cli(*asked).expect(0).lines[-1]["held"] for _ in range(2)] == [1, 0]


def test_arguments_that_are_nested_deeper_than_anybody_reads(house):
    for text in ("[" * 50_000 + "]" * 50_000, '{"a":' * 20_000):
        asked = ("act", "deny", "ipv4_net=192.0.2.1", "--to", "all", "--as", "soar-hq", "--arg", f"a={text}", "--json")
        error = house.cli(*asked).expect(2).error
        assert error["code"] == "E103" and "[[" not in error["detail"]


def test_patterns_as_another_bus_writes_them(house):
    for given, wanted in (("detections/#", "detections.>"), ("detections.+.conn", "detections.*.conn")):
        error = house.cli("subscribe", given, "--as", "analyst-m", "--json").expect(2).error
        assert error["code"] == "E107" and wanted in error["next"]
    error = house.cli("publish", "detections/zeek", "{}", "--as", "sensor-m", "--json").expect(2).error
    assert "detections.zeek" in error["next"]


def test_spellings_of_labels_and_severities(house):
    spelt = ("--label", "TLP: AMBER", "--field-label", "a=TLP: Green", "--severity", "3")
    house.cli("publish", "detections.edges.spelt", '{"a": 1}', "--as", "sensor-m", *spelt).expect(0)


def test_a_link_that_ends_has_one_line_for_all_that_was_in_its_pipe(house):
    before = house.logs()["mid.log"].count("E108")
    with Intruder(house.identity("guest-m")) as me:
        me.say(*[encode_frame(Ping(0))] * 300)
        assert str(me.answer()) == "Code.NOT_READY"
        assert wait_for(lambda: me.answer() == "cut", "the end of it")
    wait_for(lambda: "frames of a link that had ended" in house.logs()["mid.log"], "what was let fall")
    assert house.logs()["mid.log"].count("E108") == before + 1


def test_what_began_before_its_relay_goes_on_when_that_is_there(house, tmp_path):
    file = tmp_path / "conn.log"
    file.write_text('{"n": 0}\n')
    house.down()
    sending = house.start("send", str(file), "--topic", "detections.edges.early", "--as", "sensor-m", "--json")
    wall = house.start("edge", "run", "--on", "deny ipv4_net", "--exec", "true", "--as", "fw-m", "--json")
    for running in (sending, wall):
        assert json.loads(running.wait_line('"E901"'))["waiting"]["next"]
    house.up()
    assert sending.wait(40).expect(0).lines[-1]["held"] == 1
    wall.wait_line('"ready"')
    wall.stop(signal.SIGTERM).expect(0)
