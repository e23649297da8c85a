"""What a line of syslog and a record that is posted cost: to read, and all the way into a durable outbox.

CPU time of the process that listens, per line, and what that comes to in lines a second on one core: mapping and
publishing are Python, which one thread runs at a time, so a second core helps only what is outside of it (the disk, and
signatures).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import tempfile
import time
from pathlib import Path

from relays.gateways.syslog.framing import Frames
from relays.gateways.syslog.reading import How, read_message
from relays.gateways.syslog.when import day_of
from relays.wall import wall_ms
from scripts.help_texts import parser_of
from tests.integration.harness import ROOT, House, house_in, wait_for

LINES = {
    "RFC 3164": b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
    "RFC 5424": b'<165>1 2003-10-11T22:14:15.003Z host app 8710 ID47 [exampleSDID@32473 iut="3" eventID="1011"] failed',
    "CEF": b"<13>Oct 11 22:14:15 h CEF:0|security|threatmanager|1.0|100|worm|10|src=10.0.0.1 dst=2.1.2.2 spt=12",
}
_TICKS = os.sysconf("SC_CLK_TCK")
_RECORDS_TOGETHER = 2_000


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def reading_us(line: bytes, count: int) -> float:
    """Out of a stream, and into a record."""
    frames, how, data = Frames(), How(day_of(wall_ms())), (line + b"\n") * 500
    began = time.process_time()
    for _ in range(count // 500):
        for frame in frames.feed(data):
            read_message(frame.raw, how)
    return (time.process_time() - began) / (count // 500 * 500) * 1e6


def taken(house: House) -> int:
    status = house.cli("edge", "status", "--as", "log-1", "--json").lines[0]
    return sum(entry.get("taken", 0) for entry in status["entries"])


def publishing(house: House, port: int, line: bytes, count: int) -> dict[str, float]:
    point = house.start("edge", "run", "--as", "log-1", "--json")
    point.wait_line('"source": "senders", "state": "running"')
    wait_for(lambda: not taken(house), "the counts of this run")  # and no more those of the one before
    began, cpu = time.monotonic(), cpu_s(point.process.pid)
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for at in range(0, count, 1_000):
            sender.sendall((line + b"\n") * min(1_000, count - at))
    wait_for(lambda: taken(house) >= count, "all lines", 600)
    us = (cpu_s(point.process.pid) - cpu) / count * 1e6
    figures = {"cpu_us": us, "lines_per_s_of_a_core": 1e6 / us, "lines_per_s": count / (time.monotonic() - began)}
    point.stop()
    return figures


def posting(house: House, secret: str, count: int) -> dict[str, float]:
    """NDJSON, `_RECORDS_TOGETHER` in a request, until each is answered: durable."""
    port = int(re.search(r'listen = "127\.0\.0\.1:(\d+)"  ', house.file.read_text())[1])  # type: ignore[index]
    record = b'{"n":%d,"rule":"port scan","src":"10.1.0.7","level":"debug"}\n'
    body = b"".join(record % n for n in range(_RECORDS_TOGETHER))
    requests = count // _RECORDS_TOGETHER
    posted = requests * _RECORDS_TOGETHER
    point = house.start("edge", "run", "--as", "api-1", "--json")
    point.wait_line('"source": "api", "state": "running"')
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began, cpu = time.monotonic(), cpu_s(point.process.pid)
    for _ in range(requests):
        connection.request("POST", "/v1/events", body, {
            "Authorization": f"Bearer {secret}", "Content-Type": "application/x-ndjson"
        })
        answer = connection.getresponse()
        assert answer.status == 202 and answer.read()
    taken_s = time.monotonic() - began
    us = (cpu_s(point.process.pid) - cpu) / posted * 1e6
    connection.close()
    point.stop()
    return {"cpu_us": us, "records_per_s_of_a_core": 1e6 / us, "records_per_s": posted / taken_s}


def bench_http(count: int, can_be_read: bool) -> None:
    text = (ROOT / "topologies" / "examples" / "http.toml").read_text()
    if not can_be_read:
        text = text.replace('may = ["stream"]', "").replace('clearance = "green"\n', "")
    with tempfile.TemporaryDirectory() as folder:
        for name, letter in (("shop", "s"), ("desk", "d")):
            (Path(folder) / f"{name}.token").write_text(letter * 32)
        text = re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", text).replace("/tmp/fabric-http", folder)
        with house_in(Path(folder), text, anew=True) as house:
            house.up()
            name = "NDJSON over HTTP" + (", kept for who reads" if can_be_read else "")
            print(json.dumps({"line": name, **posting(house, "s" * 32, count)}), flush=True)


def main() -> None:
    parser = parser_of("scripts/bench gateways", __doc__.split("\n\n")[0], "", "--lines 10000")
    parser.add_argument("--lines", type=int, default=100_000, help="and records, 2000 at least (default 100000)")
    count = max(_RECORDS_TOGETHER, parser.parse_args().lines)
    text = (ROOT / "topologies" / "examples" / "syslog.toml").read_text()
    with tempfile.TemporaryDirectory() as folder, house_in(
        Path(folder), re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", text), anew=True
    ) as house:
        house.up()
        port = int(re.search(r"tcp://127\.0\.0\.1:(\d+)", house.file.read_text())[1])  # type: ignore[index]
        for name, line in LINES.items():
            row = {"line": name, "reading_us": reading_us(line, count)}
            print(json.dumps({**row, **publishing(house, port, line, count)}), flush=True)
    bench_http(count, can_be_read=False)
    bench_http(count, can_be_read=True)


if __name__ == "__main__":
    main()
