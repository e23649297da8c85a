"""Sinks that hand over to other systems, run by real processes: nothing is missing there, whoever is killed when."""

import json
import os
import re
import shutil
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.harness import ROOT, House, wait_for
from tests.integration.recipes import Shell, blocks_of, shell_of
from tests.ports import free_port
from tests.unit.gateways.kafka_support import Cluster
from tests.unit.gateways.nats_support import NatsServer

EXAMPLE = ROOT / "topologies" / "examples" / "sinks.toml"
RSYSLOG = EXAMPLE.with_name("rsyslog.conf")
FOLDER = "/tmp/fabric-sinks"
OTHER_NATS = "4299"
NAMES = ("hook", "siem", "bus")
HOOK, OTHER_HOOK, SYSLOG, NATS, MONITOR = "8091", "8099", "5515", "4222", "8222"
MORE = f"""
[points.hook-2]
relay = "hq"
role = "siem"
clearance = "amber"
[points.hook-2.sinks.other]
kind = "webhook"
url = "http://127.0.0.1:{OTHER_HOOK}/hook"
topics = ["detections.flow"]
[points.bus-2]
relay = "hq"
role = "siem"
clearance = "amber"
[points.bus-2.sinks.other]
kind = "nats"
servers = ["nats://127.0.0.1:{OTHER_NATS}"]
stream = "FLOW"
subject = "flow.{{topic}}"
create = true
topics = ["detections.stream"]
[points.kafka-2]
relay = "hq"
role = "siem"
clearance = "amber"
[points.kafka-2.sinks.other]
kind = "kafka"
servers = ["BROKERS"]
topic = "flow"
topics = ["detections.kafka"]
"""


class Stage(NamedTuple):
    """`out`: the recipes' folder."""

    house: House
    shell: Shell
    out: Path
    recipes: dict[str, tuple[str, str]]
    ports: dict[str, str]
    cluster: Cluster


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The recipe's house, which all tests here share."""
    work = tmp_path_factory.mktemp("handing")
    out = work / "out"
    ports = {port: str(free_port()) for port in (HOOK, OTHER_HOOK, SYSLOG, NATS, OTHER_NATS, MONITOR)}
    cluster = Cluster()
    text = (EXAMPLE.read_text() + MORE).replace(FOLDER, str(out)).replace("BROKERS", '", "'.join(cluster.servers))
    for port, ours in ports.items():
        text = text.replace(f":{port}", f":{ours}")
    house = House(work, re.sub(r'listen = "127\.0\.0\.1:(\d+)"', r'listen = "127.0.0.1:PORT-p\1"', text))
    rsyslog = RSYSLOG.read_text().replace(FOLDER, str(out)).replace(SYSLOG, ports[SYSLOG])
    (work / RSYSLOG.name).write_text(rsyslog)
    instead = {
        str(EXAMPLE.relative_to(ROOT)): str(house.file), str(RSYSLOG.relative_to(ROOT)): str(work / RSYSLOG.name),
        FOLDER: str(out), **ports, "topologies/": f"{ROOT}/topologies/",
        "sleep 3\n": "",  # it is waited for what comes of it
    }
    try:
        with shell_of(house, work, instead) as shell:
            begin, *each = blocks_of("Hand over what comes")
            shell.run(begin)
            recipes = dict(zip(NAMES, zip(each[::2], each[1::2], strict=True), strict=True))
            yield Stage(house, shell, out, recipes, ports, cluster)
    finally:
        cluster.end()
        house.destroy()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_recipes_of_the_readme_work_as_they_stand(stage):
    for program in ("rsyslogd", "nats-server"):
        if shutil.which(program) is None:
            pytest.skip(f"no program {program}")
    out, running, said = stage.out, [], ""
    for name, (begin, _) in stage.recipes.items():
        stage.shell.run(f"{begin}\necho $! > {FOLDER}/{name}.pid\n")
        running.append(int((out / f"{name}.pid").read_text()))
    try:
        for name in stage.recipes:
            wait_for(lambda name=name: f"sink {name}: running" in (out / f"{name}.out").read_text(), f"{name} runs", 60)
        for _, then in stage.recipes.values():
            done = stage.shell.run(then)
            said += done.stdout + done.stderr
        hook, log = out / "hook.jsonl", out / "siem.log"
        wait_for(lambda: len(lines(hook)) == 2, f"both are posted: {said}", 60)
        wait_for(lambda: log.exists() and "10.1.0.7" in log.read_text(), "rsyslog has it", 60)
        server = NatsServer(out / "none", int(stage.ports[NATS]))
        (stored,) = wait_for(server.stored, "it is in the stream", 60)
    finally:
        for pid in running:  # they would be given what other tests publish, too
            os.kill(pid, signal.SIGTERM)
    tried, seen = lines(hook)
    assert tried["content"]["test"] is True and f"took a message: detections.test, {tried['id']}" in said
    assert seen["content"] == {"rule": "scan", "src": "10.1.0.7"} and seen["labels"]["src"] == "amber"
    (line,) = [line for line in log.read_text().splitlines() if "10.1.0.7" in line]
    head, _, text = line.partition("] ")
    assert head.startswith("app-1 err [fabric@32473 ") and 'tlp="TLP:AMBER"' in head and f'id="{seen["id"]}"' in head
    assert json.loads(text)["content"] == seen["content"] and json.loads(text)["labels"] == seen["labels"]
    subject, headers, content = stored
    assert subject == "fabric.detections.app" and headers["Fabric-Tlp"] == "amber"
    assert content["id"] == headers["Nats-Msg-Id"] == seen["id"]


@pytest.mark.skipif(shutil.which("nats-server") is None, reason="no program nats-server")
def test_a_stream_has_each_message_once_whoever_is_killed(stage):
    house, server, total = stage.house, NatsServer(stage.out / "nats", int(stage.ports[OTHER_NATS])).begin(), 300

    def count():
        return len(server.stored("FLOW"))

    try:
        with house.point("app-1") as app:
            running = run_by(house, "bus-2")
            running.wait_line('"sink": "other", "state": "running"')
            for n in range(total):
                app.publish_later("detections.stream", {"n": n})
                if n == total // 3:
                    app.flush()
                    wait_for(count, "some", 60)
                    killed(running)
                    running = run_by(house, "bus-2")
                if n == 2 * total // 3:
                    wait_for(lambda: count() > total // 3, "more", 60)
                    server.kill()
                    server.begin()
            app.flush()
            wait_for(lambda: count() >= total, "all", 60)
        stored = server.stored("FLOW")
        assert [content["content"]["n"] for _, _, content in stored] == list(range(total))
        running.stop().expect(0)
    finally:
        server.kill()


def test_kafka_has_each_message_in_order_and_what_comes_again_is_known_by_its_id(stage):
    house, total = stage.house, 300
    with house.point("app-1") as app:
        running = run_by(house, "kafka-2")
        running.wait_line('"sink": "other", "state": "running"')
        for n in range(total):
            app.publish_later("detections.kafka", {"n": n})
            if n == total // 2:
                app.flush()
                wait_for(lambda: stage.cluster.stored("flow"), "some", 60)
                killed(running)
                running = run_by(house, "kafka-2")
        app.flush()

        def stored():
            (found,) = stage.cluster.stored("flow").values()
            return {headers["Fabric-Id"]: content["content"]["n"] for _, headers, content in found}

        wait_for(lambda: len(stored()) == total, "all", 60)
    assert list(stored().values()) == list(range(total))
    running.stop().expect(0)


class Receiver:
    """One that is away now and then, and answers as it likes: the numbers of messages that it took, as they came."""

    def __init__(self, port):
        self.port, self.numbers, self.is_ill = port, [], False
        self._server = None

    def begin(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if not receiver.is_ill:
                    receiver.numbers.append(body["content"]["n"])
                self.send_response(503 if receiver.is_ill else 204)
                self.end_headers()

            def log_message(self, *_args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def end(self):
        self._server.shutdown()
        self._server.server_close()


def run_by(house, id_):
    return house.start("edge", "run", "--as", id_, "--json")


def killed(running):
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()


def test_what_a_webhook_is_given_is_posted_in_order_whoever_is_away_or_killed(stage):
    house, receiver, total = stage.house, Receiver(int(stage.ports[OTHER_HOOK])), 200
    seen = receiver.numbers
    with house.point("app-1") as app:
        running = run_by(house, "hook-2")
        running.wait_line('"sink": "other", "state": "running"')
        for n in range(total):
            app.publish_later("detections.flow", {"n": n})
        app.flush()
        running.wait_line('"sink": "other", "state": "waiting"', 60)  # nobody listens there
        receiver.begin()
        wait_for(lambda: len(seen) > total // 4, "some", 60)
        receiver.is_ill = True
        running.wait_line("answered 503", 60)
        killed(running)
        running = run_by(house, "hook-2")
        receiver.is_ill = False
        wait_for(lambda: len(seen) > total // 2, "half", 60)
        house.kill_relay("hq")
        wait_for(lambda: len(set(seen)) == total, "all", 60)
    assert list(dict.fromkeys(seen)) == list(range(total)), "in order, and what comes again is known by its id"
    assert len(seen) < 2 * total
    running.stop().expect(0)
    receiver.end()
    house.assert_no_faults()
