"""A plant's records on their way up: all of them, once, and without what a hop may not see."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, Done, House

CONN_LOG = ROOT.parent / "shared" / "data" / "zeek" / "conn.log"
LINES = 1_250
CLIMB = ["plant", "low", "mid", "hq"]


def record(number: int) -> dict[str, object]:
    return {
        "number": number, "rule": "port scan", "id.orig_h": f"10.66.{number // 250}.{number % 250}",
        "id.resp_h": f"192.0.2.{number % 250}", "bytes": number * 7,
    }


def subscribe(house: House, point: str, relay: str, count: int):
    """Started, and the relay has the subscription."""
    running = house.start("subscribe", "detections.>", "--as", point, "--json", "--count", str(count),
                          "--timeout", "60s")
    assert json.loads(running.wait_line('"subscribed"'))["relay"] == relay
    return running


def send(house: House, file: Path, topic: str) -> Done:
    return house.cli(
        "send", str(file), "--as", "zeek-p", "--topic", topic, "--label", "green", "--json",
        "--field-label", "id.orig_h=amber", "--field-label", "id.resp_h=amber", timeout_s=60,
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records.json"
    path.write_text("".join(json.dumps(record(number)) + "\n" for number in range(LINES)))
    return path


def test_everybody_gets_all_once_and_only_what_is_for_them(house, file):
    at_hq = subscribe(house, "analyst-hq", "hq", LINES)
    at_plant = subscribe(house, "analyst-p", "plant", LINES)
    sent = send(house, file, "detections.zeek.conn").expect(0)
    assert sent.lines[-1]["held"] == LINES

    climbed = at_hq.wait(60).expect(0).lines
    assert len(climbed) == len({message["id"] for message in climbed}) == LINES
    assert sorted(message["content"]["number"] for message in climbed) == list(range(LINES))
    for message in climbed:
        assert message["content"] == {
            k: v for k, v in record(message["content"]["number"]).items() if not k.startswith("id.")
        }
        assert message["withheld"] == {"amber": 1}
        assert message["path"] == CLIMB
        assert message["origin"] == "zeek-p" and message["label"] == "green"
    assert not re.search(r"10\.66\.|192\.0\.2\.", json.dumps(climbed))

    stayed = at_plant.wait(60).expect(0).lines
    assert sorted((m["content"] for m in stayed), key=lambda c: c["number"]) == [record(n) for n in range(LINES)]
    for message in stayed:
        assert message["withheld"] == {} and message["path"] == ["plant"]
        assert message["labels"]["id.orig_h"] == "amber" and message["labels"]["rule"] == "green"
    house.assert_logs_clean("10.66.", "192.0.2.", "port scan")


def test_a_real_conn_log(house):
    if not CONN_LOG.is_file():
        pytest.skip(f"no {CONN_LOG}")
    written = [json.loads(line) for line in CONN_LOG.read_text().splitlines() if line.strip()]
    at_hq = subscribe(house, "analyst-hq", "hq", len(written))
    assert send(house, CONN_LOG, "detections.zeek.conn").expect(0).lines[-1]["held"] == len(written)
    climbed = at_hq.wait(60).expect(0).lines
    hidden = ("id.orig_h", "id.resp_h")
    wanted = sorted(json.dumps({k: v for k, v in r.items() if k not in hidden}, sort_keys=True) for r in written)
    assert sorted(json.dumps(m["content"], sort_keys=True) for m in climbed) == wanted
    assert {tuple(m["withheld"].items()) for m in climbed} == {(("amber", 1),)}


def test_bad_lines_are_named_and_skipped(house, file):
    lines = file.read_text().splitlines()[:20]
    lines[7], lines[12] = '{"secret-word": ', '["secret-word"]'
    file.write_text("\n".join(lines) + "\n")
    at_hq = subscribe(house, "analyst-hq", "hq", 18)
    sent = send(house, file, "detections.zeek.conn").expect(3)
    summary = sent.lines[-1]
    assert (summary["held"], summary["skipped"], summary["refused"]) == (18, 2, 0)
    told = [json.loads(line) for line in sent.err.splitlines()]
    assert [(line["line"], line["code"]) for line in told] == [(8, "E907"), (13, "E907")]
    assert "secret-word" not in sent.err
    climbed = at_hq.wait(30).expect(0).lines
    assert sorted(m["content"]["number"] for m in climbed) == [n for n in range(20) if n not in (7, 12)]

    in_words = house.cli("send", str(file), "--as", "zeek-p", "--topic", "detections.zeek.conn").expect(3)
    assert "line 8: E907" in in_words.err and "line 13: E907" in in_words.err
    assert "18 record(s) held by plant, 2 line(s) skipped" in in_words.out and "secret-word" not in in_words.err


def test_a_file_is_followed_line_by_line_and_over_a_rotation(house, tmp_path):
    path = tmp_path / "growing.json"
    path.write_text('{"n": 0}\n')
    reader = house.start("subscribe", "detections.follow", "--as", "analyst-p", "--json", "--count", "4",
                         "--timeout", "30s")
    reader.wait_line('"subscribed"')
    sending = house.start("send", str(path), "--as", "zeek-p", "--topic", "detections.follow", "--follow", "--json")
    reader.wait_line('"n": 0')
    with path.open("a") as growing:
        growing.write('{"n": 1}\n{"n":')
        growing.flush()
        reader.wait_line('"n": 1')
        growing.write(" 2}\n")
    reader.wait_line('"n": 2')
    path.rename(tmp_path / "growing.json.1")
    path.write_text('{"n": 3}\n')
    assert [message["content"]["n"] for message in reader.wait().expect(0).lines] == [0, 1, 2, 3]
    done = sending.stop(signal.SIGINT).expect(0)
    assert done.lines[-1]["held"] == 4
