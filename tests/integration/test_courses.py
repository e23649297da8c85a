"""Whoever chose no label hears which one it is and where it ends: before it is sent, or a moment after."""

import shutil

import pytest

from tests.integration.harness import House, house_in

TOPOLOGY = """
fabric = "courses"
organisation = "acme"
defaults = { label = "amber", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "green", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
sensor = { publish = ["detections.>"] }

[points]
zeek  = { relay = "plant", role = "sensor", clearance = "amber" }
bare  = { relay = "plant", role = "sensor", clearance = "amber" }
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("courses"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


def test_where_the_default_ends_is_said_when_it_is_sent(house: House, tmp_path):
    said = "label amber (the topology's default): ends at hq, cleared for green (E601)"
    assert said in house.cli("publish", "detections.x", '{"n": 1}', "--as", "zeek").expect(0).err
    (tmp_path / "old").write_text('{"n": 1}\n')
    done = house.cli("send", str(tmp_path / "old"), "--topic", "detections.x", "--as", "zeek").expect(0)
    assert said in done.err
    told = house.cli("send", str(tmp_path / "old"), "--topic", "detections.x", "--as", "zeek", "--json")
    (told,) = told.expect(0).lines
    assert told["label"] == "amber" and told["label_by_default"] and told["ends"]["relay"] == "hq"


def test_a_label_that_passes_and_was_chosen_is_nothing_to_speak_of(house: House):
    assert house.cli("publish", "detections.x", '{"n": 1}', "--as", "zeek", "--label", "green").expect(0).err == ""


def test_where_nobody_here_knows_the_way_the_relay_s_word_is_waited_for(house: House, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(house.folder / "ids" / "bare", folder)
    elsewhere = tmp_path / "elsewhere"
    done = house.start("publish", "detections.x", '{"n": 1}', "--as", str(folder), home=elsewhere).wait().expect(0)
    assert "label amber (the topology's default)\n" in done.err
    assert "ended on the way up from plant: withheld (E601)" in done.err
