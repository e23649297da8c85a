"""Every denial has a number for whoever asked, and is counted at the relay for whoever watches over it."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import TOPOLOGY, House, house_in, wait_for

DENIALS = TOPOLOGY.replace("[points]", """[roles.slow-sensor]
publish = [{ topic = "detections.>", rate = 1 }]

[points]
slow-m     = { relay = "mid",   role = "slow-sensor", clearance = "amber" }""")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("denials"), DENIALS) as house:
        house.up()
        yield house
        house.assert_logs_clean("secret-word")


def counted(house: House, reason: str) -> int:
    return int(house.state("mid")["counters"].get(f"refused:{reason}", 0))


def publish(topic: str, *options: str, as_: str = "sensor-m") -> tuple[str, ...]:
    return ("publish", topic, '{"a": "secret-word"}', "--as", as_, *options)


DENY = ("--on", "deny ipv4_net", "--exec", "/bin/true")
ASKED = [
    (publish("secrets.x"), "E401", "publish_denied"),
    (publish("detections.x", "--severity", "fatal"), "E405", "severity_denied"),
    (publish("detections.x", "--label", "red"), "E409", "clearance_denied"),
    (publish("detections.x", "--field-label", "a=red"), "E409", "clearance_denied"),
    (("subscribe", "secrets.>", "--as", "analyst-m", "--timeout", "5s"), "E402", "subscribe_denied"),
    (("act", "deny", "ipv4_net=192.0.2.1", "--to", "all", "--as", "sensor-m"), "E403", "request_denied"),
    (("edge", "run", "--as", "sensor-m", *DENY), "E404", "execute_denied"),
    (("edge", "run", "--as", "edr-m", *DENY), "E404", "execute_denied"),
]


EXPLAINED = [
    (("publish", "secrets.x", "--as", "sensor-m"), "E401"),
    (("publish", "detections.x", "--severity", "fatal", "--as", "sensor-m"), "E405"),
    (("publish", "detections.x", "--label", "red", "--as", "sensor-m"), "E409"),
    (("publish", "detections.x", "--field-label", "a=red", "--as", "sensor-m"), "E409"),
    (("subscribe", "secrets.>", "--as", "analyst-m"), "E402"),
    (("act", "deny", "ipv4_net=192.0.2.1", "--to", "all", "--as", "sensor-m"), "E403"),
]


@pytest.mark.parametrize(("args", "code"), EXPLAINED, ids=[f"{args[0]} {code}" for args, code in EXPLAINED])
def test_what_is_denied_is_explained_by_the_same_number(house, args, code):
    done = house.cli("explain", *args, "--json").expect(5)
    (said,) = done.lines
    assert (said["verdict"], said["code"]) == ("denied", code) and said["wanted"] and said["next"]


@pytest.mark.parametrize(("args", "code", "reason"), ASKED, ids=[f"{args[0]} {code}" for args, code, _ in ASKED])
def test_a_denial_is_answered_and_counted(house, args, code, reason):
    before = counted(house, reason)
    done = house.cli(*args, "--json").expect(5)
    assert done.error["code"] == code and done.error["reason"] == reason and done.error["next"]
    wait_for(lambda: counted(house, reason) > before, f"refused:{reason} counted by mid")
    assert counted(house, reason) == before + 1


def test_with_an_outbox_it_is_counted_too_and_not_kept(house, tmp_path):
    before = counted(house, "publish_denied")
    house.cli(*publish("secrets.x", "--outbox", str(tmp_path / "outbox")), "--json").expect(5)
    wait_for(lambda: counted(house, "publish_denied") == before + 1, "counted by mid")


def test_what_was_denied_while_no_relay_was_there_is_counted_when_it_is(house, tmp_path):
    before = counted(house, "publish_denied")
    with house.frozen(house.pid("mid")):
        sensor = house.point("sensor-m", tmp_path / "outbox")
        sensor.connect()
        with pytest.raises(FabricError) as denied:
            sensor.publish("secrets.x", {})
        assert denied.value.code is Code.PUBLISH_DENIED
    try:
        wait_for(lambda: counted(house, "publish_denied") == before + 1, "counted by mid")
    finally:
        sensor.close()


def test_who_publishes_too_fast_is_told_so_when_patience_ends(house, tmp_path):
    before = counted(house, "rate_exceeded")
    file = tmp_path / "many.log"
    file.write_text('{"a": 1}\n' * 60)
    # A batch larger than ten seconds' worth passes a full bucket, and then nothing does for most of a minute.
    house.cli("send", str(file), "--topic", "detections.many", "--as", "slow-m", timeout_s=60).expect(0)
    late = publish("detections.late", "--timeout", "1s", as_="slow-m")
    # Where it went as several, the last may have left something: that is soon gone.
    done = next(done for _ in range(40) if (done := house.cli(*late, "--json")).code)
    assert done.expect(5).error["code"] == "E406" and done.error["next"]
    wait_for(lambda: counted(house, "rate_exceeded") > before, "counted by mid")
