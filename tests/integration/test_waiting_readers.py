"""A durable reader that loses nothing: while it is full, whoever publishes on its topics waits."""

import json
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code
from tests.integration.harness import House, Running, wait_for
from tests.support import noise


class Pressing:
    """Publishes on a topic, message after message, until it hears that a reader of it waits."""

    def __init__(self, sensor: ControlPoint, topic: str) -> None:
        self.futures: list[Future[str]] = []
        self._sensor, self._topic = sensor, topic

    def publish(self) -> None:
        n = len(self.futures)
        self.futures.append(self._sensor.publish_later(self._topic, {"n": n, "x": noise(n)}, label="green"))

    def until(self, reader: str) -> None:
        """However much is on its way when the first "no" comes back: a relay that is slow to say it is sent more
        meanwhile, all that the one before it may hold. So no number of messages is sure to come to it, but to go on is.
        """

        def said() -> bool:
            self.publish()
            why = self._sensor.held_up
            return why is not None and (why.code, why.detail) == (Code.READER_FULL, reader)

        wait_for(said, f"the pressure of {reader}", 60)


def waiter(house: House, id_: str, topic: str, outbox: Path) -> tuple[str, ...]:
    """The command of a durable reader that was there, and is away now."""
    command = ("subscribe", topic, "--as", id_, "--outbox", str(outbox), "--json")
    first = house.start(*command)
    first.wait_line('"subscribed"')
    first.stop(signal.SIGINT)
    return command


def held_back(house: House, relay: str, reader: str) -> int:
    return int(house.state(relay).get("waits_for", {}).get(reader, {}).get("held_back", 0))


def numbers(reader: Running) -> list[int]:
    lines = [json.loads(line) for line in reader.out]
    return [line["content"]["n"] for line in lines if line["kind"] == "event"]


@pytest.mark.parametrize("slow", [False, True], ids=["as it is", "its relay is slow"])
def test_a_reader_that_waits_loses_nothing_and_the_pressure_reaches_who_publishes(house: House, tmp_path, slow):
    """Two relays further down, by name; what is said on another topic goes on, and what waited comes in its order."""
    topic, other = f"detections.durable.wait{slow}".lower(), "detections.durable.goeson"
    command = waiter(house, "waiter-m", topic, tmp_path / "reader")
    with house.point("zeek-p") as sensor:
        pressing = Pressing(sensor, topic)
        if slow:  # so that the relay below it takes, and says that it has, far more than the reader may have
            with house.frozen(house.pid("mid")):
                for _ in range(100):
                    pressing.publish()
                wait_for(lambda: all(future.done() for future in pressing.futures), "all of it at relays")
        pressing.until("waiter-m")
        wait_for(lambda: house.state("mid").get("waits_for", {}).get("waiter-m", {}).get("refused"), "who is full")
        wait_for(lambda: held_back(house, "low", "waiter-m"), "what is held back")
        sensor.publish(other, {"n": 0}, label="green", wait_s=20)
        assert not all(future.done() for future in pressing.futures)
        assert "waits for waiter-m" in house.cli("status").out
        reader = house.start(*command)
        wait_for(lambda: len(reader.out) >= len(pressing.futures), "all of it", 90)
        for future in pressing.futures:
            future.result(30)
        assert sensor.held_up is None
        reader.stop(signal.SIGINT)
    assert numbers(reader) == list(range(len(pressing.futures)))
    house.cli(*command, "--forget").expect(0)
    house.assert_logs_clean()


def test_when_the_reader_is_revoked_who_waited_for_it_goes_on(house: House, tmp_path):
    topic = "detections.durable.revoked"
    waiter(house, "leaver-m", topic, tmp_path / "reader")
    with house.point("zeek-p") as sensor:
        pressing = Pressing(sensor, topic)
        pressing.until("leaver-m")
        house.cli("revoke", "leaver-m", "--fabric", house.fabric).expect(0)
        for future in pressing.futures:
            future.result(60)
        assert sensor.held_up is None
    for relay in ("mid", "low", "plant"):
        wait_for(lambda relay=relay: not house.state(relay)["waits_for"], f"{relay} to wait for nobody")
    house.assert_logs_clean()


def test_a_relay_that_is_drained_meanwhile_stops_in_time_and_says_for_whom_it_keeps_what(house: House, tmp_path):
    topic, count = "detections.durable.drained", 40  # more than the reader may have, less than a relay holds back
    command = waiter(house, "waiter-m", topic, tmp_path / "reader")
    with house.point("zeek-p") as sensor:
        pressing = Pressing(sensor, topic)
        for _ in range(count):
            pressing.publish()
        for future in pressing.futures:
            future.result(60)
    wait_for(lambda: held_back(house, "low", "waiter-m"), "what is held back")
    (drained,) = house.cli("drain", "low", "--within", "1s", "--json", timeout_s=60).expect(3).lines
    assert drained["held"] >= drained["waits_for"]["waiter-m"] > 0
    assert "for readers that are full and lose nothing: waiter-m (" in house.cli("drain", "low").expect(3).out
    house.cli("drain", "low", "--back").expect(0)
    house.wait_whole()
    reader = house.start(*command)
    wait_for(lambda: len(reader.out) >= count, "all of it", 90)
    reader.stop(signal.SIGINT)
    assert numbers(reader) == list(range(count))
    house.cli(*command, "--forget").expect(0)
    house.assert_logs_clean()
