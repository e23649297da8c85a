"""Every entry is an OCSF event with what its class requires."""

import json

import pytest

from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import Entry
from relays.auditing.ocsf import entry_json, ocsf

KINDS = [word for name, word in vars(kinds).items() if name.isupper() and isinstance(word, str)]
REQUIRED = {3002: ["user", "dst_endpoint"], 6003: ["actor", "api", "src_endpoint"], 2004: ["finding_info"]}


@pytest.mark.parametrize("kind", [*KINDS, "moon.phase"])
def test_an_event_has_what_its_class_requires(kind):
    event = ocsf(Entry(7, 1_000, kind, {"who": "soar-1", "action": b"\1" * 32, "code": "E403"}), "acme", "hq")
    for name in ("category_uid", "class_uid", "activity_id", "type_uid", "time", "severity_id", "metadata"):
        assert name in event
    assert all(event[name] for name in REQUIRED[event["class_uid"]])
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["category_uid"] == event["class_uid"] // 1_000
    assert event["metadata"]["version"] and event["metadata"]["product"]["vendor_name"]
    assert json.loads(json.dumps(event))["unmapped"]["action"] == "01" * 32


def test_who_was_turned_away_failed_to_log_on():
    event = ocsf(Entry(7, 1_000, kinds.LINK_REFUSED, {"who": "ab12", "code": "E205", "node": "fw-1"}), "acme", "hq")
    assert (event["class_uid"], event["activity_id"], event["status_id"]) == (3002, 1, 2)
    assert event["status_code"] == "E205" and event["user"] == {"uid": "fw-1"}


def test_a_log_that_was_rewritten_is_a_finding():
    event = ocsf(Entry(7, 1_000, kinds.HEAD_REFUSED, {"who": "dmz"}), "acme", "hq")
    assert (event["class_uid"], event["severity_id"]) == (2004, 4)


def test_the_number_of_an_entry_is_its_own_and_a_head_s_stands_beside_it():
    entry = Entry(36, 1_000, kinds.LOG_HEAD, {"number": 35, "head": b"\1"})
    assert entry_json(entry) == {
        "number": 36, "at_ms": 1_000, "kind": "log.head", "head_number": 35, "head": "01"
    }
