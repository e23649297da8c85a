"""Sources that ask servers of this machine: what is new is at a sink once, whoever is killed when."""

import json
import re
import signal
from collections import Counter

from tests.integration.harness import ROOT, house_in, wait_for
from tests.integration.recipes import blocks_of, shell_of
from tests.ports import free_port
from tests.unit.gateways.intel import attribute, event, indicator
from tests.unit.gateways.misp_server import KEY, Misp
from tests.unit.gateways.pull_server import serving
from tests.unit.gateways.taxii_server import taxii_server

EXAMPLE = ROOT / "topologies" / "examples" / "pulls.toml"
TOPOLOGY = """
fabric = "pulls"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant = { clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }
[roles]
sensor  = { publish = ["detections.>", "intel.>"] }
archive = { subscribe = ["detections.>", "intel.>"], keep = { bytes = "64MB" } }
[points.feed-1]
relay = "plant"
role = "sensor"
clearance = "amber"
[points.feed-1.sources.alerts]
kind = "poll"
url = "URL"
every = "1s"
records = "items"
id = "id"
cursor = { param = "after", path = "next" }
topic = "detections.feed"
severity = { field = "sev", table = { "9" = "high", "*" = "low" } }
[points.feed-1.sources.taxii]
kind = "taxii"
url = "TAXII"
collections = ["Indicators"]
every = "1s"
user = "me"
password = { file = "FOLDER/password" }
topic = "intel.{fabric.kind}.taxii"
[points.archive-1]
relay = "hq"
role = "archive"
clearance = "amber"
[points.archive-1.sinks.all]
kind = "jsonlines"
path = "FOLDER/archive.jsonl"
topics = ["detections.>", "intel.>"]
"""


TLP_GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
TLP_RED = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"


def archived(folder, topic=""):
    path = folder / "archive.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []
    return [line for line in lines if line["topic"].startswith(topic)]


def test_the_recipes_of_the_readme_work_as_they_stand(tmp_path):
    """With a TAXII server that is not ours, and what answers as MISP does. What is red stays where it is."""
    (begin, look), (intel, ask) = blocks_of("Connect what has to be asked"), blocks_of("Connect TAXII and MISP")
    out, port = tmp_path / "out", str(free_port())
    misp = Misp(event(1, attribute(1), tags=["tlp:amber"]), event(2, attribute(2), tags=["tlp:red"]))
    with taxii_server() as taxii, serving(misp) as server:
        taxii.add(indicator(7, object_marking_refs=[TLP_GREEN]), indicator(8, object_marking_refs=[TLP_RED]))
        places = {
            "https://taxii.example/taxii2/": taxii.url, "https://misp.example": server.url.removesuffix("/v1/items"),
            "the key": KEY, "/tmp/fabric-pulls": str(out), "8090": port,
        }
        text = re.sub(r"127\.0\.0\.1:(7\d+)", r"127.0.0.1:PORT-p\1", EXAMPLE.read_text())
        for there, here in places.items():
            text = text.replace(there, here)
        with house_in(tmp_path, text) as house, shell_of(house, tmp_path, {
            **places, str(EXAMPLE.relative_to(ROOT)): str(house.file),
        }) as shell:

            def wait(name, words):
                wait_for(lambda: words in (out / f"{name}.out").read_text(), words, 60)

            shell.run(begin)
            wait("archive", "sink all: running")
            wait("feed-1", "source alerts: running")
            assert re.search(r"alerts +poll +running", shell.run(look).stdout)
            wait_for(lambda: len(archived(out, "detections")) == 2, "both alerts", 60)
            scan, other = archived(out, "detections")
            assert (scan["severity"], scan["labels"]["src"], scan["content"]["id"]) == ("high", "amber", 1)
            assert (other["severity"], other["content"]) == ("low", {"id": 2, "level": "info"})

            shell.run(intel)
            wait("intel-1", "source taxii: running")
            wait("intel-1", "source misp: running")
            addresses = wait_for(lambda: len(found := archived(out, "intel.ipv4")) == 2 and found, "addresses", 60)
            assert sorted((each["label"], *each["content"]["fabric"]["values"]["ipv4"]) for each in addresses) == [
                ("amber", "198.51.100.1"), ("green", "198.51.100.7"),
            ]
            misp.events.append(event(3, attribute(3), tags=["tlp:green"]))
            said = shell.run(ask).stdout
            assert 'intel-1: completed {"taken": 2, "known": 4, "rejected": 0}' in said
            wait_for(lambda: len(archived(out, "intel.ipv4")) == 3, "what was asked for", 60)
            act = ("act", "query", "--to", "id=intel-1", "--as", "soc-1", "--json")
            asked = house.cli(*act, "x-fabric:source=nothing")
            assert "E954" in asked.out and "no source that runs here is named" in asked.out
            misp.events = None  # it breaks off now
            asked = house.cli(*act, "x-fabric:source=misp")
            assert "E743" in asked.out and KEY not in asked.out
            house.assert_logs_clean(KEY)


def test_what_a_server_has_is_at_the_sink_once_whoever_is_killed(tmp_path):
    """Pages with a cursor, of records in two lanes; between kills the server gives its pages in another order. And
    those of a TAXII server that gives each of them once."""
    total, each, turn, indicators = 800, 20, [0], 60
    (tmp_path / "password").write_text("pass word\n")

    def answer(path, headers, body):
        at = int(path.partition("after=")[2] or 0)
        numbers = list(range(at, min(at + each, total)))
        numbers = numbers[turn[0] :] + numbers[: turn[0]]
        items = [{"id": n, "sev": 9 if n % 10 == 0 else 1} for n in numbers]
        return 200, {}, {"items": items, "next": at + len(items)}

    with serving(answer) as server, taxii_server(page_max=6) as taxii, house_in(
        tmp_path, TOPOLOGY.replace("FOLDER", str(tmp_path)).replace("URL", server.url).replace("TAXII", taxii.url)
    ) as house:
        taxii.add(*(indicator(number) for number in range(indicators)))
        house.up()
        house.wait_whole()
        sink = house.start("edge", "run", "--as", "archive-1", "--json")
        source = house.start("edge", "run", "--as", "feed-1", "--json")
        for part in range(1, 4):
            wait_for(lambda part=part: len(archived(tmp_path, "det")) > part * total // 6, f"part {part}", 60)
            source.process.send_signal(signal.SIGKILL)
            source.process.wait()
            turn[0] += 7
            source = house.start("edge", "run", "--as", "feed-1", "--json")
        wait_for(lambda: len(archived(tmp_path)) >= total + indicators, "all at the sink", 60)
        source.stop().expect(0)
        sink.stop().expect(0)
        assert Counter(line["content"]["id"] for line in archived(tmp_path)) == Counter(
            [*range(total), *(indicator(number)["id"] for number in range(indicators))]
        )
