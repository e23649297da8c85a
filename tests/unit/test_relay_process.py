"""What surrounds a relay's loop: configuration, state files, logs, the authority, bundles, the supervisor's files."""

import io
import json
import logging
import os
import stat
import subprocess

import pytest
import structlog
from rich.console import Console

from fabric.edge.identity.home import ids_folder, revocations_path
from fabric.edge.identity.identity import load_identity
from fabric.edge.logging.faults import raised_at
from fabric.protocol.base.errors import Code, FabricError, Fault
from fabric.protocol.core.faults import FAULT, Faults
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.revocations import verify_revocations
from fabric.protocol.wire.frames import Role
from relays import supervisor
from relays.authority import (
    identities,
    init_authority,
    keep_list,
    lists,
    make_identities,
    open_authority,
    reasons,
    revoke,
)
from relays.bundle import make_bundle
from relays.cli.tree.running import _table
from relays.last_words import last_words
from relays.logs import Allowance, _Lossy, log_notes, set_up_logs
from relays.process.config import relay_config
from relays.process.status import StatusFile, read_status, snapshot
from relays.supervisor import Supervisor, supervisor_state
from relays.topology.loader import load
from tests.support import entropy

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:7700" }
east  = { segment = "east",  clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
[relays.plant]
segment = "plant"
clearance = "amber"
listen = "0.0.0.0:7720"
advertise = "10.0.0.9:7720"
parent = "hq"
dial = "child"
[roles]
sensor = { publish = ["detections.>"] }
[points]
zeek-1 = { relay = "plant", role = "sensor", clearance = "amber" }
"""


@pytest.fixture
def topology(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(TOPOLOGY)
    return load(file)


@pytest.fixture
def home(tmp_path, topology):
    make_identities(topology, init_authority("small", tmp_path), tmp_path)
    return tmp_path


# -- the authority --------------------------------------------------------------------------------------------


def test_everybody_gets_an_identity_and_keeps_it(home, topology):
    before = {id_: load_identity(ids_folder("small", home) / id_) for id_ in ("hq", "east", "plant", "zeek-1")}
    assert make_identities(topology, open_authority("small", home), home) == []
    for id_, known in before.items():
        assert load_identity(ids_folder("small", home) / id_).credential.raw == known.credential.raw


def test_only_what_changed_is_issued_again_with_the_same_keys(home, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text(TOPOLOGY.replace('role = "sensor", clearance = "amber"', 'role = "sensor", clearance = "green"'))
    before = load_identity(ids_folder("small", home) / "zeek-1").credential
    assert make_identities(load(file), open_authority("small", home), home) == ["zeek-1"]
    after = load_identity(ids_folder("small", home) / "zeek-1").credential
    assert after.raw != before.raw and (after.curve_key, after.sign_key) == (before.curve_key, before.sign_key)
    assert after.serial > before.serial


def test_what_would_end_soon_is_issued_again(home, topology, monkeypatch):
    monkeypatch.setattr(identities, "CREDENTIAL_LIFE_MS", 4 * identities.CREDENTIAL_LIFE_MS)
    assert len(make_identities(topology, open_authority("small", home), home)) == 4


def test_the_key_stays_where_it_is(home):
    key = home / "small" / "authority" / "key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    secret = json.loads(key.read_text())["seed"].encode()
    assert not any(secret in path.read_bytes() for path in ids_folder("small", home).rglob("*") if path.is_file())


def test_revocations_add_up_under_a_rising_version(home):
    authority = open_authority("small", home)
    first, second = revoke(authority, ["zeek-1"], home), revoke(authority, ["east"], home)
    assert second.version > first.version
    listed = verify_revocations(revocations_path("small", home).read_bytes(), authority.public, "small")
    assert listed == second and listed.ids == {"zeek-1", "east"}


def test_a_list_that_no_frame_could_carry_is_not_signed(home):
    authority = open_authority("small", home)
    before = revoke(authority, ["zeek-1"], home)
    for count, name in ((4_090, "x" * 59), (5_000, "n")):
        with pytest.raises(FabricError) as caught:
            revoke(authority, [f"{name}{n}" for n in range(count)], home)
        assert caught.value.code is Code.TOO_LARGE
    assert verify_revocations(revocations_path("small", home).read_bytes(), authority.public, "small") == before


def test_a_list_is_signed_again_in_time(home, monkeypatch):
    authority = open_authority("small", home)
    assert keep_list(authority, home) and not keep_list(authority, home)
    revoke(authority, ["zeek-1"], home)
    monkeypatch.setattr(lists, "LIST_LIFE_MS", 4 * lists.LIST_LIFE_MS)
    assert keep_list(authority, home), "less than a third of that is left"
    known = verify_revocations(revocations_path("small", home).read_bytes(), authority.public, "small")
    assert known.ids == {"zeek-1"}


def test_why_is_kept_beside_the_key(home):
    authority = open_authority("small", home)
    revoke(authority, ["zeek-1"], home, "laptop stolen")
    revoke(authority, ["east"], home)
    assert reasons(authority) == {"zeek-1": "laptop stolen", "east": ""}
    assert (authority.folder / "revoked.jsonl").stat().st_mode & 0o777 == 0o600


# -- configuration and bundles --------------------------------------------------------------------------------


def test_who_dials_whom(home):
    configs = {name: relay_config(load_identity(ids_folder("small", home) / name)) for name in ("hq", "east", "plant")}
    assert [(role, dial.id, dial.address) for role, dial in configs["hq"].dials] == [
        (Role.PARENT, "plant", "10.0.0.9:7720")
    ]
    assert [(role, dial.id) for role, dial in configs["east"].dials] == [(Role.CHILD, "hq")]
    assert configs["plant"].dials == () and configs["plant"].parent == "hq"
    assert configs["plant"].listen == "0.0.0.0:7720"


def test_a_control_point_is_no_relay(home):
    with pytest.raises(FabricError) as caught:
        relay_config(load_identity(ids_folder("small", home) / "zeek-1"))
    assert caught.value.code is Code.BAD_IDENTITY


def test_a_bundle_is_one_relay_s_and_private(home, tmp_path):
    output = tmp_path / "bundle"
    files = make_bundle(ids_folder("small", home) / "plant", output)
    assert sorted(files) == sorted(path.name for path in output.iterdir())
    assert load_identity(output).id == "plant"
    assert stat.S_IMODE(output.stat().st_mode) == 0o700
    assert stat.S_IMODE((output / "secret.json").stat().st_mode) == 0o600
    assert os.access(output / "start", os.X_OK) and "relays.run" in (output / "start").read_text()
    unit = (output / "message-fabric-plant.service").read_text()
    for line in ("ExecStart=/etc/message-fabric/plant/start", "Restart=always", "LimitNOFILE=", "MemoryMax="):
        assert line in unit
    assert "StartLimitIntervalSec=0" in unit, "five failures in a row would be the last for good"


def test_a_bundle_s_start_finds_a_python_that_has_us_or_says_what_to_do(home, tmp_path):
    output = tmp_path / "bundle"
    make_bundle(ids_folder("small", home) / "plant", output)
    fake = output / "venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text("#!/bin/sh\necho \"$@\" >> " + str(tmp_path / "asked") + "\n")
    fake.chmod(0o755)
    environment = {"PATH": "/bin:/usr/bin", "FABRIC_HOME": str(home), "PYTHON": "/bin/false"}
    assert subprocess.run([output / "start"], env=environment, check=False, timeout=30).returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == ["-P -c import relays.run", f"-P -m relays.run {output}"]
    fake.write_text("#!/bin/sh\necho Traceback; echo \"No module named 'relays'\"; exit 1\n")
    none = {**environment, "PATH": str(tmp_path / "nowhere")}
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(["/bin/sh", output / "start"], env=none, check=False, timeout=30, capture_output=True)
    assert done.returncode == 78 and b"pip install ./message-fabric" in done.stderr
    assert f"  {fake}: No module named 'relays'\n".encode() in done.stderr, "why this one will not do"
    fake.unlink()
    fake.symlink_to(tmp_path / "elsewhere")  # as of somebody's own Python, where this user may not look
    done = subprocess.run(["/bin/sh", output / "start"], env=none, check=False, timeout=30, capture_output=True)
    assert done.returncode == 78 and f"  {fake}: ".encode() in done.stderr


@pytest.mark.parametrize("what", ["a folder with something in it", "a file"])
def test_a_bundle_overwrites_nothing(home, tmp_path, what):
    output = tmp_path / "taken"
    if what == "a file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / "mine").write_text("mine")
    with pytest.raises(FabricError) as caught:
        make_bundle(ids_folder("small", home) / "plant", output)
    assert caught.value.code is Code.USAGE


# -- state and logs -------------------------------------------------------------------------------------------


def test_a_state_is_written_whole_read_with_its_age_and_removed(home, tmp_path):
    identity = load_identity(ids_folder("small", home) / "plant")
    core = Relay(identity.credential, identity.signer, identity.authority_key, bytes(16), entropy(0), ("hq",))
    file = StatusFile(tmp_path / "run" / "plant.json")
    file.write(snapshot(core, relay_config(identity), 5_000, {}, True, {}))
    state = read_status(tmp_path / "run" / "plant.json", 6_000)
    assert (state["relay"], state["parent"], state["parent_link"], state["age_ms"]) == ("plant", "hq", "down", 1_000)
    assert identity.curve_secret.hex() not in json.dumps(state)
    file.remove()
    assert read_status(tmp_path / "run" / "plant.json", 6_000) is None
    file.remove()


def test_a_state_that_cannot_be_written_says_so_to_who_writes_it(tmp_path):
    file = StatusFile(tmp_path / "run" / "plant.json")
    (tmp_path / "run").rmdir()
    with pytest.raises(OSError):
        file.write({"at_ms": 1})


def test_lines_are_left_out_when_there_are_too_many_and_counted():
    allowance = Allowance(lines_max=3, every_ms=1_000)
    taken = [allowance.take("link refused", n) for n in range(10)]
    assert taken == [0, 0, 0, *[None] * 7]
    assert allowance.take("another", 5) == 0
    assert allowance.take("link refused", 1_500) == 7


def test_a_log_that_cannot_be_written_stops_nobody():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    stream = _Lossy(Full())
    assert stream.write("line") == 4
    stream.flush()


def test_logs_are_json_where_nobody_reads_them_live(capsys):
    set_up_logs("info")
    try:
        structlog.get_logger().info("hello", relay="hq")
        structlog.get_logger().debug("not this")
    finally:
        structlog.reset_defaults()
        logging.shutdown()
    entry = json.loads(capsys.readouterr().err)
    assert (entry["event"], entry["relay"], entry["level"]) == ("hello", "hq", "info")


def test_a_fault_s_place_is_named_and_never_its_text():
    try:
        raise ValueError("secret-word")
    except ValueError as error:
        place = raised_at(error)
    assert "test_relay_process.py" in place and "secret-word" not in place


# -- the supervisor's files -----------------------------------------------------------------------------------


def test_the_last_words_are_those_of_this_run(tmp_path):
    watch = Supervisor("small", ["hq"], tmp_path)
    log = tmp_path / "small" / "run" / "hq.log"
    log.write_text('{"event": "relay cannot run", "level": "error", "code": "E903"}\n')
    assert last_words("small", "hq", tmp_path)["code"] == "E903"
    watch._begin_log("hq")
    assert last_words("small", "hq", tmp_path) is None
    assert last_words("small", "nobody", tmp_path) is None


def test_a_log_that_grew_too_long_is_cut_under_its_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_LOG_BYTES_MAX", 100)
    log = tmp_path / "hq.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 150)
        supervisor._rotate(log)
        writer.write(b"y" * 10)
    assert log.read_bytes() == b"y" * 10 and (tmp_path / "hq.log.1").read_bytes() == b"x" * 150


def test_one_supervisor_at_a_time_and_a_stale_file_means_nothing(tmp_path):
    first, second = Supervisor("small", [], tmp_path), Supervisor("small", [], tmp_path)
    assert supervisor_state("small", tmp_path) is None
    first._take_lock()
    first._write_state()
    assert supervisor_state("small", tmp_path)["pid"] == os.getpid()
    with pytest.raises(FabricError) as caught:
        second._take_lock()
    assert caught.value.code is Code.ALREADY_RUNNING
    first._release_lock()
    assert supervisor_state("small", tmp_path) is None


def test_a_fault_is_a_line_and_the_same_again_an_error_that_says_what_to_do():
    faults, fault = Faults(), Fault("KeyError", "fabric.protocol.trust.known:141")
    with structlog.testing.capture_logs() as lines:
        for at_ms in (0, 1_000):
            log_notes(structlog.get_logger(), faults.note(fault, "mole", at_ms), Allowance(), at_ms)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        (FAULT, "info"), (FAULT, "info"), ("the same fault again", "error")
    ]
    assert (lines[-1]["code"], lines[-1]["next"]) == ("E917", Code.INTERNAL.next_step)


def test_status_says_that_a_relay_had_faults():
    state = {"relay": "hq", "state": "up", "pid": 1, "counters": {"faults:KeyError": 2, "refused:internal": 2}}
    shown = io.StringIO()
    Console(file=shown, width=200).print(_table("small", [state]))
    assert "E917 2 faults: see its log" in shown.getvalue()
