"""Origins are told of what relays held and could not deliver, also when both were away meanwhile."""

import json

import pytest

from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "notices"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "green", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
sensor = { publish = ["detections.>"] }

[points]
zeek  = { relay = "plant", role = "sensor", clearance = "amber" }
other = { relay = "plant", role = "sensor", clearance = "amber" }
late  = { relay = "plant", role = "sensor", clearance = "amber" }
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("notices"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


def test_who_publishes_what_may_not_climb_is_told_where_it_ended(house: House):
    waiting = house.start("notices", "--as", "zeek", "--count", "1", "--timeout", "30s", "--json")
    house.wait_connected("plant", "zeek")
    with house.point("zeek") as sensor:
        for future in [sensor.publish_later("detections.kept.here", {"n": n}, label="amber") for n in range(20)]:
            future.result(30)
    (notice,) = waiting.wait().expect(0).lines
    assert notice["relay"] == "plant" and notice["label"] == "amber" and notice["records"] == 20
    assert [(e["code"], e["reason"], e["topic"], e["towards"]) for e in notice["ended"]] == [
        ("E601", "withheld", "detections.kept.here", "up")
    ]


def test_what_expired_while_everybody_was_away_is_told_when_its_origin_comes(house: House):
    """The relay above hangs, the publisher leaves, the message expires, and its relay is killed: it still knows."""
    with house.frozen(house.pid("hq")):
        house.cli("publish", "detections.late.one", '{"n": 1}', "--as", "late", "--ttl", "3s").expect(0)
        wait_for(lambda: house.state("plant")["counters"].get("ended:expired"), "the message to expire")
        killed = house.kill_relay("plant")
    house.wait_restarted("plant", killed)
    heard = house.cli("notices", "--as", "late", "--count", "1", "--timeout", "30s").expect(0)
    assert heard.out == "1 record(s) of detections.late.one (TLP:GREEN) ended on the way up from plant: expired (E501)"
    house.assert_logs_clean()


def test_a_program_is_told_too_and_nobody_else(house: House):
    told, others = [], []
    with house.point("other") as sensor, house.point("late") as other:
        sensor.on_notice(told.append)
        other.on_notice(others.append)
        sensor.publish("detections.kept.too", {"n": 1}, label="amber")
        wait_for(lambda: told, "a notice")
    assert [ended.topic for notice in told for ended in notice.ended] == ["detections.kept.too"]
    assert others == []


def test_notices_that_do_not_come_in_time_are_short(house: House):
    done = house.cli("notices", "--as", "late", "--count", "1", "--timeout", "1s", "--json").expect(6)
    assert done.out == "" and json.loads(house.cli("notices", "--json").err)["error"]["code"] == "E908"
