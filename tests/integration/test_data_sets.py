"""Real logs through a source, three relays and two sinks: each record is there, and of it what its labels allow."""

import json
from collections import Counter

import pytest

from fabric.protocol.vocabulary.tlp import Label, parse_label
from tests.integration.harness import ROOT, house_in, wait_for

ZEEK = ROOT.parent / "shared" / "data" / "zeek"
# Which fields bear what; all others are green. The relay in the middle is cleared for amber, and takes out what is
# above that; what is red it carries without being able to read it.
LABELS = {"id.orig_h": "red", "id.resp_h": "amber", "uid": "clear", "query": "amber+strict", "host": "amber"}
TOPOLOGY = """
fabric = "logs"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq    = { clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant = { clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq", carries_sealed = true }
cell  = { clearance = "red",   listen = "127.0.0.1:PORT-cell",  parent = "plant" }
[roles]
sensor = { publish = ["detections.>"] }
siem   = { subscribe = ["detections.>"], keep = { bytes = "64MB" } }

[points.zeek-1]
relay = "cell"
role = "sensor"
clearance = "red"
[points.zeek-1.sources.logs]
kind = "file"
path = "ZEEK/"
topic = "detections.zeek"
labels = LABELS
audience = { recipients = ["siem-1"] }

[points.siem-1]
relay = "hq"
role = "siem"
clearance = "red"
[points.siem-1.sinks.all]
kind = "jsonlines"
path = "FOLDER/all.jsonl"
topics = ["detections.>"]

[points.partner-1]
relay = "hq"
role = "siem"
clearance = "green"
[points.partner-1.sinks.some]
kind = "jsonlines"
path = "FOLDER/some.jsonl"
topics = ["detections.>"]
"""


def written(path):
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # the last line may be half there
    return [json.loads(line) for line in whole.splitlines()]


def allowed(record, labels):
    """What of a record has one of these labels."""
    return {name: value for name, value in record.items() if label_of(name) in labels}


def label_of(name):
    label = parse_label(LABELS.get(name, "green"))
    assert label is not None
    return label


def counted(records):
    return Counter(json.dumps(record, sort_keys=True) for record in records)


@pytest.mark.skipif(not ZEEK.exists(), reason="the logs are not here")
def test_every_record_of_real_logs_is_at_the_sinks_and_of_it_what_its_labels_allow(tmp_path):
    logs = [json.loads(line) for path in sorted(ZEEK.glob("*.log")) for line in path.read_text().splitlines()]
    assert len(logs) > 4_000 and all(any(name in record for record in logs) for name in LABELS)
    said = "{ " + ", ".join(f'"{name}" = "{label}"' for name, label in LABELS.items()) + ', "*" = "green" }'
    topology = TOPOLOGY.replace("ZEEK", str(ZEEK)).replace("FOLDER", str(tmp_path)).replace("LABELS", said)
    open_ = {Label.CLEAR, Label.GREEN}
    sinks = {"siem-1": ("all.jsonl", {*open_, Label.AMBER, Label.RED}), "partner-1": ("some.jsonl", open_)}
    with house_in(tmp_path, topology) as house:
        house.up()
        for id_ in sinks:
            house.start("edge", "run", "--as", id_, "--json").wait_line('"state": "running"')
        house.start("edge", "run", "--as", "zeek-1", "--json")
        for name, labels in sinks.values():
            wait_for(lambda name=name: len(written(tmp_path / name)) >= len(logs), f"all records in {name}", 60)
            found = written(tmp_path / name)
            assert counted(each["content"] for each in found) == counted(allowed(each, labels) for each in logs)
            assert all(
                each["labels"] == {field: label_of(field).short for field in each["content"]} for each in found
            )
            assert len({(each["id"], each.get("record")) for each in found}) == len(logs), "none of them twice"
