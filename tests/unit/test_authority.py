"""Backups on their way from a topology to the identities, and from there to a relay's configuration."""

import json

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.wire.frames import Role
from relays.process.config import relay_config
from tests.identities import identity, made

TOPOLOGY = """
fabric = "small"
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:7700" }
east  = { clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
west  = { clearance = "amber", listen = "127.0.0.1:7720", parent = "hq" }
office = { clearance = "amber", listen = "127.0.0.1:7730", parent = "east", backups = ["west", "hq"] }
plant = { clearance = "amber", listen = "127.0.0.1:7740", parent = "west", dial = "child", backups = ["east"] }
[roles]
sensor = { publish = ["detections.>"] }
[points]
zeek-1 = { relay = "office", role = "sensor", clearance = "amber", backups = ["west", "east"] }
zeek-2 = { role = "sensor", clearance = "amber" }
"""


@pytest.fixture
def home(tmp_path):
    made(tmp_path, TOPOLOGY)
    return tmp_path


def config(home, id_):
    return relay_config(identity(home, id_))


def test_control_points_dial_their_relay_first_and_then_its_backups(home):
    dials = identity(home, "zeek-1").dials
    assert [(dial.id, dial.address) for dial in dials] == [
        ("office", "127.0.0.1:7730"), ("west", "127.0.0.1:7720"), ("east", "127.0.0.1:7710")
    ]
    assert [dial.curve_key for dial in dials] == [identity(home, dial.id).credential.curve_key for dial in dials]
    assert [dial.id for dial in identity(home, "zeek-2").dials] == ["hq"]


def test_relays_dial_their_parents_in_order(home):
    office = config(home, "office")
    assert (office.parent, office.parents) == ("east", ("east", "west", "hq"))
    assert [(role, dial.id) for role, dial in office.dials] == [
        (Role.CHILD, "east"), (Role.CHILD, "west"), (Role.CHILD, "hq")
    ]
    assert (config(home, "hq").parent, config(home, "hq").parents, config(home, "hq").dials) == ("", (), ())


def test_a_relay_that_is_dialled_is_dialled_by_its_backups_too(home):
    plant = config(home, "plant")
    assert (plant.parent, plant.parents, plant.dials) == ("west", ("west", "east"), ())
    assert identity(home, "plant").relay is None and identity(home, "plant").backups == ()
    for parent in ("west", "east"):
        assert [(role, dial.id) for role, dial in config(home, parent).dials] == [
            (Role.CHILD, "hq"), (Role.PARENT, "plant")
        ]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('["west", "hq"]', '["hq", "west"]', ["office"]),
        (', backups = ["west", "hq"]', "", ["office"]),
        ('["west", "east"]', '["east"]', ["zeek-1"]),
        (', backups = ["east"]', "", ["east", "plant"]),
        ('"127.0.0.1:7720"', '"127.0.0.1:7750"', ["west", "office", "zeek-1"]),
    ],
    ids=["other order", "none any more", "one less", "dialled by one less", "moved"],
)
def test_only_those_whose_backups_changed_are_written_again(home, old, new, changed):
    assert made(home, TOPOLOGY) == []
    before = identity(home, changed[-1]).credential.raw
    assert made(home, TOPOLOGY.replace(old, new)) == changed
    assert identity(home, changed[-1]).credential.raw == before, "a credential says nothing of backups"


def test_an_older_identity_is_read_and_brought_up_to_date(home):
    older = {"office": ("east",), "hq": ()}
    for id_, parents in older.items():
        path = ids_folder("small", home) / id_ / "identity.json"
        document = json.loads(path.read_text())
        del document["parents"], document["backups"]
        path.write_text(json.dumps(document))
        assert config(home, id_).parents == parents
    assert [dial.id for _, dial in config(home, "office").dials] == ["east"]
    assert made(home, TOPOLOGY) == ["hq", "office"]
    assert config(home, "office").parents == ("east", "west", "hq")


@pytest.mark.parametrize("parents", [None, 7, "east", [], ["west"], ["west", "east"], {}])
def test_parents_that_are_not_the_parent_first_are_a_damaged_identity(home, parents):
    path = ids_folder("small", home) / "office" / "identity.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "parents": parents}))
    with pytest.raises(FabricError) as caught:
        config(home, "office")
    assert caught.value.code is Code.BAD_IDENTITY
