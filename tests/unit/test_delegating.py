"""A plant's issuer, made from a topology; and what it then may sign."""

import time

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import Credential, NodeKind, decode_grants
from fabric.protocol.vocabulary.tlp import Label
from relays.authority import Delegation, delegate, init_authority, make_identities
from relays.authority.minting import claim, mint
from relays.topology.loader import load
from tests.support import DAY_MS, derive

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq      = { clearance = "red",   listen = "127.0.0.1:7700" }
plant-1 = { clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
[roles]
sensor   = { publish = ["detections.>"] }
firewall = { subscribe = ["intel.>"], execute = ["deny ipv4_net"] }
lead     = { approve = [{ class = "contain", to = "segment=plant-1" }] }
"""
NOW = time.time_ns() // 1_000_000


@pytest.fixture
def topology(tmp_path):
    (tmp_path / "small.toml").write_text(TOPOLOGY)
    return load(tmp_path / "small.toml")


@pytest.fixture
def authority(tmp_path, topology):
    made = init_authority("small", tmp_path)
    make_identities(topology, made, tmp_path)
    return made


@pytest.fixture
def issuer(tmp_path, topology, authority):
    delegate(topology, Delegation("plant-1-issuer", "plant-1", ("sensor", "firewall")), authority, tmp_path)
    return load_identity(ids_folder("small", tmp_path) / "plant-1-issuer")


def refused(function, *arguments):
    with pytest.raises(FabricError) as caught:
        function(*arguments)
    return caught.value


def signed_by(issuer, **changed):
    wanted = {
        "fabric": "small", "id": "plant-1-zeek", "kind": NodeKind.POINT, "organisation": "acme",
        "clearance": Label.AMBER, "segment": "plant-1", "tags": (("role", "sensor"),),
        "grants": decode_grants(issuer.extra["roles"]["sensor"]), **changed,
    }
    keys = (derive("curve", wanted["id"]), derive("sign", wanted["id"]))
    unsigned = claim(wanted, keys, NOW, 30 * DAY_MS, issuer.credential)
    return mint(unsigned, issuer.signer, issuer.authority_key, issuer.credential)


def test_what_follows_from_its_relay(issuer):
    credential = issuer.credential
    assert (credential.kind, credential.segment, credential.clearance) == (NodeKind.ISSUER, "plant-1", Label.CLEAR)
    assert credential.grants == type(credential.grants)(), "itself it may do nothing"
    may = credential.issuing
    assert (may.ids, may.principals, may.segments) == (("plant-1-*",), ("plant-1-*",), ("plant-1",))
    assert (may.kinds, may.clearance, may.organisations) == ((NodeKind.POINT,), Label.AMBER, ("acme",))
    assert may.tags == (("role", "sensor"), ("role", "firewall"))
    assert issuer.dials[0].id == "plant-1" and set(issuer.extra["roles"]) == {"sensor", "firewall"}


def test_it_signs_members_of_its_roles(issuer):
    member = signed_by(issuer)
    assert isinstance(member, Credential) and member.issuers == ("plant-1-issuer",)
    assert member.not_after_ms <= issuer.credential.not_after_ms


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "hq"}, {"kind": NodeKind.RELAY}, {"segment": "hq"}, {"clearance": Label.RED},
        {"tags": (("role", "lead"),)},
    ],
)
def test_it_signs_nothing_else(issuer, changed):
    assert refused(lambda: signed_by(issuer, **changed)).code is Code.WIDER_THAN_ISSUER


def test_what_is_said_goes_before_what_follows(tmp_path, topology, authority):
    wanted = Delegation(
        "narrow", "plant-1", ("sensor",), ids=("p1-*",), segments=("cell-1a",), clearance=Label.GREEN,
        tags=(("vendor", "*"),), principals=("shift",), life_ms=DAY_MS,
    )
    may = delegate(topology, wanted, authority, tmp_path).issuing
    assert (may.ids, may.segments, may.clearance, may.principals) == (("p1-*",), ("cell-1a",), Label.GREEN, ("shift",))
    assert may.tags == (("role", "sensor"), ("vendor", "*"))


def test_made_again_it_keeps_its_keys(tmp_path, topology, authority, issuer):
    again = delegate(topology, Delegation("plant-1-issuer", "plant-1", ("sensor",)), authority, tmp_path)
    assert again.sign_key == issuer.credential.sign_key and again.serial > issuer.credential.serial


def test_an_issuer_makes_issuers_within_what_it_may(tmp_path, topology, authority):
    both = (NodeKind.POINT, NodeKind.ISSUER)
    delegate(topology, Delegation("company", "hq", ("sensor",), ids=("*",), kinds=both, segments=("*",)),
             authority, tmp_path)
    company = load_identity(ids_folder("small", tmp_path) / "company")
    plant = Delegation("plant", "plant-1", ("sensor",))
    assert delegate(topology, plant, company, tmp_path).issuers == ("company",)
    wider = Delegation("wider", "plant-1", ("sensor", "firewall"))
    assert refused(delegate, topology, wider, company, tmp_path).code is Code.WIDER_THAN_ISSUER
    assert not (ids_folder("small", tmp_path) / "wider").exists()


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        (Delegation("i", "nowhere", ("sensor",)), "nowhere"),
        (Delegation("i", "hq", ("none",)), "none"),
        (Delegation("i", "hq", ()), "role"),
        (Delegation("hq", "hq", ("sensor",)), "hq"),
        (Delegation("../x", "hq", ("sensor",)), "name"),
    ],
)
def test_what_cannot_be_delegated(tmp_path, topology, authority, wanted, word):
    error = refused(delegate, topology, wanted, authority, tmp_path)
    assert error.code is Code.USAGE and word in str(error)


def test_an_issuer_gives_what_its_relay_s_organisation_is_to_others_and_no_more(tmp_path, authority):
    said = '[organisations]\nacme = { client_of = ["msp"], communities = ["isac"] }\n[relays]'
    text = TOPOLOGY.replace("[relays]", said)
    (tmp_path / "small.toml").write_text(text)
    topology = load(tmp_path / "small.toml")
    make_identities(topology, authority, tmp_path)
    made = delegate(topology, Delegation("p-1", "plant-1", ("sensor",)), authority, tmp_path)
    assert (made.client_of, made.communities) == (("msp",), ("isac",))
    assert (made.issuing.client_of, made.issuing.communities) == (("msp",), ("isac",))
    other = delegate(topology, Delegation("p-2", "plant-1", ("sensor",), communities=("fs",)), authority, tmp_path)
    assert (other.issuing.client_of, other.issuing.communities) == (("msp",), ("fs",))
