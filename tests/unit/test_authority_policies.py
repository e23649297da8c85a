"""The authority's approval policies on disk: signed when rules change, and a copy for everybody."""

import pytest

from fabric.edge.identity.home import fabric_folder, ids_folder, revocations_path
from fabric.edge.identity.identity import POLICIES, load_identity, own_policies
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.policies import Policies, issue_policies
from relays.authority import are_in_step, init_authority, keep_list, make_identities, make_only, read_policies, revoke
from relays.authority.lists import read_revocations
from relays.bundle import make_bundle
from relays.topology.loader import load
from tests.support import Authority

FILE = """
fabric = "small"
[relays]
hq = { clearance = "amber", listen = "127.0.0.1:7700" }
[roles]
firewall = { execute = ["deny ipv4_net"] }
lead = { approve = [{ class = "contain", to = "all" }] }
[points]
fw-1 = { relay = "hq", role = "firewall", clearance = "amber" }
lead-1 = { relay = "hq", role = "lead", clearance = "amber", principal = "kim" }
"""
ASK = '[[approval]]\nwhen = { class = "contain" }\nrequire = 1\nfrom = ["lead"]\n'


@pytest.fixture
def authority(tmp_path):
    return init_authority("small", tmp_path)


def made(home, authority, text=FILE + ASK):
    file = home / "small.toml"
    file.write_text(text)
    topology = load(file)
    make_identities(topology, authority, home)
    return topology


def copies(home):
    return [own_policies(ids_folder("small", home) / id_) for id_ in ("hq", "fw-1", "lead-1")]


def test_a_file_without_rules_has_no_policies(tmp_path, authority):
    topology = made(tmp_path, authority, FILE)
    assert read_policies(authority, tmp_path) == Policies() and copies(tmp_path) == [b"", b"", b""]
    assert are_in_step(topology, authority, tmp_path)


def test_everybody_gets_a_copy_and_nothing_is_signed_again_for_nothing(tmp_path, authority):
    made(tmp_path, authority)
    first = read_policies(authority, tmp_path)
    assert [rule.name for rule in first.rules] == ["approval-1"] and copies(tmp_path) == [first.raw] * 3
    made(tmp_path, authority)
    assert read_policies(authority, tmp_path) == first
    assert load_identity(ids_folder("small", tmp_path) / "lead-1").credential.principal == "kim"


@pytest.mark.parametrize("text", [FILE, FILE + ASK + 'within = "5m"\n', FILE + '[classes]\nx-a = "contain"\n' + ASK],
                         ids=["no rule any more", "another rule", "another class"])
def test_what_changed_is_a_new_version(tmp_path, authority, text):
    made(tmp_path, authority)
    first = read_policies(authority, tmp_path)
    topology = made(tmp_path, authority, text)
    second = read_policies(authority, tmp_path)
    assert second.supersedes(first) and second.rules == tuple(spec.rule for spec in topology.approvals)
    assert second.classes == topology.classes and copies(tmp_path) == [second.raw] * 3


def test_the_next_list_names_them(tmp_path, authority):
    made(tmp_path, authority, FILE)
    assert keep_list(authority, tmp_path) and not keep_list(authority, tmp_path)
    made(tmp_path, authority)
    version = read_policies(authority, tmp_path).version
    assert keep_list(authority, tmp_path) and not keep_list(authority, tmp_path)
    path = revocations_path("small", tmp_path)
    assert read_revocations(path, authority.public, "small").policies == version
    (fabric_folder("small", tmp_path) / POLICIES).unlink()
    assert revoke(authority, ["fw-1"], tmp_path).policies == version, "what was named once is not forgotten"


def test_one_relay_s_bundle_signs_no_policies_but_the_first_and_takes_them_along(tmp_path, authority):
    file = tmp_path / "small.toml"
    file.write_text(FILE + ASK)
    make_only(load(file), authority, ["hq"], tmp_path)
    first = read_policies(authority, tmp_path)
    assert first.version and POLICIES in make_bundle(ids_folder("small", tmp_path) / "hq", tmp_path / "bundle")
    file.write_text(FILE)
    make_only(load(file), authority, ["hq"], tmp_path)
    assert read_policies(authority, tmp_path) == first and not are_in_step(load(file), authority, tmp_path)


def test_a_newer_copy_stays_and_what_is_not_the_authority_s_does_not(tmp_path, authority):
    made(tmp_path, authority)
    first = read_policies(authority, tmp_path)
    newer = issue_policies("small", first.version + 9, 0, (), {}, authority.signer)
    (ids_folder("small", tmp_path) / "fw-1" / POLICIES).write_bytes(newer)
    (ids_folder("small", tmp_path) / "hq" / POLICIES).write_bytes(b"damaged")
    made(tmp_path, authority)
    assert copies(tmp_path) == [first.raw, newer, first.raw]


def test_forged_policies_in_the_fabric_s_folder_are_an_error(tmp_path, authority):
    made(tmp_path, authority)
    path = fabric_folder("small", tmp_path) / POLICIES
    path.write_bytes(issue_policies("small", 9, 0, (), {}, Authority("another").signer))
    with pytest.raises(FabricError) as error:
        read_policies(authority, tmp_path)
    assert error.value.code is Code.STALE_POLICIES and str(path) in error.value.detail
