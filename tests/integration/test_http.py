"""What posts to a control point, with curl and from programs, and what of it is at a durable sink."""

import http.client
import json
import os
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path

import httpx

from tests.integration.harness import ROOT, house_in, wait_for
from tests.integration.recipes import blocks_of, shell_of

EXAMPLE = ROOT / "topologies" / "examples" / "http.toml"
FOLDER = "/tmp/fabric-http"


def topology(folder):
    text = re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", EXAMPLE.read_text())
    return text.replace(FOLDER, str(folder))


def secrets_in(folder):
    """Of each token of these topologies."""
    folder.mkdir()
    for name in ("shop", "desk", "soar"):
        (folder / f"{name}.token").write_text(name * 8 + "\n")


def archived(folder):
    path = folder / "archive.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def port_of(house):
    return re.search(r'listen = "127\.0\.0\.1:(\d+)"  ', house.file.read_text())[1]


def test_the_recipe_of_the_readme_works_as_it_stands(tmp_path):
    begin, post, read = blocks_of("Connect what posts JSON")
    out = tmp_path / "out"
    with house_in(tmp_path, topology(out)) as house, shell_of(house, tmp_path, {
        str(EXAMPLE.relative_to(ROOT)): str(house.file), FOLDER: str(out), "8080": port_of(house),
    }) as shell:

        def sh(script):
            done = shell.run(script)
            assert "curl" not in done.stderr, done.stderr
            return done.stdout

        sh(begin)
        for name, words in (("archive", "sink all: running"), ("api", "source api: running")):
            wait_for(lambda name=name, words=words: words in (out / f"{name}.out").read_text(), words, 60)
        one, many, event = [json.loads(line) for line in sh(post).splitlines()[:3]]
        assert one["accepted"] == event["accepted"] == 1 and many["accepted"] == 2
        assert [each["record"] for each in many["rejected"]] == [2]
        wait_for(lambda: len(archived(out)) == 4, "all that was accepted", 60)
        by_id = {line["id"]: line for line in archived(out)}
        scan = by_id[one["ids"][0]]
        assert (scan["severity"], scan["labels"]["src"]) == ("high", "amber")
        assert by_id[event["ids"][0]]["content"]["data"] == {"user": "eve"}
        assert {by_id[id_]["topic"] for id_ in many["ids"] if id_} == {"detections.app.batch"}
        url = f"http://127.0.0.1:{port_of(house)}/v1"
        wait_for(lambda: httpx.get(f"{url}/health").json()["stream"] == "ok", "its feed", 60)
        assert sh(read).count("beacon") == 1
        assert_read_to_its_end(house, url, *[(out / f"{name}.token").read_text().strip() for name in ("shop", "desk")])


def assert_read_to_its_end(house, url, *tokens):
    """With another client than curl: nothing is missed when the connection is, and what happens is said."""
    shop, desk = [{"Authorization": f"Bearer {token}"} for token in tokens]

    def publish(*numbers):
        lines = "\n".join(json.dumps({"n": n, "src": "10.1.0.9"}) for n in numbers)
        answer = httpx.post(f"{url}/events", content=lines, headers={**shop, "Content-Type": "application/x-ndjson"})
        assert answer.status_code == 202

    def events(stream):
        """As a client has them that knows of server-sent events what it has to: name, data, id."""
        name, data, id_ = "message", "", ""
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                id_ = value
            elif field == "data":
                data = json.loads(value)
            elif not line and data != "":
                yield name, data, id_
                name, data = "message", ""

    def open_stream(**headers):
        return httpx.stream("GET", f"{url}/stream", headers={**desk, **headers}, timeout=60)

    with open_stream() as stream:
        publish(1, 2)
        came = events(stream)
        first = [next(came) for _ in range(2)]
        assert {event["content"]["n"] for _, event, _ in first} == {1, 2}
        assert all("src" not in event["content"] and event["withheld"] == {"amber": 1} for _, event, _ in first)
        wait_for(lambda: readers_of(house) == 1, "its reader in the status")
        assert "readers" in house.cli("edge", "status", "--as", "api-1").expect(0).out
    publish(*range(3, 40))
    last = first[-1][2]
    with open_stream(**{"Last-Event-ID": last}) as stream:
        came = events(stream)
        again = [next(came) for _ in range(37)]
        assert sorted(event["content"]["n"] for _, event, _ in again) == list(range(3, 40))
        house.kill_relay("plant")
        assert [next(came)[0] for _ in range(3)] == ["away", "gap", "back"]
        publish(40)
        assert next(came)[1]["content"]["n"] == 40
        (gateway,) = [pid for pid in house.processes() if "api-1" in command_of(pid)]
        os.kill(gateway, signal.SIGTERM)
        assert [name for name, _, _ in came] == ["end"]


def readers_of(house):
    (said,) = house.cli("edge", "status", "--as", "api-1", "--json").lines
    return said["entries"][0]["readers"]


def command_of(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_command_that_is_posted_is_one_action_also_when_its_gateway_is_killed(tmp_path):
    out = tmp_path / "out"
    secrets_in(out)
    text = topology(out).replace('sensor  = { publish = ["detections.>"],', """\
firewall = { execute = ["deny ipv4_net"] }
sensor  = { publish = ["detections.>"], request = [{ action = "deny *", to = "role=firewall" }],""")
    text = text.replace('[points.archive-1]', f"""\
[[points.api-1.sources.api.tokens]]
name = "soar"
secret = {{ file = "{out}/soar.token" }}
may = ["openc2"]
actions = ["deny ipv4_net"]
to = "role=firewall"
[points.fw-1]
relay = "plant"
role = "firewall"
clearance = "amber"
[points.archive-1]""").replace('topic = "detections.app"  ', 'answer_time = "700ms"\ntopic = "detections.app"  ')
    with house_in(tmp_path, text) as house:
        house.up()
        house.wait_whole()
        executed, may_end = [], threading.Event()

        def post(request_id):
            connection = http.client.HTTPConnection("127.0.0.1", int(port_of(house)), timeout=30)
            connection.request("POST", "/.well-known/openc2", json.dumps({
                "headers": {"request_id": request_id},
                "body": {"openc2": {"request": {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}}}},
            }), {"Authorization": "Bearer " + "soar" * 8, "Content-Type": "application/openc2+json;version=1.0"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            connection.close()
            return answer.status, said["headers"]["from"], said["body"]["openc2"]["response"]

        with house.point("fw-1") as firewall:
            @firewall.on_action("deny", "ipv4_net")
            def deny(action):
                executed.append(action.command_id)
                may_end.wait(30)
                return {"rule": len(executed)}

            firewall.wait_ready()
            gateway = house.start("edge", "run", "--as", "api-1", "--json")
            gateway.wait_line('"source": "api", "state": "running"')
            status, _, said = post("r-1")
            assert (status, said["status"], said["results"]["x-fabric"]["targets"]) == (202, 102, ["fw-1"])
            gateway.process.send_signal(signal.SIGKILL)
            gateway.process.wait()
            may_end.set()
            gateway = house.start("edge", "run", "--as", "api-1", "--json")
            gateway.wait_line('"source": "api", "state": "running"')
            wait_for(lambda: post("r-1")[0] == 200, "its end", 30)
            status, from_, said = post("r-1")
            assert (status, from_, said["results"]["x-fabric"]["result"]) == (200, "fw-1", {"rule": 1})
            assert post("r-2")[2]["results"]["x-fabric"]["result"] == {"rule": 2} and executed == ["r-1", "r-2"]
            may_end.clear()
            assert post("r-3")[0] == 202
            gateway.stop().expect(0)  # an action that is open keeps nobody
            may_end.set()
        house.assert_logs_clean("soar" * 8)
