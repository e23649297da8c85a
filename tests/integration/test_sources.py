"""Declared sources and sinks, run by real processes: each line of a log is at a sink, once, whoever is killed when."""

import gzip
import json
import re
import signal
import threading
import time
from collections import Counter

import pytest

from tests.integration.harness import ROOT, House, house_in, wait_for
from tests.integration.recipes import blocks_of, shell_of

TOPOLOGY = """
fabric = "gateways"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant = { clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }
[roles]
sensor   = { publish = ["detections.>"] }
siem     = { subscribe = ["detections.>"], keep = { bytes = "64MB" } }
firewall = { execute = ["deny ipv4_net"], publish = ["detections.fw.>"] }

[points.zeek-1]
relay = "plant"
role = "sensor"
clearance = "amber"
[points.zeek-1.sources.conn]
kind = "file"
path = "FOLDER/conn.log"
topic = "detections.zeek.conn"
severity = { field = "sev", table = { "9" = "high", "*" = "low" } }
labels = { "id.orig_h" = "amber", "*" = "green" }
[points.zeek-1.sources.app]
kind = "file"
path = "FOLDER/app/"
format = "text"
topic = "detections.app"
[points.zeek-1.sources.away]
kind = "file"
path = "FOLDER/away.log"
topic = "detections.away"

[points.siem-1]
relay = "hq"
role = "siem"
clearance = "amber"
[points.siem-1.sinks.archive]
kind = "jsonlines"
path = "FOLDER/archive/detections.jsonl"
topics = ["detections.zeek.>", "detections.*.conn"]
max_size = "64KB"
keep = 1_000
[points.siem-1.sinks.words]
kind = "jsonlines"
path = "FOLDER/words.jsonl"
topics = ["detections.app", "detections.away"]

[points.fw-1]
relay = "plant"
role = "firewall"
clearance = "green"
[points.fw-1.sources.log]
kind = "file"
path = "FOLDER/fw.log"
topic = "detections.fw.log"
[[approval]]
when = { class = "contain" }
require = 0
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateways")
    (folder / "app").mkdir()
    with house_in(folder, TOPOLOGY.replace("FOLDER", str(folder))) as house:
        house.up()
        house.wait_whole()
        yield house


def run(house: House, id_: str, *more: str):
    return house.start("edge", "run", "--as", id_, "--json", *more)


def lines_in(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def archived(house: House):
    """What is in the archive: also in files that are being compressed, or are not any more when they are looked at."""
    found: dict[str, list] = {}
    for path in sorted((house.work / "archive").glob("detections.jsonl*")):
        try:
            found.setdefault(path.name.removesuffix(".gz"), lines_in(path))
        except FileNotFoundError:
            return archived(house)
    return [line for lines in found.values() for line in lines]


def entry(house: House, id_: str, name: str):
    status = house.cli("edge", "status", "--as", id_, "--json").lines[0]
    return next((each for each in status["entries"] if each["name"] == name), {})


def test_each_line_is_at_the_sink_once_whoever_is_killed(house: House):
    log, total = house.work / "conn.log", 4_000
    source, sink = run(house, "zeek-1"), run(house, "siem-1")
    source.wait_line('"source": "conn", "state": "waiting"')
    sink.wait_line('"sink": "archive", "state": "running"')

    def write():
        for number in range(total):
            with log.open("a") as file:
                severity = 9 if number % 100 == 0 else 1
                file.write(json.dumps({"n": number, "id.orig_h": "10.0.0.1", "sev": severity}) + "\n")
                if number == 100:
                    file.write("no JSON\n")
            if number % 900 == 450:
                log.rename(log.with_name(f"conn.log-{20_000_000 + number}"))
            if number % 40 == 0:
                time.sleep(0.02)  # the pace of who writes; nobody waits for it

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(1, 7):
        wait_for(lambda number=number: len(archived(house)) > number * total // 8, f"part {number} in the archive", 60)
        victim = source if number % 2 else sink
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        if number % 2:
            source = run(house, "zeek-1")
        else:
            sink = run(house, "siem-1")
    writer.join()
    wait_for(lambda: len(archived(house)) >= total, "all in the archive", 60)
    got = archived(house)
    assert Counter(line["content"]["n"] for line in got) == Counter(range(total))
    assert {line["labels"]["id.orig_h"] for line in got} == {"amber"} and {line["label"] for line in got} == {"green"}
    assert Counter(line["severity"] for line in got) == {"high": total // 100, "low": total - total // 100}
    rotated = list((house.work / "archive").glob("*.gz"))
    assert rotated and all(path.stat().st_mode & 0o777 == 0o600 for path in (house.work / "archive").iterdir())

    (letter,) = house.cli("deadletter", "list", "--as", "zeek-1", "--json").lines
    assert letter["where"].endswith("conn.log:102") and letter["code"] == "E907"
    with log.open("a") as file:  # the process that runs now may have found nothing more
        file.write(json.dumps({"n": total, "id.orig_h": "10.0.0.1"}) + "\n")
    wait_for(lambda: entry(house, "zeek-1", "conn").get("taken"), "one more line")
    kept = entry(house, "zeek-1", "conn")
    assert (kept["state"], kept["lost"]) == ("running", 0)
    for running in (source, sink):
        running.stop().expect(0)
    assert not house.cli("edge", "status", "--as", "zeek-1", "--json").expect(1).lines[0]["running"]


def test_one_that_has_nothing_to_read_says_so_and_goes_on_when_there_is_and_hinders_no_other(house: House):
    (house.work / "away.log").mkdir()
    source, sink = run(house, "zeek-1"), run(house, "siem-1", "--only", "words")
    waits = json.loads(source.wait_line('"source": "away", "state": "waiting"'))
    assert waits["code"] == "E743" and "is a folder" in waits["why"] and "/away.log/" in waits["next"]
    (house.work / "app" / "a.log").write_text("one\ntwo\n")
    (house.work / "app" / "b.log").write_text("three\n")
    words = house.work / "words.jsonl"
    wait_for(lambda: words.exists() and len(lines_in(words)) == 3, "what the others read")
    (house.work / "away.log").rmdir()
    (house.work / "away.log").write_text('{"late": true}\n')
    wait_for(lambda: len(lines_in(words)) == 4, "what was away")
    assert [line["content"] for line in lines_in(words)][-1] == {"late": True}
    again = house.cli("edge", "run", "--as", "zeek-1", "--json").expect(1)
    assert again.error["code"] == "E913", "one process runs them"
    source.stop().expect(0)
    assert "archive" not in "".join(sink.out)
    sink.stop().expect(0)


def test_the_recipe_of_the_readme_works_as_it_stands(tmp_path):
    example = ROOT / "topologies" / "examples" / "logs.toml"
    text = re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", example.read_text())
    begin, look = blocks_of("Connect your log files")
    logs = str(tmp_path / "logs")
    with (
        house_in(tmp_path, text.replace("/tmp/fabric-logs", logs)) as house,
        shell_of(house, tmp_path, {
            "topologies/examples/logs.toml": str(house.file), "/tmp/fabric-logs": logs,
        }) as shell,
    ):
        shell.run(begin)
        for name, words in (("archive", "sink all: running"), ("app", "source words: running")):
            wait_for(lambda out=tmp_path / "logs" / f"{name}.out", words=words: words in out.read_text(), words, 60)
        assert re.search(r"app +file +running", shell.run(look).stdout)
        wait_for(lambda: len(lines_in(tmp_path / "logs" / "archive" / "detections.jsonl")) == 2, "both lines", 60)
        (scan,) = [line for line in lines_in(tmp_path / "logs" / "archive" / "detections.jsonl")
                   if line["topic"] == "detections.app"]
        assert (scan["severity"], scan["labels"]) == ("high", {"rule": "green", "src": "amber", "level": "green"})


def test_handlers_and_sources_run_together(house: House):
    (house.work / "fw.log").write_text('{"rule": 7}\n')
    running = run(house, "fw-1", "--on", "deny ipv4_net", "--exec", "true")
    ready = json.loads(running.wait_line('"ready"'))
    assert (ready["takes"], ready["runs"]) == (["deny ipv4_net"], ["log"])
    wait_for(lambda: entry(house, "fw-1", "log").get("taken") == 1, "a record of the firewall's log")
    running.stop().expect(0)
    assert house.cli("edge", "run", "--as", "fw-1", "--only", "lgo", "--json").expect(2).error["next"] == "write log"
