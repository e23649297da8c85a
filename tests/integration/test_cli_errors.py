"""What a person gets wrong at the command line: a number, a cause, the next command, and the documented exit code."""

import json
import os
import re
import signal
import socket
import subprocess

import pytest

from relays.authority import init_authority, make_identities
from relays.topology.loader import load
from tests.integration.harness import FABRIC, ROOT, TOPOLOGY, House, wait_for, with_free_ports

COMMANDS = [
    "up", "down", "status", "drain", "nearest", "publish", "send", "subscribe", "notices", "act", "bundle", "revoke",
    "topology lint", "topology graph", "topology flows", "edge run", "relay run", "authority init", "authority show",
    "authority backup", "authority restore", "authority policies", "authority delegate",
    "issuer run", "token issue", "token list",
    "token withdraw", "join", "credential show", "credential list", "credential renew", "credential needs-renewal",
    "explain publish", "explain relabel", "explain subscribe", "explain act", "relabel", "bench",
]


@pytest.fixture
def bare(tmp_path) -> House:
    """A home in which nothing was ever made."""
    return House(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(bare, name):
    text = bare.cli(*name.split(), "--help").expect(0).out
    assert re.search(r"Examples?:", text), text
    assert f"fabric {name}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("publish", "detections.x", "--as", "nobody", "{}"), 1, "E904"),
        (("publish", "detections.x", "--as", "../../etc", "{}"), 1, "E904"),
        (("publish", "detections.x", "{}"), 2, "E908"),
        (("nearest", "--as", "nobody"), 1, "E904"),
        (("nearest",), 2, "E908"),
        (("status", "trial"), 1, "E914"),
        (("status",), 1, "E914"),
        (("down", "trial"), 1, "E914"),
        (("down",), 1, "E914"),
        (("revoke", "fw-m", "--fabric", "trial"), 1, "E904"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_where_nothing_was_made(bare, args, code, error):
    done = bare.cli(*args, "--json").expect(code)
    assert done.error["code"] == error and done.error["cause"] and done.error["next"]


def test_in_words_it_is_number_cause_and_next_command(bare):
    done = bare.cli("publish", "detections.x", "--as", "nobody", "{}").expect(1)
    assert done.err.startswith("error E904 there is no such identity") and "\n  next: " in done.err


def test_up_without_an_authority_says_how_to_get_one(bare):
    done = bare.cli("up", "-d", str(bare.file), "--json").expect(1)
    assert done.error["code"] == "E912" and "--dev" in done.error["next"]


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("publish", "secrets.x", "--as", "sensor-m", "{}"), 5, "E401"),
        (("publish", "detections.x", "--as", "sensor-m", "--severity", "fatal", "{}"), 5, "E405"),
        (("publish", "detections.x", "--as", "sensor-m", "--label", "red", "{}"), 5, "E409"),
        (("publish", "detections.x", "--as", "sensor-m", "--label", "purple", "{}"), 2, "E602"),
        (("publish", "detections.x", "--as", "sensor-m", "--field-label", "a=", '{"a": 1}'), 2, "E602"),
        (("act", "deny", "ipv4_net=192.0.2.1", "--to", "all", "--as", "soar-hq", "--label", "purple"), 2, "E602"),
        (("explain", "publish", "detections.x", "--as", "sensor-m", "--label", "purple"), 2, "E602"),
        (("publish", "detections.x", "--as", "sensor-m", "--field-label", "a", "{}"), 2, "E908"),
        (("publish", "detections.x", "--as", "sensor-m", "--timeout", "soon", "{}"), 2, "E908"),
        (("publish", "detections.x", "--as", "sensor-m", "--ttl", "soon", "{}"), 2, "E908"),
        (("publish", "detections.x", "--as", "sensor-m", "--ttl", "30d", "{}"), 2, "E503"),
        (("publish", "detections..x", "--as", "sensor-m", "{}"), 2, "E107"),
        (("publish", "a" * 70_000, "--as", "sensor-m", "{}"), 2, "E107"),
        (("publish", "detections.x", "--as", "sensor-m", '{"secret-word'), 2, "E907"),
        (("publish", "detections.x", "--as", "sensor-m", '["secret-word"]'), 2, "E907"),
        (("subscribe", "secrets.>", "--as", "analyst-m", "--timeout", "5s"), 5, "E402"),
        (("subscribe", "a..b", "--as", "analyst-m"), 2, "E107"),
        (("subscribe", "detections.>", "--as", "sensor-m", "--timeout", "5s"), 5, "E402"),
        (("edge", "run", "--as", "sensor-m", "--on", "deny ipv4_net", "--exec", "/bin/true"), 5, "E404"),
        (("edge", "run", "--as", "fw-m", "--on", "obliterate it", "--exec", "/bin/true"), 2, "E706"),
        (("edge", "run", "--as", "fw-m", "--on", "deny ipv4_net", "--exec", "/no/such/handler"), 2, "E717"),
        (("edge", "run", "--as", "fw-m", "--on", "deny ipv4_net"), 2, "E908"),
        (("edge", "run", "--as", "fw-m", "--exec", "/bin/true"), 2, "E908"),
        (("edge", "run", "--as", "fw-m"), 2, "E908"),
        (("edge", "run", "--as", "fw-m", "--handler", "nftable"), 2, "E908"),
        (("edge", "run", "--as", "fw-m", "--handler", "nftables nevr=secret-word"), 2, "E908"),
        (("edge", "run", "--as", "sensor-m", "--handler", "nftables"), 5, "E404"),
        (("edge", "handlers", "nftable"), 2, "E908"),
        (("up", "-d", "--dev", "TOPOLOGY"), 1, "E913"),
        (("relay", "run", "elsewhere", "TOPOLOGY"), 2, "E908"),
        (("bundle", "elsewhere", "TOPOLOGY", "-o", "/tmp/never"), 2, "E908"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_what_a_running_fabric_refuses(house, args, code, error):
    args = [str(house.file) if arg == "TOPOLOGY" else arg for arg in args]
    done = house.cli(*args, "--json").expect(code)
    assert done.error["code"] == error and done.error["cause"] and done.error["next"], done.err
    assert "secret-word" not in done.err


def test_a_count_that_is_not_reached_in_time(house):
    wanted = ("--count", "3", "--timeout", "500ms")
    done = house.cli("subscribe", "detections.none", "--as", "analyst-m", *wanted).expect(6)
    assert "0 of 3 messages" in done.err


def test_a_relay_that_does_not_answer_is_unreachable(own_house):
    """Its identities exist; nothing runs."""
    make_identities(load(own_house.file), init_authority(own_house.fabric, own_house.home), own_house.home)
    done = own_house.cli("publish", "detections.x", "--as", "sensor-m", "--json", "{}").expect(69)
    assert done.error["code"] == "E901" and "127.0.0.1" in done.error["detail"]


def test_a_port_in_use_is_said_at_once_and_the_others_run(own_house):
    port = int(re.search(r'plant = .*?:(\d+)"', own_house.file.read_text())[1])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = own_house.cli("up", "-d", "--dev", "--json", str(own_house.file)).expect(3)
        states = {line["relay"]: line for line in done.lines}
        assert states["plant"]["state"] == "down" and "E903" in states["plant"]["why"]
        assert {states[name]["state"] for name in ("hq", "mid", "low")} == {"up"}
    # It comes up by itself when the port is free.
    own_house.wait_whole()
    own_house.down()


def test_another_relay_s_bundle(house, tmp_path):
    output = tmp_path / "bundle"
    house.cli("bundle", "low", str(house.file), "-o", str(output)).expect(0)
    assert house.cli("relay", "run", "mid", str(output), "--json").expect(2).error["code"] == "E908"
    again = house.cli("bundle", "low", str(house.file), "-o", str(output), "--json").expect(2)
    assert "not an empty folder" in again.error["detail"]
    (output / "secret.json").write_text("{")
    broken = house.cli("relay", "run", "low", str(output), "--json").expect(1)
    assert "E905" in broken.err and "Traceback" not in broken.err


def lint(house: House, text: str, code: int = 1):
    house.file.write_text(with_free_ports(text))
    done = house.cli("topology", "lint", str(house.file), "--json").expect(code)
    return [line for line in done.lines if line["severity"] == "error"]


def changed(before: str, after: str) -> str:
    assert before in TOPOLOGY
    return TOPOLOGY.replace(before, after)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (changed('"127.0.0.1:PORT-hq" }', '"127.0.0.1:PORT-hq", parent = "plant" }'), "relays.hq"),
        (changed(',   parent = "hq" }', " }"), "relays.mid"),
        (changed('parent = "low"', 'parent = "nowhere"'), "relays.plant.parent"),
        (changed('dial = "child" }', 'dial = "child", serves = ["10.1.0.0/99"] }'), "relays.plant.serves"),
        (changed('"127.0.0.1:PORT-low"', '"127.0.0.1:PORT-mid"'), "relays.low.listen"),
        (changed('clearance = "red",   kind', 'clearance = "purple",   kind'), "points.analyst-hq.clearance"),
        (changed('role = "soar",     ', 'role = "boss",     '), "points.soar-hq.role"),
        (TOPOLOGY + '\n[relays.plant.more]\nx = 1\n', "relays.plant"),
        (changed('fabric = "trial"', 'fabric = "../etc"'), "fabric"),
        (changed('"deny ipv4_net", to', '"obliterate ipv4_net", to'), "roles.soar.request"),
    ],
    ids=["cycle", "two roots", "missing parent", "bad CIDR", "duplicate address", "bad label", "unknown role",
         "inline table extended", "fabric is a path", "unknown action"],
)
def test_a_topology_that_is_wrong_names_the_key_and_what_to_write(bare, text, key):
    found = lint(bare, text)
    assert any(problem["key"].startswith(key) for problem in found), found
    assert all(problem["cause"] and problem["write"] for problem in found)


def test_a_topology_that_is_wrong_is_not_run(bare):
    bare.file.write_text(with_free_ports(changed('parent = "low"', 'parent = "nowhere"')))
    up = bare.cli("up", "-d", "--dev", str(bare.file)).expect(1)
    assert "relays.plant.parent" in up.err
    assert not bare.folder.exists(), "nothing was made, nothing was started"


def test_all_errors_come_at_once(bare):
    text = changed('parent = "low"', 'parent = "nowhere"').replace('role = "soar",     ', 'role = "boss",     ')
    keys = {problem["key"] for problem in lint(bare, text)}
    assert {"relays.plant.parent", "points.soar-hq.role"} <= keys


def test_what_is_no_toml(bare):
    (problem,) = lint(bare, "[relays\nhq = 1")
    assert problem["code"] == "E801" and problem["line"] == 1


def test_ctrl_c_ends_it_without_a_word_of_python(house):
    running = house.start("subscribe", "detections.>", "--as", "analyst-m")
    running.wait_line("subscribed to")
    done = running.stop(signal.SIGINT)
    assert done.code == 130 and "Traceback" not in done.err


def test_who_reads_only_the_first_line_gets_no_complaint(house):
    shell = subprocess.run(
        ["bash", "-c", f"{' '.join(FABRIC)} topology graph {house.file} | head -1"],
        capture_output=True, text=True, env={**os.environ, "FABRIC_HOME": str(house.home)}, cwd=ROOT,
    )
    assert "Traceback" not in shell.stderr and "trial" in shell.stdout


def test_the_log_of_it_all_is_clean(house):
    wait_for(house.is_whole, "all relays up")
    house.assert_logs_clean("secret-word")
    for text in house.logs().values():
        for line in text.splitlines():
            json.loads(line)
