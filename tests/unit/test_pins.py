"""Who may knock at a relay."""

import os

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from relays.authority import Delegation, delegate, init_authority, make_identities
from relays.process.pins import Pins, add_pin, write_pins
from relays.topology.loader import load
from tests.support import derive

ONE, TWO = derive("one"), derive("two")
TOPOLOGY = """
fabric = "small"
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:7700", admission = "pinned" }
east  = { clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
west  = { clearance = "amber", listen = "127.0.0.1:7720", parent = "hq", dial = "child", admission = "pinned" }
[roles]
sensor = { publish = ["detections.>"] }
[points]
zeek-1 = { relay = "east", role = "sensor", clearance = "amber", backups = ["hq"] }
zeek-2 = { relay = "east", role = "sensor", clearance = "amber" }
zeek-3 = { relay = "west", role = "sensor", clearance = "amber" }
"""


def test_without_pins_everybody_may_knock(tmp_path):
    pins = Pins(tmp_path)
    assert not pins.pinned and pins.admits(ONE) and not pins.admits(b"short")


def test_with_pins_only_those(tmp_path):
    write_pins(tmp_path, {"one": ONE})
    pins = Pins(tmp_path)
    assert pins.pinned and pins.admits(ONE) and not pins.admits(TWO)


def test_a_change_is_taken_up(tmp_path):
    write_pins(tmp_path, {"one": ONE})
    pins = Pins(tmp_path)
    assert not pins.look()
    add_pin(tmp_path, "two", TWO)
    assert pins.look() and pins.admits(ONE) and pins.admits(TWO)
    add_pin(tmp_path, "two", derive("other"))
    assert pins.look() and not pins.admits(TWO), "one key each"


@pytest.mark.parametrize("text", ["", "nonsense\n", "00ff zeek\n", "zz" * 32 + " x\n", "\n\n"])
def test_a_line_that_cannot_be_read_pins_nobody(tmp_path, text):
    (tmp_path / "pins").write_text(text + f"{ONE.hex()} one\n")
    pins = Pins(tmp_path)
    assert pins.admits(ONE) and not pins.admits(TWO)


def test_a_file_that_is_gone_or_unreadable_opens_no_door(tmp_path):
    write_pins(tmp_path, {"one": ONE})
    pins = Pins(tmp_path)
    (tmp_path / "pins").unlink()
    assert not pins.look() and not pins.admits(TWO)
    (tmp_path / "pins").write_bytes(b"\xff\xfe")
    assert not pins.look() and not pins.admits(TWO)


@pytest.fixture
def made(tmp_path):
    (tmp_path / "small.toml").write_text(TOPOLOGY)
    topology, authority = load(tmp_path / "small.toml"), init_authority("small", tmp_path)
    make_identities(topology, authority, tmp_path)
    return tmp_path, topology, authority


def pinned(home, relay):
    return {line.split(" ")[1] for line in (ids_folder("small", home) / relay / "pins").read_text().splitlines()}


def test_a_topology_pins_whoever_it_lets_dial(made):
    home, _, _ = made
    assert pinned(home, "hq") == {"east", "zeek-1"}
    assert pinned(home, "west") == {"hq", "zeek-3"}, "its parent dials it"
    assert not (ids_folder("small", home) / "east" / "pins").exists()
    hq = Pins(ids_folder("small", home) / "hq")
    assert hq.admits(load_identity(ids_folder("small", home) / "east").credential.curve_key)


def test_an_issuer_is_pinned_where_it_dials(made):
    home, topology, authority = made
    delegate(topology, Delegation("west-issuer", "west", ("sensor",)), authority, home)
    assert pinned(home, "west") == {"hq", "zeek-3", "west-issuer"}
    make_identities(topology, authority, home)
    assert pinned(home, "west") == {"hq", "zeek-3", "west-issuer"}


def test_what_is_not_pinned_any_more_is_open_again(made):
    home, _, authority = made
    (home / "small.toml").write_text(TOPOLOGY.replace(', admission = "pinned"', ""))
    make_identities(load(home / "small.toml"), authority, home)
    assert not (ids_folder("small", home) / "hq" / "pins").exists()


def test_nothing_is_written_where_nothing_changed(made):
    home, topology, authority = made
    path = ids_folder("small", home) / "hq" / "pins"
    before = os.stat(path)
    make_identities(topology, authority, home)
    assert os.stat(path).st_ino == before.st_ino
