"""A disk that fills up and one that cannot write any more, under a real relay: what was acknowledged is never lost."""

import json
import random
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.harness import House, house_in, wait_for
from tests.integration.machines import Machine

TOPOLOGY = """
fabric = "disks"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "green", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }

[points]
sensor  = { relay = "plant", role = "sensor",  clearance = "amber" }
analyst = { relay = "hq",    role = "analyst", clearance = "red", kind = "operator" }
"""
# A relay stops intake while 64 MB are free and keeps 8 MB of ballast: what is left of this is soon taken.
# So little that a log and unused pages, which the backlog leaves behind, are all that there is to be had.
DISK_MB = 84


@contextmanager
def small_disk(folder: Path):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def numbers_of(messages, count: int) -> list[int]:
    return sorted(next(messages).content["n"] for _ in range(count))


def test_a_disk_that_fills_up_takes_nothing_in_loses_nothing_and_drains_by_itself(tmp_path):
    """First the backlog fills it up to where intake stops, then somebody else takes the rest; then there is room."""
    chosen = random.Random(1)
    with small_disk(tmp_path / "disk") as disk, house_in(tmp_path, TOPOLOGY) as house:
        house.start("up", "--dev", "--json", "--only", "hq", str(house.file))
        wait_for(lambda: house.state("hq").get("ready"), "hq")
        plant = Machine(house, "plant", disk, {})
        plant.start()
        wait_for(lambda: plant.state().get("parent_link") == "up", "plant at hq", 30)
        with house.point("analyst") as analyst, house.point("sensor") as sensor:
            arrived: list[int] = []  # read as it comes: a slow reader would lose what it has no room for
            analyst.on_message("detections.>", lambda message: arrived.append(message.content["n"]))
            published = []
            with house.frozen(house.pid("hq")):

                def is_short() -> bool:
                    for number in range(len(published), len(published) + 4):
                        noise = chosen.randbytes(20_000).hex()  # which zlib can make half as long, and no shorter
                        # What fills the disk goes no further, so that however slow the analyst is, it has room for it.
                        record = {"n": number, "x": noise}
                        published.append(sensor.publish_later(f"detections.n{number}", record, labels={"x": "amber"}))
                    return not plant.state()["intake_open"]

                wait_for(is_short, "intake that stops", 30)
                published += [sensor.publish_later("detections.late", {"n": len(published)})]
                filler = disk / "filler"
                with filler.open("wb") as file:
                    while shutil.disk_usage(disk).free > 2 << 20:
                        file.write(bytes(1 << 20))
                        file.flush()
                held = sum(future.done() for future in published)
                assert 100 < held < len(published), "what came before was taken, and what came then waits"
                assert "disk is short" in plant.fabric("status").out
            # hq is back: the backlog leaves though there is no room, and what waits is still not taken in.
            wait_for(lambda: plant.state()["held"] == 0, "an empty backlog", 30)
            assert not plant.state()["intake_open"] and not published[-1].done()
            filler.unlink()
            for future in published:
                future.result(30)
            wait_for(lambda: len(arrived) >= len(published), "all of it at the analyst", 30)
            assert sorted(arrived) == list(range(len(published)))
        assert plant.process.poll() is None and "Traceback" not in plant.log()
        house.assert_logs_clean()


@pytest.fixture
def failing_fsync(tmp_path):
    """(environment, the file that makes it fail while it is there)"""
    library, fails = tmp_path / "failing_fsync.so", tmp_path / "disk-fails"
    if shutil.which("gcc") is None:
        pytest.skip("a disk that fails needs gcc, to make a library that is preloaded")
    source = Path(__file__).with_name("failing_fsync.c")
    done = subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {"LD_PRELOAD": str(library), "FAIL_FSYNC_WHILE": str(fails), "FAIL_FSYNC_OF": "spool/plant.db"}
    return environment, fails


def test_a_relay_whose_disk_cannot_write_ends_with_75(tmp_path, failing_fsync):
    environment, fails = failing_fsync
    with house_in(tmp_path, TOPOLOGY) as house:
        house.start("up", "--dev", "--json", "--only", "hq", str(house.file))
        wait_for(lambda: house.state("hq").get("ready"), "hq")
        plant = Machine(house, "plant", tmp_path / "machine", environment)
        plant.start()
        wait_for(lambda: plant.state().get("parent_link") == "up", "plant at hq", 30)
        with house.point("sensor") as sensor:
            sensor.publish("detections.app", {"n": 0})
            fails.touch()
            waiting = sensor.publish_later("detections.app", {"n": 1})
            assert plant.process.wait(20) == 75
            assert not waiting.done(), "nobody knows whether it is on the disk, so nobody was told"
            last = json.loads(plant.log().splitlines()[-1])
            assert (last["event"], last["code"]) == ("relay cannot run", "E906")
            plant.start()
            assert plant.process.wait(20) == 75, "and so it does when it starts"
            fails.unlink()
            plant.start()
            waiting.result(30)


def test_a_disk_that_failed_for_a_while_costs_nothing(tmp_path, failing_fsync, monkeypatch):
    """The supervisor brings the relay back, again and again, and it goes on from what is on its disk."""
    environment, fails = failing_fsync
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with house_in(tmp_path, TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        with house.point("analyst") as analyst, house.point("sensor") as sensor:
            messages = analyst.subscribe("detections.>", timeout_s=60)
            waiting = [sensor.publish_later("detections.app", {"n": n}) for n in range(100)]
            waiting[-1].result(20)
            pid = house.pid("plant")
            fails.touch()
            waiting += [sensor.publish_later("detections.app", {"n": n}) for n in range(100, 200)]
            wait_for(lambda: times_failed(house) >= 2, "a relay that ends because of its disk, twice")
            fails.unlink()
            house.wait_restarted("plant", pid)
            for future in waiting:
                future.result(30)
            assert numbers_of(messages, 200) == list(range(200))
        assert "Traceback" not in house.logs()["plant.log"]


def times_failed(house: House) -> int:
    return house.logs()["plant.log"].count('"E906"')
