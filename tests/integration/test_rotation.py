"""A log is written, rotated in every way and followed by a real process that is killed again and again: each line once.

More seeds: ROTATION_REAL_SEEDS=200 ./scripts/test tests/integration/test_rotation.py --timeout 3000
"""

import gzip
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.harness import FABRIC, ROOT, House, wait_for
from tests.rotation import Story

SEEDS = int(os.environ.get("ROTATION_REAL_SEEDS", "2"))
FIRST = int(os.environ.get("ROTATION_REAL_FIRST", "0"))
AT_A_TIME = 4
TOPIC = "detections.rotation"


class RealStory(Story):
    """On this machine's time: files have the times that the system gives them."""

    def _touch(self, file):
        pass

    def tell(self):
        while self.left:
            self.left -= 1
            self.step()
            time.sleep(self.random.random() * 0.12)  # the pace of who writes; nobody waits for it
        self.end()


class Heard:
    """What arrived, by topic."""

    def __init__(self, point):
        self.came, self._lock = {}, threading.Lock()
        self.reading = point.on_message(f"{TOPIC}.>", self._take)

    def _take(self, message):
        with self._lock:
            self.came.setdefault(message.topic, []).append(message.content["ts"])

    def numbers(self, topic):
        with self._lock:
            return list(self.came.get(topic, ()))


def sender(house, story, seed):
    return house.start(
        "send", str(story.log), "--as", "zeek-p", "--topic", f"{TOPIC}.s{seed}", "--label", "green", "--json",
        "--follow", "--outbox", str(story.folder.parent / f"outbox-{seed}"),
    )


def follow_and_kill(house, heard, folder, seed):
    (folder / str(seed)).mkdir()
    story, topic = RealStory(folder / str(seed), seed, steps=50), f"{TOPIC}.s{seed}"
    chance = random.Random(seed + 1)
    for _ in range(4):
        story._line()
    teller = threading.Thread(target=story.tell)
    running = sender(house, story, seed)
    # The story begins when the first lines are read: what was there before reading began is nobody's promise.
    wait_for(lambda: heard.numbers(topic), f"a first line of seed {seed}", 60)
    teller.start()
    kills = 0
    while teller.is_alive():
        teller.join(chance.random() * 2.5)
        if kills < 3:
            kills += 1
            running.process.kill()
            running.process.wait()
            running = sender(house, story, seed)
    try:
        wait_for(lambda: len(heard.numbers(topic)) >= len(story.lines), f"all lines of seed {seed}", 60)
    except AssertionError:
        missing = sorted(Counter(story.lines) - Counter(heard.numbers(topic)))
        raise AssertionError((seed, story.kind, story.told, missing, running.err)) from None
    finally:
        done = running.stop(signal.SIGINT)
    counted = Counter(heard.numbers(topic))
    assert counted == Counter(story.lines), (seed, story.kind, story.told, counted - Counter(story.lines))
    if done.lines:
        assert (done.code, done.lines[-1]["skipped"], done.lines[-1]["gaps"]) == (0, 0, 0), (seed, done.err)
    else:  # the one that was killed had sent all, and this one was stopped before it began
        assert done.code in (130, -signal.SIGINT), (seed, done.code, done.err)
    story.close()
    return story.kind, story.rotations, kills, len(story.lines)


def test_each_line_once_over_rotations_and_kills(house: House, on_disk):
    with house.point("analyst-p") as analyst:
        heard = Heard(analyst)
        analyst.wait_ready()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            seeds = range(FIRST, FIRST + SEEDS)
            told = list(pool.map(lambda seed: follow_and_kill(house, heard, on_disk, seed), seeds))
        heard.reading.close()
    kinds = Counter(kind for kind, _, _, _ in told)
    print(f"{len(told)} seeds, {sum(r for _, r, _, _ in told)} rotations, {sum(k for _, _, k, _ in told)} kills, "
          f"{sum(n for _, _, _, n in told)} lines: {dict(kinds)}")


# -- other things that are read ----------------------------------------------------------------------------


def shell(house, line, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FABRIC_")}
    command = " ".join(FABRIC)
    return subprocess.run(
        ["bash", "-c", line.replace("fabric ", f"{command} ")], cwd=ROOT, capture_output=True, text=True, timeout=40,
        env={**environment, "FABRIC_HOME": str(house.home), "FABRIC_AS": "zeek-p"}, check=False, **more,
    )


def test_streams_and_compressed_files_are_read_like_files(house: House, tmp_path):
    lines = '{"n": 1}\n{"n": 2}\n'
    (tmp_path / "log.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "windows.log").write_bytes(lines.encode("utf-16"))
    (tmp_path / "log").write_text(lines)
    os.mkfifo(tmp_path / "fifo")
    send = "fabric send --topic detections.streams --label green --json"
    done = shell(house, f"D={tmp_path}; {send} <(cat $D/log); {send} /dev/stdin < $D/log; {send} - < $D/log.gz;"
                        f"cat $D/log > $D/fifo & {send} $D/fifo; {send} $D/log.gz; {send} $D/windows.log")
    assert [json.loads(line)["held"] for line in done.stdout.splitlines()] == [2] * 6, done.stderr
    assert not done.stderr


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_what_is_not_there_is_named(house: House, tmp_path, follow):
    common = ["--as", "zeek-p", "--topic", "detections.x", "--json"]
    assert house.cli("send", str(tmp_path), *common, *follow).expect(2).error["code"] == "E907"
    if not follow:
        assert house.cli("send", str(tmp_path / "no"), *common).expect(2).error["code"] == "E907"


def test_lost_lines_are_told_with_a_number_and_exit_code_3(house: House, tmp_path):
    log = tmp_path / "conn.log"
    log.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n{"n": 4}')
    common = ["send", str(log), "--as", "zeek-p", "--topic", "detections.lost", "--outbox", str(tmp_path / "outbox")]
    house.cli(*common).expect(0)
    log.unlink()
    log.write_text('{"n": 5, "orig_bytes": 1e999}\n{"n": 6}\n' + "x" * 5_000_000 + '\n{"n": 7}\n')
    done = house.cli(*common, "--json").expect(3)
    told = [json.loads(line) for line in done.err.splitlines()]
    told = [line for line in told if "notice" not in line]
    assert told[0]["gap"]["code"] == "E923" and told[0]["gap"]["line"] == 4
    assert [(line["code"], line["detail"]) for line in told[1:]] == [
        ("E907", "orig_bytes: no finite number"), ("E924", "5,000,001 bytes, where 4,194,304 are allowed"),
    ]
    assert (done.lines[-1]["held"], done.lines[-1]["skipped"], done.lines[-1]["gaps"]) == (2, 2, 1)
