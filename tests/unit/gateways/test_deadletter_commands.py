"""`fabric deadletter`: what is listed says nothing of what is in it; what is shown is escaped."""

import json
import sys
from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.app import app
from relays.cli.edge import deadletter
from relays.cli.shared import exits
from relays.gateways.deadletter import DeadLetters, stores_of
from relays.gateways.deadletter.letter import RAW_BYTES_MAX

ERROR = FabricError(Code.UNMAPPED, "kind: no topic can be made of it")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `fabric deadletter ...`: (exit code, output, errors)."""
    monkeypatch.setattr(deadletter, "as_identity", lambda name: SimpleNamespace(id=name, folder=tmp_path))

    def run(*args: str) -> tuple[object, str, str]:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["fabric", "deadletter", *args, "--as", "zeek-1"])
            for name in ("stdout", "stderr"):
                patched.setattr(sys, name, getattr(sys, name))
            with pytest.raises(SystemExit) as ended:
                exits.run(app)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def letters(tmp_path):
    kept = DeadLetters(tmp_path, {"conn": Label.AMBER}, now_ms=lambda: 1_773_144_000_000)
    kept.keep("conn", {"secret": "hunter2", "evil": "\x1b[31m"}, ERROR, "conn.log:7")
    error = FabricError(Code.BAD_INPUT, "line is not JSON")
    kept.keep("conn", b"not json \x1b]0;x\x07 \xff", error, "conn.log:9\x1b[2J")
    kept.keep("udp", b"z" * (RAW_BYTES_MAX + 1), ERROR, "192.0.2.1:514")
    kept.close()
    return tmp_path


def test_a_list_says_nothing_of_what_is_in_it(call, letters, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("list")
    assert code == 0 and "conn/1" in out and "conn.log:7" in out and "E750" in out and "udp/1" in out
    assert "hunter2" not in out and "\x1b" not in out and "not json" not in out
    code, out, _ = call("list", "--json", "--source", "conn", "--last", "1")
    entry, rest = map(json.loads, out.splitlines())
    assert entry["id"] == "conn/2" and entry["label"] == "amber" and entry["reason"] == "bad_input"
    assert rest == {"source": "conn", "older": 1, "lost": 0} and "hunter2" not in out


def test_what_is_shown_is_escaped(call, letters):
    code, out, _ = call("show", "conn/1")
    assert code == 0 and "hunter2" in out and "\x1b" not in out and "TLP:AMBER" in out and "fabric source test" in out
    code, out, _ = call("show", "conn/2")
    assert code == 0 and "not json" in out and "\x1b" not in out and "\x07" not in out
    code, out, _ = call("show", "udp/1")
    assert f"{RAW_BYTES_MAX:,} of {RAW_BYTES_MAX + 1:,} bytes" in out and "TLP:RED" in out
    shown = json.loads(call("show", "conn/1", "--json")[1])
    assert shown["record"] == {"secret": "hunter2", "evil": "\x1b[31m"} and shown["form"] == "record"
    assert json.loads(call("show", "conn/2", "--json")[1])["raw"]["base64"]


@pytest.mark.parametrize("id_", ["conn/3", "conn/x", "conn", "../conn/1", "none/1", "conn/" + "9" * 30, "conn/²"])
def test_one_that_is_not_there(call, letters, id_):
    code, _, err = call("show", id_, "--json")
    assert code == 1 and json.loads(err)["error"]["code"] == "E751"
    assert call("drop", "conn/1", id_)[0] == 1 and len(stores_of(letters, "conn")[0].letters()) == 2


def test_dropping(call, letters):
    for wrong in ([], ["conn/1", "--all"], ["--all", "--source", "./x"]):
        assert call("drop", *wrong)[0] == 2
    assert call("drop", "conn/1", "conn/1")[1] == "1 dropped\n"
    assert json.loads(call("drop", "--all", "--json")[1]) == {"dropped": 2}
    code, out, _ = call("list")
    assert code == 0 and "nothing that a source or sink of zeek-1 rejected" in out
    assert not any(b"hunter2" in path.read_bytes() for path in letters.rglob("*") if path.is_file())
