"""What the commands of an authority say of a list that they signed: who does not obey it yet, and who is on it."""

import json
import sys

import pytest

from relays.authority import Delegation, delegate, init_authority, keep_list, make_identities, revoke
from relays.cli.app import app
from relays.cli.shared import exits
from relays.topology.loader import load

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq = { clearance = "amber", listen = "127.0.0.1:7700" }
[roles]
wall = { execute = ["deny ipv4_net"] }
[points]
fw-1 = { relay = "hq", role = "wall", clearance = "amber" }
fw-2 = { relay = "hq", role = "wall", clearance = "amber" }
"""


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "home"))
    path = tmp_path / "small.toml"
    path.write_text(TOPOLOGY)
    made = init_authority("small")
    make_identities(load(path), made)
    for issuer in ("issuer-1", "issuer-2"):
        delegate(load(path), Delegation(issuer, "hq", ("wall",)), made)
    keep_list(made)
    return made


def fabric(capsys, *words, code=0):
    before, sys.argv = sys.argv, ["fabric", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            exits.run(app)
    finally:
        sys.argv = before
    assert (ended.value.code or 0) == code
    return capsys.readouterr()


@pytest.mark.parametrize("words", [("revoke", "fw-1", "--fabric", "small"), ("authority", "floor", "1", "small")])
def test_what_no_relay_hears_of_is_said_to_be_in_force_nowhere(authority, capsys, words):
    seen = fabric(capsys, *words)
    assert "in force nowhere yet" in seen.err and "small/revocations" in seen.err
    assert json.loads(fabric(capsys, *words, "--json").out)["relays_here"] == []


def test_the_floor_is_shown(authority, capsys):
    assert "protocol" not in fabric(capsys, "authority", "show", "small").out
    fabric(capsys, "authority", "floor", "1", "small")
    assert "protocol 1 is the lowest that is allowed" in fabric(capsys, "authority", "show", "small").out


def test_a_credential_that_is_revoked_is_shown_so(authority, capsys):
    revoke(authority, ["fw-1"], "")
    assert "no relay lets it in" in fabric(capsys, "credential", "show", "fw-1").out
    assert "no relay lets it in" not in fabric(capsys, "credential", "show", "fw-2").out
    listed = [json.loads(line) for line in fabric(capsys, "credential", "list", "small", "--json").out.splitlines()]
    assert {each["id"]: each["revoked"] for each in listed} == {
        "fw-1": True, "fw-2": False, "hq": False, "issuer-1": False, "issuer-2": False,
    }
    assert sum("E205" in line for line in fabric(capsys, "credential", "list", "small").out.splitlines()) == 1


def test_an_issuer_that_is_revoked_issues_no_token_and_stands_in_the_way_of_none(authority, capsys):
    token = ("token", "issue", "--role", "wall")
    fabric(capsys, *token, "--as", "small/issuer-1")
    assert "more than one issuer" in fabric(capsys, *token, code=2).err
    revoke(authority, ["issuer-1"], "")
    assert "issuer-2 has to be online" in fabric(capsys, *token).err
    seen = fabric(capsys, *token, "--as", "small/issuer-1", code=5)
    assert "E205" in seen.err and "fabric authority delegate" in seen.err and not seen.out
    assert json.loads(fabric(capsys, "token", "list", "--as", "small/issuer-1", "--json").out)["state"] == "revoked"
