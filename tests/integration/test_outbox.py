"""A control point that is cut off loses nothing: what it published is on its own disk, and goes on from there."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from contextlib import suppress

import pytest

from fabric.edge import ControlPoint, FabricError
from fabric.protocol.base.errors import Code
from tests.integration.harness import House, wait_for


def write_lines(path, numbers):
    with path.open("a") as file:
        file.writelines(json.dumps({"number": n}) + "\n" for n in numbers)


def numbers_of(done) -> list[int]:
    return [line["content"]["number"] for line in done.lines]


def send(house: House, path, topic, outbox, *more):
    return ("send", str(path), "--as", "zeek-p", "--topic", topic, "--label", "green", "--outbox", str(outbox),
            "--json", *more)


def subscriber(house: House, topic: str, count: int):
    running = house.start("subscribe", topic, "--as", "analyst-hq", "--json", "--count", str(count), "--timeout", "60s")
    running.wait_line('"subscribed"')
    return running


def test_a_sensor_without_a_relay_keeps_what_it_publishes_and_its_next_start_delivers_it(house: House, tmp_path):
    file, outbox, topic = tmp_path / "conn.log", tmp_path / "zeek.outbox", "detections.outbox.cut"
    write_lines(file, range(500))
    reader = subscriber(house, topic, 700)
    with house.frozen(house.pid("plant")):
        kept = house.cli(*send(house, file, topic, outbox)).expect(0).lines[-1]
        assert (kept["held"], kept["waiting"]) == (500, 500)
        write_lines(file, range(500, 600))
        assert house.cli(*send(house, file, topic, outbox)).expect(0).lines[-1]["waiting"] == 600
    house.wait_whole()
    write_lines(file, range(600, 700))
    done = house.cli(*send(house, file, topic, outbox)).expect(0).lines[-1]
    assert (done["held"], done["waiting"]) == (100, 0)
    assert sorted(numbers_of(reader.wait(90).expect(0))) == list(range(700))
    # The folder was the user's, and stays as it was; the outbox is for nobody else to read.
    assert oct(outbox.stat().st_mode)[-2:] == "00" and outbox.parent.stat().st_mode & 0o777 != 0
    house.assert_logs_clean()


def test_a_sender_that_is_killed_again_and_again_sends_every_line_once(house: House, tmp_path):
    """kill -9 at any moment of reading, sealing, committing, sending; and the file is rotated meanwhile."""
    file, outbox, topic = tmp_path / "conn.log", tmp_path / "zeek.outbox", "detections.outbox.killed"
    total, step = 6_000, 1_500
    reader = subscriber(house, topic, total)
    for begin in range(0, total, step):
        write_lines(file, range(begin, begin + step))
        sender = house.start(*send(house, file, topic, outbox, "--follow"))
        db = f"file:{outbox}?mode=ro"

        def has_begun(db=db):
            with suppress(sqlite3.OperationalError), sqlite3.connect(db, uri=True) as look:
                return look.execute("SELECT count(*) FROM kept WHERE name LIKE 'position %'").fetchone()[0] > 0
            return False  # neither file nor tables yet

        wait_for(has_begun, "a first commit")
        time.sleep(0.01 * (begin // step))  # another moment each time; what it falls into does not matter
        sender.process.send_signal(signal.SIGKILL)
        sender.process.wait()
        if begin == step:
            file.rename(tmp_path / "conn.log.1")
            file.touch()
    assert house.cli(*send(house, file, topic, outbox)).expect(0).lines[-1]["waiting"] == 0
    got = numbers_of(reader.wait(90).expect(0))
    assert len(got) == len(set(got)) and sorted(got) == list(range(total))


def test_what_a_program_published_survives_it(house: House, tmp_path):
    outbox, topic = tmp_path / "outbox", "detections.outbox.program"
    with house.point("analyst-p") as analyst:
        messages = analyst.subscribe(topic, timeout_s=40)
        with house.frozen(house.pid("plant")), house.point("zeek-p", outbox) as sensor:
            for n in range(50):
                sensor.publish(topic, {"n": n}, position=("counter", str(n)))
            assert sensor.waiting == 50 and not sensor.drain(0.1)
        with house.point("zeek-p", outbox) as sensor:
            assert sensor.position_of("counter") == "49" and sensor.position_of("other") is None
            assert sensor.drain(20) and sensor.waiting == 0
        assert sorted(next(messages).content["n"] for _ in range(50)) == list(range(50))


def test_the_asyncio_face_has_an_outbox_too(house: House, tmp_path):
    async def story():
        with house.frozen(house.pid("plant")):
            async with ControlPoint(house.identity("zeek-p"), outbox=tmp_path / "outbox") as sensor:
                await sensor.publish("detections.outbox.async", {"n": 1}, position=("s", "1"))
                assert sensor.waiting == 1 and sensor.position_of("s") == "1"
        async with ControlPoint(house.identity("zeek-p"), outbox=tmp_path / "outbox") as sensor:
            assert await sensor.drain(20)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_what_ran_out_in_the_outbox_is_reported_and_not_sent(house: House, tmp_path):
    outbox, topic = tmp_path / "outbox", "detections.outbox.late"
    refused = []
    with house.frozen(house.pid("plant")), house.point("zeek-p", outbox=outbox) as sensor:
        sensor.on_refused(lambda id_, records, error: refused.append((id_, records, error.code)))
        id_ = sensor.publish(topic, {"n": 1}, ttl="1s")
        assert sensor.drain(20)
        wait_for(lambda: refused, "the end of the message")
    assert refused == [(id_.split(".")[0], 1, Code.EXPIRED)]


def test_what_the_grant_does_not_cover_is_refused_at_once_and_not_kept(house: House, tmp_path):
    denied = house.cli("publish", "secrets.x", "{}", "--as", "zeek-p", "--outbox", str(tmp_path / "o"), "--json")
    assert denied.expect(5).error["code"] == "E401"
    with house.point("zeek-p", outbox=tmp_path / "o") as sensor:
        assert sensor.waiting == 0


def test_an_outbox_has_one_owner_and_one_process(house: House, tmp_path):
    outbox = tmp_path / "outbox"
    with house.point("zeek-p", outbox=outbox):
        busy = house.cli("publish", "detections.x", "{}", "--as", "zeek-p", "--outbox", str(outbox), "--json").expect(1)
        assert busy.error["code"] == "E932" and str(outbox) in busy.err
    other = house.cli("publish", "detections.x", "{}", "--as", "guest-p", "--outbox", str(outbox), "--json").expect(2)
    assert other.error["code"] == "E908" and "trial/zeek-p" in other.err


def test_an_outbox_that_cannot_be_is_said_to_be(house: House):
    asked = ("publish", "detections.x", "{}", "--as", "zeek-p", "--outbox", "/proc/nowhere/outbox", "--json")
    assert house.cli(*asked).expect(1).error["code"] in ("E906", "E916")


def test_what_is_no_outbox_or_is_damaged_so_far_that_nobody_can_tell_is_left_as_it_is(house: House, tmp_path):
    path = tmp_path / "conn.log"
    path.write_bytes(noise := os.urandom(8_192))
    for place, who in ((path, "zeek-p"), (tmp_path, "zeek-p")):
        failed = house.cli("publish", "detections.x", "{}", "--as", who, "--outbox", str(place), "--json").expect(2)
        assert failed.error["code"] == "E931" and str(place) in failed.error["detail"]
    assert path.read_bytes() == noise and [found.name for found in tmp_path.iterdir()] == ["conn.log"]


def test_a_page_that_is_damaged_is_kept_beside_a_new_outbox(house: House, tmp_path):
    outbox = tmp_path / "outbox"
    with house.point("zeek-p", outbox=outbox) as sensor:
        sensor.publish("detections.outbox.damaged", {"n": 1})
        assert sensor.drain(20)
    whole = outbox.read_bytes()
    outbox.write_bytes(whole[:4_096] + os.urandom(len(whole) - 4_096))
    with house.point("zeek-p", outbox=outbox) as sensor:
        sensor.publish("detections.outbox.damaged", {"n": 2})
        assert sensor.drain(20)
    assert (tmp_path / "outbox.damaged-1").exists()


def test_a_position_without_an_outbox_is_a_mistake(house: House):
    with house.point("zeek-p") as sensor, pytest.raises(FabricError) as mistake:
        sensor.publish("detections.x", {"n": 1}, position=("s", "1"))
    assert mistake.value.code is Code.USAGE


def test_results_wait_in_the_outbox_of_who_executes(house: House, tmp_path):
    with house.point("fw-m", outbox=tmp_path / "fw") as wall, house.point("soar-hq") as soar:
        @wall.on_action("deny", "ipv4_net")
        def deny(action):
            return {"blocked": action.target.value}

        wall.wait_ready()

        def outcomes():
            try:
                return list(soar.request("deny", "ipv4_net=192.0.2.77", to="id=fw-m", label="green"))
            except FabricError as error:
                assert error.code is Code.NOBODY  # its route is still climbing
                return []

        assert [str(o.end) for o in wait_for(outcomes, "an outcome")] == ["completed"]
        assert wall.drain(10)
