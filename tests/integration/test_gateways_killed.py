"""A gateway, the relay above it and the sinks, each killed in the midst of what comes: HTTP or syslog over TCP, into a
file and to a webhook.

What was answered 202 is at both; so is all of syslog while its gateway lives. Syslog has no acknowledgements: of what a
gateway was reading when it was killed, what came first may be there, and nothing after what is missing. The file has
nothing twice, and a receiver that remembers ids neither.
"""

import http.client
import json
import signal
import socket
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.harness import House, wait_for
from tests.ports import free_port

TOPOLOGY = """
fabric = "killed"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant = { clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }
[roles]
sensor = { publish = ["detections.>"] }
siem   = { subscribe = ["detections.>"], keep = { bytes = "64MB" } }

[points.gw-1]
relay = "plant"
role = "sensor"
clearance = "amber"
[points.gw-1.sources.api]
kind = "http"
listen = "127.0.0.1:HTTP"
topic = "detections.{app}"
severity = { field = "level", table = { "error" = "high", "*" = "low" } }
[[points.gw-1.sources.api.tokens]]
name = "shop"
secret = { file = "FOLDER/token" }
topics = ["detections.*"]
[points.gw-1.sources.senders]
kind = "syslog"
listen = ["tcp://127.0.0.1:SYSLOG"]
topic = "detections.{app}"

[points.siem-1]
relay = "hq"
role = "siem"
clearance = "amber"
[points.siem-1.sinks.file]
kind = "jsonlines"
path = "FOLDER/archive.jsonl"
topics = ["detections.>"]
[points.siem-1.sinks.hook]
kind = "webhook"
url = "http://127.0.0.1:HOOK/"
batch = 50
topics = ["detections.>"]
"""
TOKEN = "shop" * 8
TOTAL, EACH = 600, 20
VICTIMS = ("gateway", "relay", "sinks")


class Receiver(ThreadingHTTPServer):
    """Of the webhook: for each record (topic, number), the ids under which it came."""

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), _Receive)
        self.came = defaultdict(Counter)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        for message in json.loads(self.rfile.read(int(self.headers["content-length"]))):
            self.server.came[message["topic"], int(message["content"]["msg_id"])][message["id"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args):
        pass


class Stage:
    """`port`: of each of HTTP, SYSLOG and HOOK."""

    def __init__(self, folder):
        self.port = {name: free_port() for name in ("HTTP", "SYSLOG", "HOOK")}
        self.archive = folder / "archive.jsonl"
        (folder / "token").write_text(TOKEN)
        text = TOPOLOGY.replace("FOLDER", str(folder))
        for name, port in self.port.items():
            text = text.replace(name, str(port))
        self.house = House(folder, text)
        self.receiver = Receiver(self.port["HOOK"])
        self.running = {}

    def begin(self, id_, *sections):
        self.running[id_] = self.house.start("edge", "run", "--as", id_, "--json")
        for section in sections:
            self.running[id_].wait_line(f'"{section}", "state": "running"')

    def gateway(self):
        self.begin("gw-1", "api", "senders")

    def sinks(self):
        self.begin("siem-1", "file", "hook")

    def kill(self, victim):
        """It is there again when this returns, or by itself soon."""
        if victim == "relay":
            self.house.kill_relay("plant")
            return
        id_, begin = ("gw-1", self.gateway) if victim == "gateway" else ("siem-1", self.sinks)
        self.running[id_].process.send_signal(signal.SIGKILL)
        self.running[id_].process.wait()
        begin()

    def in_file(self, topic):
        """How often each number is there."""
        lines = self.archive.read_bytes().split(b"\n")[:-1] if self.archive.exists() else []
        found = [line for line in map(json.loads, lines) if line["topic"] == topic]
        return Counter(int(line["content"]["msg_id"]) for line in found)

    def posted(self, topic):
        """The ids of each number that the webhook has."""
        return {number: ids for (of, number), ids in list(self.receiver.came.items()) if of == topic}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("killed"))
    try:
        stage.house.up()
        stage.house.wait_whole()
        stage.sinks()
        stage.gateway()
        yield stage
        for running in stage.running.values():
            running.stop().expect(0)
        stage.house.assert_logs_clean(TOKEN)
        stage.house.assert_no_faults()
    finally:
        stage.receiver.shutdown()
        stage.receiver.server_close()
        stage.house.destroy()


def post(stage, app, numbers):
    """Until it is answered 202, under one key. Its records go in two lanes, and so in another order."""
    levels = ("error", "debug")
    body = json.dumps([{"app": app, "msg_id": number, "level": levels[number % 2]} for number in numbers])
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json",
               "Idempotency-Key": f"{app} {numbers[0]}"}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", stage.port["HTTP"], timeout=30)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v1/events", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status in (202, 503), said
            if answer.status == 202:
                return
        connection.close()


def in_pieces(numbers):
    return [numbers[at : at + EACH] for at in range(0, len(numbers), EACH)]


def is_there(stage, topic, count):
    return lambda: len(stage.in_file(topic)) >= count and len(stage.posted(topic)) >= count


def check(stage, topic, wanted):
    wait_for(is_there(stage, topic, len(wanted)), "all at both sinks", 60)
    assert stage.in_file(topic) == Counter(wanted)
    posted = stage.posted(topic)
    assert set(posted) == set(wanted) and {len(ids) for ids in posted.values()} == {1}


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_was_answered_202_is_at_each_sink_and_nothing_is_twice(stage, victim):
    app = f"http-{victim}"
    numbers = list(range(TOTAL))
    sender = threading.Thread(target=lambda: [post(stage, app, piece) for piece in in_pieces(numbers)], daemon=True)
    sender.start()
    for part in (1, 3):
        wait_for(is_there(stage, f"detections.{app}", part * TOTAL // 5), f"part {part}", 60)
        stage.kill(victim)
    sender.join(60)
    assert not sender.is_alive()
    check(stage, f"detections.{app}", numbers)


class Sender:
    """Of syslog: over one connection after another, at a pace at which something is always under way."""

    def __init__(self, stage, app):
        self._stage = stage
        self._app = app

    def send(self, numbers):
        """Raises OSError where the gateway is gone, which a sender notices late, or never."""
        with socket.create_connection(("127.0.0.1", self._stage.port["SYSLOG"]), 10) as connection:
            for piece in in_pieces(numbers):
                connection.sendall(b"".join(
                    f"<165>1 2026-03-04T05:06:07Z host {self._app} 1 {number} - scan\n".encode() for number in piece
                ))
                threading.Event().wait(0.01)


@pytest.mark.parametrize("victim", [victim for victim in VICTIMS if victim != "gateway"])
def test_what_syslog_sends_is_at_each_sink_once_while_its_gateway_lives(stage, victim):
    app = f"syslog-{victim}"
    sender = threading.Thread(target=Sender(stage, app).send, args=(range(TOTAL),), daemon=True)
    sender.start()
    for part in (1, 3):
        wait_for(is_there(stage, f"detections.{app}", part * TOTAL // 5), f"part {part}", 60)
        stage.kill(victim)
    sender.join(60)
    assert not sender.is_alive()
    check(stage, f"detections.{app}", range(TOTAL))


def test_of_what_syslog_sends_to_a_gateway_that_is_killed_the_beginning_is_there_once(stage):
    app, third = "syslog-gateway", TOTAL // 3
    topic, sender = f"detections.{app}", Sender(stage, "syslog-gateway")
    sender.send(range(third))
    wait_for(is_there(stage, topic, third), "what came before", 60)

    def send():
        with suppress(OSError):
            sender.send(range(third, 2 * third))

    midst = threading.Thread(target=send, daemon=True)
    midst.start()
    wait_for(lambda: len(stage.in_file(topic)) > third, "something of the midst", 60)
    stage.kill("gateway")
    midst.join(60)
    assert not midst.is_alive()
    sender.send(range(2 * third, TOTAL))
    wait_for(lambda: TOTAL - 1 in stage.in_file(topic), "what came after", 60)
    kept = sum(third <= number < 2 * third for number in stage.in_file(topic))
    assert 0 < kept <= third
    check(stage, topic, [*range(third + kept), *range(2 * third, TOTAL)])
