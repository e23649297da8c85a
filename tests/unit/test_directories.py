"""The directory on its way from a topology to disk, to every identity, and into a bundle."""

import ipaddress
import time

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import own_directory
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import DIRECTORY_BYTES_MAX
from fabric.protocol.trust.directory import issue_directory, verify_directory
from relays.authority import directories, directory_path, open_authority, revoke
from relays.bundle import make_bundle
from tests.identities import identity, made

TOPOLOGY = """
fabric = "small"
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:7700" }
[relays.plant]
segment = "ot"
clearance = "amber"
listen = "0.0.0.0:7720"
advertise = "plant.example:7720"
parent = "hq"
serves = ["10.1.0.0/16", "2001:db8::/48"]
[roles]
sensor = { publish = ["detections.>"] }
[points]
zeek-1 = { relay = "plant", role = "sensor", clearance = "amber" }
laptop = { role = "sensor", clearance = "amber" }
"""
EVERYBODY = ("hq", "plant", "zeek-1", "laptop")


def make(home, text=TOPOLOGY):
    return made(home, text)


@pytest.fixture
def home(tmp_path):
    make(tmp_path)
    return tmp_path


def directory(home):
    found = verify_directory(directory_path("small", home).read_bytes(), open_authority("small", home).public, "small")
    assert not hasattr(found, "code"), found
    return found


def test_it_says_where_each_relay_is_and_whom_it_serves(home):
    found, plant = directory(home), identity(home, "plant").credential
    assert [relay.id for relay in found.relays] == ["hq", "plant"]
    relay = found.relays[1]
    assert (relay.addresses, relay.curve_key, relay.segment) == (("plant.example:7720",), plant.curve_key, "ot")
    assert relay.serves == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("2001:db8::/48"))
    assert (relay.clearance, relay.not_after_ms) == (plant.clearance, plant.not_after_ms)
    assert abs(found.version - time.time()) < 60, "the version follows the clock"


def test_everybody_has_a_copy_from_the_start_and_a_bundle_too(home, tmp_path):
    raw = directory(home).raw
    assert [own_directory(ids_folder("small", home) / id_) for id_ in EVERYBODY] == [raw] * 4
    assert "directory" in make_bundle(ids_folder("small", home) / "plant", tmp_path / "bundle")
    assert own_directory(tmp_path / "bundle") == raw


def test_who_names_no_relay_is_to_find_the_nearest(home):
    laptop, zeek = (identity(home, id_) for id_ in ("laptop", "zeek-1"))
    assert laptop.nearest and not zeek.nearest
    assert [dial.id for dial in laptop.dials] == ["hq"], "for the case that there is no directory"


def test_it_is_signed_again_only_when_a_relay_changed(home):
    before = directory(home)
    assert make(home) == [] and directory(home).raw == before.raw
    make(home, TOPOLOGY.replace('relay = "plant", role', 'relay = "hq", role'))
    assert directory(home).raw == before.raw, "control points are not in it"
    make(home, TOPOLOGY.replace("10.1.0.0/16", "10.2.0.0/16"))
    after = directory(home)
    assert after.supersedes(before) and str(after.relays[1].serves[0]) == "10.2.0.0/16"
    assert own_directory(ids_folder("small", home) / "laptop") == after.raw


def test_it_is_signed_again_before_it_ends(home, monkeypatch):
    before = directory(home)
    monkeypatch.setattr(directories, "DIRECTORY_LIFE_MS", 4 * directories.DIRECTORY_LIFE_MS)
    make(home)
    assert directory(home).supersedes(before)


def test_who_is_revoked_is_not_in_it(home):
    revoke(open_authority("small", home), ["plant"], home)
    make(home)
    assert [relay.id for relay in directory(home).relays] == ["hq"]


@pytest.mark.parametrize("damage", [b"", b"\x92", bytes(DIRECTORY_BYTES_MAX + 1)], ids=["empty", "cut off", "huge"])
def test_what_was_damaged_is_made_again(home, damage):
    before = directory(home)
    directory_path("small", home).write_bytes(damage)
    (ids_folder("small", home) / "laptop" / "directory").write_bytes(damage)
    make(home)
    assert directory(home).relays == before.relays
    assert own_directory(ids_folder("small", home) / "laptop") == directory(home).raw


def test_a_newer_copy_that_came_through_the_fabric_is_let_be(home):
    known = directory(home)
    signer = open_authority("small", home).signer
    newer = issue_directory("small", known.version + 9, 0, 2**45, known.relays[:1], signer)
    copy = ids_folder("small", home) / "laptop" / "directory"
    copy.write_bytes(newer)
    make(home)
    assert copy.read_bytes() == newer and directory(home).raw == known.raw


def test_a_fabric_too_large_for_it_has_none_unless_somebody_needs_it(tmp_path, monkeypatch):
    def too_large(*_):
        raise FabricError(Code.TOO_LARGE)

    monkeypatch.setattr(directories, "issue_directory", too_large)
    make(tmp_path, TOPOLOGY.replace("laptop = { role", 'laptop = { relay = "hq", role'))
    assert not directory_path("small", tmp_path).exists()
    with pytest.raises(FabricError, match="E102"):
        make(tmp_path)
