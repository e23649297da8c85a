"""A durable reader finds what came while it was away, once, and is told of what found no room."""

import asyncio
import json
import signal
import threading

import pytest

from fabric.edge import ControlPoint, FabricError
from fabric.protocol.base.errors import Code
from tests.integration.harness import House, wait_for
from tests.support import noise


def read(house: House, topic, outbox, count, timeout="30s"):
    done = house.cli("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--json", "--count", str(count),
                     "--timeout", timeout, timeout_s=60)
    return [line["content"]["n"] for line in done.lines]


def publish(house: House, topic, numbers):
    with house.point("sensor-m") as sensor:
        for future in [sensor.publish_later(topic, {"n": n}, label="green") for n in numbers]:
            future.result(30)


# At 45 KB each, more than 16 MB of what does not compress.
TOO_MANY = 450


def test_what_comes_while_it_is_away_waits_and_nothing_comes_twice(house: House, tmp_path):
    """Away three times: after a clean stop in the middle of a batch, after kill -9, and over a kill -9 of its relay."""
    topic, outbox = "detections.durable.away", tmp_path / "reader"
    reader = house.start("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--json")
    reader.wait_line('"subscribed"')
    publish(house, topic, range(10))
    wait_for(lambda: len(reader.out) == 10, "ten messages")
    reader.stop(signal.SIGINT)
    publish(house, topic, range(10, 110))
    assert sorted(read(house, topic, outbox, 30)) == list(range(10, 40)), "stops within a batch"
    killed = house.start("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--json")
    wait_for(lambda: len(killed.out) >= 70, "the rest")
    assert [json.loads(line)["content"]["n"] for line in killed.out] == list(range(40, 110))
    killed.process.kill()
    killed.process.wait()
    publish(house, topic, range(110, 120))
    house.wait_restarted("mid", house.kill_relay("mid"))
    publish(house, topic, range(120, 130))
    # Of what the killed reader printed, the batch that it had not acknowledged comes again; that is all.
    again = read(house, topic, outbox, 1_000, "6s")
    assert len(again) == len(set(again)) and set(again) <= {*range(40, 130)} and set(again) >= {*range(110, 130)}
    assert read(house, topic, outbox, 1, "2s") == []
    house.assert_logs_clean()


def test_a_gap_is_marked(house: House, tmp_path):
    """More waits than the quota of 16 MB: the oldest are lost, counted, and said to be."""
    topic, outbox = "detections.durable.gap", tmp_path / "reader"
    first = house.start("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--json")
    first.wait_line('"subscribed"')
    first.stop(signal.SIGINT)
    with house.point("sensor-m") as sensor:
        waiting = [sensor.publish_later(topic, {"n": n, "x": noise(n)}, label="green") for n in range(TOO_MANY)]
        for future in waiting:
            future.result(60)
    again = house.start("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--json")
    again.wait_line(f'"n": {TOO_MANY - 1},', 60)
    done = again.stop(signal.SIGINT)
    gaps = [line["content"]["lost"] for line in done.lines if line["kind"] == "gap"]
    got = [line["content"]["n"] for line in done.lines if line["kind"] == "event"]
    assert sum(gaps) > 0 and len(got) + sum(gaps) == TOO_MANY and len(set(got)) == len(got)
    assert got == list(range(TOO_MANY - len(got), TOO_MANY)), "the oldest went"


def test_more_is_kept_where_its_point_says_so_and_it_sleeps_on_disk(house: House, tmp_path):
    """What another reader would have lost a part of; over a kill -9 of its relay, which it finds in a moment again."""
    topic, outbox = "detections.durable.kept", tmp_path / "reader"
    command = ("subscribe", topic, "--as", "keeper-m", "--outbox", str(outbox), "--json")
    first = house.start(*command)
    first.wait_line('"subscribed"')
    first.stop(signal.SIGINT)
    with house.point("sensor-m") as sensor:
        waiting = [sensor.publish_later(topic, {"n": n, "x": noise(n)}, label="green") for n in range(TOO_MANY)]
        for future in waiting:
            future.result(60)

    def all_kept() -> dict | None:
        waits = [one for one in house.state("mid").get("waiting", ()) if one["for"] == "keeper-m"]
        whole = waits and waits[0]["messages"] == TOO_MANY and waits[0]["asleep"] > TOO_MANY // 4
        return waits[0] if whole else None

    # Acknowledged is not yet here: it may still be on its way to where it is kept; and it falls asleep bit by bit.
    reader = wait_for(all_kept, "all of it at its relay, and much of it asleep")
    assert reader["bytes"] > 16 * 2**20, "more than everybody has"
    assert reader["away"] and reader["share_bytes"] == 64 * 2**20
    assert "mid holds for keeper-m (away): " in house.cli("status").out
    house.wait_restarted("mid", house.kill_relay("mid"))
    done = house.cli(*command, "--count", str(TOO_MANY), "--timeout", "40s", timeout_s=60).expect(0)
    assert [line["content"]["n"] for line in done.lines] == list(range(TOO_MANY))
    house.assert_logs_clean()


def test_forgotten_it_waits_for_nothing(house: House, tmp_path):
    topic, outbox = "detections.durable.forget", tmp_path / "reader"
    assert read(house, topic, outbox, 1, "1s") == []
    house.cli("subscribe", topic, "--as", "analyst-m", "--outbox", str(outbox), "--forget").expect(0)
    publish(house, topic, range(3))
    assert read(house, topic, outbox, 1, "2s") == []


def test_mistakes_are_named(house: House, tmp_path):
    alone = house.cli("subscribe", "detections.x", "--as", "analyst-m", "--forget", "--json").expect(2)
    assert alone.error["code"] == "E908"
    with house.point("analyst-m") as analyst, pytest.raises(FabricError) as mistake:
        analyst.subscribe("detections.x", durable=True)
    assert mistake.value.code is Code.USAGE


def test_the_asyncio_face_is_durable_too(house: House, tmp_path):
    topic = "detections.durable.async"

    async def one() -> int:
        async with ControlPoint(house.identity("analyst-m"), outbox=tmp_path / "reader") as analyst:
            messages = analyst.subscribe(topic, durable=True)
            await analyst.wait_ready()
            publish_first = asyncio.to_thread(publish, house, topic, [1]) if not (tmp_path / "one").exists() else None
            if publish_first is not None:
                (tmp_path / "one").touch()
                await publish_first
            number = (await anext(messages)).content["n"]
            await messages.aclose()
            return number

    assert asyncio.run(asyncio.wait_for(one(), 40)) == 1
    publish(house, topic, [2])
    assert asyncio.run(asyncio.wait_for(one(), 40)) == 2


def test_a_function_gets_what_came_while_it_was_away_once_each(house: House, tmp_path):
    """The blocking face: closed in the middle of a batch, it goes on behind the record at which it was."""
    topic, outbox = "detections.durable.function", tmp_path / "reader"
    got: list[int] = []
    with house.point("analyst-m", outbox=outbox) as analyst:
        analyst.on_message(topic, lambda message: got.append(message.content["n"]), durable=True)
        analyst.wait_ready()
        publish(house, topic, range(3))
        wait_for(lambda: len(got) == 3, "what came while it was there")
    publish(house, topic, range(3, 103))
    begun, go_on = threading.Event(), threading.Event()

    def slow(message):
        got.append(message.content["n"])
        begun.set()
        assert go_on.wait(20)

    with house.point("analyst-m", outbox=outbox) as analyst:
        handling = analyst.on_message(topic, slow, durable=True)
        assert begun.wait(20)
        handling.close()
        go_on.set()  # leaving waits for the function that is at work
    assert len(got) == 4
    house.wait_restarted("mid", house.kill_relay("mid"))
    with house.point("analyst-m", outbox=outbox) as analyst:
        analyst.on_message(topic, lambda message: got.append(message.content["n"]), durable=True)
        wait_for(lambda: len(got) >= 103, "the rest")
    assert got == list(range(103))


def test_an_async_function_is_durable_too(house: House, tmp_path):
    topic = "detections.durable.asyncfunction"
    got: list[int] = []

    async def one(count: int, numbers) -> None:
        enough = asyncio.Event()

        async def take(message) -> None:
            got.append(message.content["n"])
            await asyncio.sleep(0)
            if len(got) == count:
                enough.set()

        async with ControlPoint(house.identity("analyst-m"), outbox=tmp_path / "reader") as analyst:
            analyst.on_message(topic, take, durable=True)
            await analyst.wait_ready()
            await asyncio.to_thread(publish, house, topic, numbers)
            await asyncio.wait_for(enough.wait(), 20)

    asyncio.run(one(3, range(3)))
    publish(house, topic, range(3, 8))
    asyncio.run(one(10, range(8, 10)))
    assert sorted(got) == list(range(10)), "each once"
