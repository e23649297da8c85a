"""Whoever chose no label hears which one it is and where it ends: before it is sent, or a moment after."""

import os
import shutil
import signal

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
sensor   = { publish = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny *", to = "role=firewall", scope = "plant" }] }

[points]
zeek  = { relay = "plant", role = "sensor", clearance = "amber" }
fw    = { relay = "plant", role = "firewall", clearance = "amber" }
bare  = { relay = "plant", role = "sensor", clearance = "amber" }
soar  = { relay = "plant", role = "soar", clearance = "amber" }
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


def test_whoever_executes_as_an_identity_that_another_executes_as_is_not_ready_before_it_may(house: House):
    args = ("edge", "run", "--as", "fw", "--on", "deny ipv4_net", "--exec", "true")
    first = house.start(*args)
    first.wait_line("fw: ready for")
    second = house.start(*args)
    second.wait_line("waiting: E913 it already runs on this machine: another process executes actions as fw")
    assert not any("ready" in line for line in second.out)
    first.stop().expect(0)
    second.wait_line("fw: ready for")
    second.stop().expect(0)


def test_a_drained_relay_is_said_to_be_drained_and_to_be_up_when_it_is(house: House):
    house.cli("drain", "plant", "--within", "100ms")
    assert "plant: is drained already" in house.cli("drain", "plant").out
    assert house.cli("drain", "plant", "--back").expect(0).out == "plant: up again"


def test_a_drained_relay_says_for_whom_actions_wait_and_they_go_when_both_are_back(house: House):
    edge = ("edge", "run", "--as", "fw", "--on", "deny ipv4_net", "--exec", "true")
    executor = house.start(*edge)
    executor.wait_line("fw: ready for")
    executor.stop().expect(0)
    asked = house.start(
        "act", "deny", "ipv4_net=192.0.2.1", "--to", "role=firewall", "--as", "soar", "--ttl", "60s", "--json"
    )
    asked.wait_line('"held"')
    drained = house.cli("drain", "plant", "--within", "100ms").expect(3).out
    assert "1 action waits there for targets that are away" in drained and ": fw (1)" in drained
    (told,) = house.cli("drain", "plant", "--json").expect(3).lines
    assert (told["actions"], told["away"]) == (1, {"fw": 1})
    house.cli("drain", "plant", "--back").expect(0)
    executor = house.start(*edge)
    asked.wait_line('"completed"')
    executor.stop().expect(0)
    asked.wait().expect(0)


def test_what_is_stopped_before_its_input_ends_is_not_done(house: House):
    """`--follow` has no end, so being stopped is its end."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b'{"n": 1}\n')
        sending = house.start("send", "-", "--topic", "detections.x", "--as", "zeek", stdin=reader)
        sending.wait_line("label amber")
        sending.stop(signal.SIGINT).expect(130)
    finally:
        os.close(reader)
        os.close(writer)
