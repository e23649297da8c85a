"""kill -9 under load: what was acknowledged arrives, once, whoever died on the way."""

import json
import os
import random
import signal
import time

import pytest

from relays.process.loop import AWAKE_MAX
from tests.integration.harness import House, wait_for

RECORDS = 3_000


@pytest.mark.parametrize("victims", [("mid",), ("low",), ("plant",), ("plant", "low", "mid", "hq")], ids="+".join)
def test_nothing_that_was_held_is_lost_or_comes_twice(house: House, victims):
    """Each victim dies in the middle of a burst, and the supervisor brings it back."""
    chosen = random.Random(str(victims))
    topic = f"detections.crash.{'-'.join(victims)}"
    subscriber = house.start("subscribe", topic, "--as", "analyst-hq", "--json", "--count", str(RECORDS),
                             "--timeout", "90s")
    subscriber.wait_line('"subscribed"')
    with house.point("zeek-p") as sensor:
        waiting = []
        for number in range(RECORDS):
            waiting.append(sensor.publish_later(topic, {"number": number}, label="green"))
            if number in (RECORDS // 4, RECORDS // 2):
                for victim in chosen.sample(victims, len(victims)):
                    house.kill_relay(victim)
            if number % 100 == 99:
                time.sleep(0.01)  # a burst is a second long, so that the deaths fall into it
        held = [future.result(timeout=60) for future in waiting]
    assert len(set(held)) == RECORDS
    done = subscriber.wait(120)
    numbers = [json.loads(line)["content"]["number"] for line in done.out.splitlines()]
    assert len(numbers) == len(set(numbers)), "something came twice"
    assert sorted(numbers) == list(range(RECORDS)), f"{RECORDS - len(numbers)} are missing"
    done.expect(0)
    house.wait_whole()
    house.assert_logs_clean()


def test_a_backlog_that_is_read_bit_by_bit_after_a_restart_arrives_whole_and_once(house: House):
    """More than a relay reads at its start waits at the plant when it dies, and its parent is away."""
    count, topic = AWAKE_MAX + 500, "detections.crash.backlog"
    low, plant = house.pid("low"), house.pid("plant")
    with house.point("analyst-hq") as analyst, house.point("zeek-p") as sensor:
        messages = analyst.subscribe(f"{topic}.>", timeout_s=60)
        with house.frozen(low):
            waiting = [sensor.publish_later(f"{topic}.n{n}", {"n": n}, label="green") for n in range(count)]
            for future in waiting:
                future.result(60)
            house.kill_relay("plant")
            wait_for(lambda: house.state("plant").get("pid", plant) != plant, "another process of plant", 30)
            assert wait_for(lambda: house.fresh_state("plant")["held"] >= count, "all of it held", 30)
            started = [json.loads(line) for line in house.logs()["plant.log"].splitlines() if "relay started" in line]
            assert started[-1]["held"] >= count and started[-1]["asleep"] >= count - AWAKE_MAX
        numbers = [next(messages).content["n"] for _ in range(count)]
        wait_for(lambda: house.fresh_state("plant")["held"] == 0, "an empty spool at plant")
    assert sorted(numbers) == list(range(count))
    house.wait_whole()
    house.assert_logs_clean()


def test_a_supervisor_that_is_killed_leaves_nothing_behind_and_can_be_started_again(own_house: House):
    own_house.up()
    supervisor = json.loads((own_house.folder / "run" / "_supervisor.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not own_house.processes(), "no relay without its supervisor")
    assert own_house.cli("down", "--json").expect(1).error["code"] == "E914"
    own_house.up()
    own_house.wait_whole()
    own_house.down()
