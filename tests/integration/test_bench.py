"""`fabric bench` through four relays, and what it says where there is no way."""

import json
import signal

from fabric.protocol.base.errors import Code
from tests.integration.harness import House

TOPIC = "detections.test.bench"


def test_what_it_publishes_arrives_at_every_reader_marked_as_a_test(house: House):
    with house.point("analyst-m") as other:
        messages = other.subscribe(TOPIC, timeout_s=30)
        done = house.cli(
            "bench", "--as", "zeek-p", "--to", "analyst-p", "--to", "analyst-hq", "--topic", TOPIC, "--for", "500ms",
            "--rate", "40", "--severity", "low", "--severity", "critical", "--label", "green", "--json",
        ).expect(0)
        seen = next(messages)
        messages.close()
    (found,) = done.lines
    assert found["published"] == found["held"] == 20
    near, far = found["readers"]
    assert (near["reader"], near["path"]) == ("analyst-p", ["plant"])
    assert (far["reader"], far["path"]) == ("analyst-hq", ["plant", "low", "mid", "hq"])
    for each in (near, far):
        assert (each["records"], each["lost"]) == (20, 0) and 0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"]
        assert {name: of["records"] for name, of in each["severities"].items()} == {"low": 10, "critical": 10}
    assert seen.content["test"] is True and "this is no event" in seen.content["note"]


def test_a_reader_without_a_grant_is_named(house: House):
    done = house.cli("bench", "--as", "zeek-p", "--to", "guest-p", "--topic", TOPIC, "--for", "1s", "--json").expect(5)
    assert done.error["code"] == Code.SUBSCRIBE_DENIED.label and "guest-p" in done.error["detail"]
    assert done.error["next"] == f"see what is granted: fabric explain subscribe {TOPIC} --as guest-p"


def test_ctrl_c_ends_it_and_shows_what_was_measured(house: House):
    with house.point("analyst-m") as other:
        messages = other.subscribe(TOPIC, timeout_s=30)
        running = house.start(
            "bench", "--as", "sensor-m", "--to", "analyst-m", "--topic", TOPIC, "--for", "10m", "--rate", "50", "--json"
        )
        for message in messages:
            if message.content.get("n", -1) > 3:
                messages.close()
                break
        done = running.stop(signal.SIGINT).expect(130)
    (found,) = done.lines
    assert found["held"] == found["readers"][0]["records"] > 3
    assert json.loads(done.out)["readers"][0]["path"] == ["mid"]
