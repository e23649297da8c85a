"""Who was taken out of a topology and goes on; and that nobody is signed by the way."""

import json

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.trust.credentials import NodeKind
from relays.authority import (
    Delegation,
    barred,
    barred_words,
    check_strays,
    delegate,
    directory_path,
    init_authority,
    keep_ids,
    kept_ids,
    make_identities,
    make_only,
    open_authority,
    revoke,
    strays,
)
from relays.topology.loader import load
from tests.unit.test_command_lines import ends

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq    = { segment = "hq", clearance = "red",   listen = "127.0.0.1:7700" }
plant = { segment = "ot", clearance = "amber", listen = "127.0.0.1:7720", parent = "hq" }
[roles]
sensor   = { publish = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }
[points]
zeek-1 = { relay = "plant", role = "sensor",   clearance = "amber" }
fw-1   = { relay = "plant", role = "firewall", clearance = "amber" }
[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""
EVERYBODY = ["hq", "plant", "zeek-1", "fw-1"]


@pytest.fixture
def topology(tmp_path):
    return written(tmp_path, TOPOLOGY)


@pytest.fixture
def authority(tmp_path, topology):
    made = init_authority("small", tmp_path)
    make_identities(topology, made, tmp_path)
    return made


def written(folder, text):
    file = folder / "small.toml"
    file.write_text(text)
    return load(file)


def raws(home):
    return {id_: load_identity(ids_folder("small", home) / id_).credential.raw for id_ in EVERYBODY}


# -- nobody is signed by the way ------------------------------------------------------------------------------


def test_the_first_bundle_makes_everybody(tmp_path, topology):
    made, left, directory_left = make_only(topology, init_authority("small", tmp_path), ["plant"], tmp_path)
    assert (made, left, directory_left) == (EVERYBODY, [], False)
    assert directory_path("small", tmp_path).is_file()


def test_a_firewall_does_not_get_other_grants_while_a_relay_is_bundled(tmp_path, authority):
    before = raws(tmp_path)
    changed = written(tmp_path, TOPOLOGY.replace('role = "firewall", clearance', 'role = "soar",     clearance'))
    assert make_only(changed, authority, ["plant"], tmp_path) == ([], ["fw-1"], False)
    assert raws(tmp_path) == before
    assert make_only(changed, authority, ["plant", "fw-1"], tmp_path) == (["fw-1"], [], False)
    assert load_identity(ids_folder("small", tmp_path) / "fw-1").credential.grants.request


def test_its_own_relay_is_signed_and_told_of(tmp_path, authority):
    before = raws(tmp_path)
    text = TOPOLOGY.replace('"ot", clearance = "amber"', '"ot", clearance = "green"')
    text = text.replace('"127.0.0.1:7700"', '"127.0.0.1:7799"')
    made, left, directory_left = make_only(written(tmp_path, text), authority, ["plant"], tmp_path)
    assert (made, directory_left) == (["plant"], True), "where hq listens now is not said by the way"
    assert left == ["hq"]
    after = raws(tmp_path)
    assert [id_ for id_ in EVERYBODY if after[id_] != before[id_]] == ["plant"]
    assert make_only(written(tmp_path, text), authority, ["plant", "hq"], tmp_path) == (["hq"], [], False)


def test_a_relay_that_was_taken_out_stays_in_the_directory_until_all_is_signed(tmp_path, authority):
    east = 'east = { segment = "east", clearance = "amber", listen = "127.0.0.1:7730", parent = "hq" }'
    lines = [line for line in TOPOLOGY.splitlines() if not line.startswith(("plant", "zeek-1", "fw-1"))]
    lines.insert(lines.index("[roles]"), east)
    moved = written(tmp_path, "\n".join(lines))
    assert make_only(moved, authority, ["hq"], tmp_path) == (["east"], [], True)
    assert b"plant" in directory_path("small", tmp_path).read_bytes()
    make_identities(moved, authority, tmp_path)
    assert b"plant" not in directory_path("small", tmp_path).read_bytes()


# -- who is not in the file any more --------------------------------------------------------------------------


def test_whoever_is_in_the_file_is_no_stray(tmp_path, topology, authority):
    assert strays("small", EVERYBODY, tmp_path) == [] and list(check_strays(topology, tmp_path)) == []


def test_a_point_that_was_taken_out_is_named_with_the_command_that_ends_it(tmp_path, authority):
    fewer = written(tmp_path, "\n".join(line for line in TOPOLOGY.splitlines() if not line.startswith("zeek-1")))
    (problem,) = check_strays(fewer, tmp_path)
    assert problem.severity == "warning" and "zeek-1" in problem.cause and "fabric revoke zeek-1" in problem.write


def test_revoked_and_unreadable_ones_and_issuers_are_no_strays(tmp_path, topology, authority):
    delegation = Delegation("p-issuer", "plant", ("sensor",), ("p-*",))
    delegate(topology, delegation, authority, tmp_path)
    issuer = load_identity(ids_folder("small", tmp_path) / "p-issuer")
    assert issuer.credential.kind is NodeKind.ISSUER
    (ids_folder("small", tmp_path) / "fw-1" / "identity.json").write_text("{")
    assert strays("small", ["hq", "plant"], tmp_path) == ["zeek-1"]
    revoke(open_authority("small", tmp_path), ["zeek-1"], tmp_path)
    assert strays("small", ["hq", "plant"], tmp_path) == []


def test_the_ids_of_the_topology_that_ran_last_are_kept(tmp_path, topology):
    assert kept_ids("small", tmp_path) is None
    keep_ids(topology, tmp_path)
    assert kept_ids("small", tmp_path) == EVERYBODY
    (tmp_path / "small" / "run" / "_topology.json").write_text(json.dumps({"ids": 3}))
    assert kept_ids("small", tmp_path) is None


def test_whoever_is_in_the_file_and_revoked_is_named_with_the_way_to_begin_anew(tmp_path, topology, authority):
    assert barred("small", EVERYBODY, tmp_path) == []
    revoke(authority, ["zeek-1"], tmp_path)
    assert barred("small", EVERYBODY, tmp_path) == ["zeek-1"]
    words = barred_words("zeek-1", "small", tmp_path)
    assert "another id" in words and f"delete {tmp_path / 'small'}" in words
    (problem,) = check_strays(topology, tmp_path)
    assert (problem.key, problem.severity) == ("points.zeek-1", "warning") and problem.code.label == "E205"


def test_a_credential_that_was_revoked_is_not_renewed(tmp_path, topology, authority, monkeypatch, capsys):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    before = load_identity(ids_folder("small", tmp_path) / "zeek-1").credential
    revoke(authority, ["zeek-1"], tmp_path)
    assert ends(monkeypatch, "credential", "renew", "zeek-1", "--json") == 5
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "E205"
    assert load_identity(ids_folder("small", tmp_path) / "zeek-1").credential == before
    assert ends(monkeypatch, "credential", "renew", "fw-1", "--json") == 0
