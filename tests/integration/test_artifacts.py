"""What actions leave at their targets, fetched through three relays: whole in the end, whatever is killed meanwhile."""

import hashlib
import json
import os
import signal

import pytest

from fabric.edge.fetching.fetch import Fetched
from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import house_in, wait_for

HOUSE = """
fabric = "left"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "20s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:PORT-hq" }
mid   = { segment = "mid",   clearance = "green", listen = "127.0.0.1:PORT-mid",   parent = "hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "mid" }

[roles]
wall   = { execute = ["deny ipv4_net", "scan *"] }
soar   = { request = [{ action = "deny ipv4_net", to = "role=wall" }, { action = "scan *", to = "role=wall" }] }
lead   = { approve = [{ class = "investigate", to = "all" }] }

[points]
fw-1   = { relay = "plant", role = "wall", clearance = "amber" }
fw-2   = { relay = "plant", role = "wall", clearance = "amber" }
soar-1 = { relay = "hq",    role = "soar", clearance = "amber" }
soar-2 = { relay = "hq",    role = "soar", clearance = "amber" }
lead-1 = { relay = "hq",    role = "lead", clearance = "amber", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=wall" }
require = 0

[[approval]]
when = { class = "investigate", to = "id=fw-2" }
require = 1
from = ["lead"]
within = "1m"
"""
SIZE = 16 * 2**20
HANDLER = f"""#!/bin/bash
[[ $(cat) == *deny* ]] && exit 0
head -c {SIZE} /dev/urandom > "$FABRIC_ARTIFACTS/dump.pcap"
echo notes > "$FABRIC_ARTIFACTS/notes.txt"
ln -s /etc/passwd "$FABRIC_ARTIFACTS/link"
echo "$FABRIC_ARTIFACTS" >&2
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("artifacts"), HOUSE) as house:
        house.up()
        house.wait_whole()
        yield house


def wall(house):
    script = house.work / "handler"
    script.write_text(HANDLER)
    script.chmod(0o755)
    what = ("--on", "deny ipv4_net", "--on", "scan *", "--exec", str(script))
    running = house.start("edge", "run", "--as", "fw-1", *what, "--json")
    running.wait_line('"ready"')
    return running


def part_of(folder, name, bytes_):
    """When so much of it is there, and more is to come."""
    def size():
        return sum(path.stat().st_size for path in folder.glob(f"{name}.*.part"))

    wait_for(lambda: size() >= bytes_, f"{bytes_} bytes of {name}", 60)
    assert size() < SIZE, "it came too quickly to be interrupted"


def test_a_large_file_comes_whole_whatever_is_killed_meanwhile(house, tmp_path):
    first = wall(house)
    act = ("act", "scan", "domain_name=a.example", "--to", "id=fw-1", "--as", "soar-1")
    # Until it is known at hq, three relays up, that it executes.
    done = wait_for(lambda: (ran := house.cli(*act)).code != 4 and ran, "a target").expect(0)
    assert "E731" in done.out and "link: no regular file" in done.out
    assert "left at fw-1: dump.pcap (16MB, TLP:GREEN), notes.txt (6 bytes, TLP:GREEN)" in done.out
    said = json.loads(first.wait_line("handler ended"))["said"]
    assert not os.path.exists(said)
    account, *nobody = house.cli("actions", "--as", "soar-1", "--json").lines
    id_ = account["id"]
    listed = {line["name"]: line for line in house.cli("artifacts", id_[:8], "--as", "soar-1", "--json").lines}

    fetch = ("fetch", id_[:8], "--as", "soar-1", "--output", str(tmp_path), "--json")
    killed = house.start(*fetch)
    part_of(tmp_path, "dump.pcap", SIZE // 8)
    killed.process.kill()
    killed.wait()
    going_on = house.start(*fetch)
    part_of(tmp_path, "dump.pcap", SIZE // 3)
    first.process.kill()
    first.wait()
    second = wall(house)
    part_of(tmp_path, "dump.pcap", SIZE // 2)
    with house.point("soar-1") as soar:  # nothing urgent waits behind what is large
        (denied,) = soar.request("deny", "ipv4_net=192.0.2.1", to="id=fw-1", severity="critical")
    assert denied.end == "completed" and going_on.process.poll() is None
    ended = going_on.wait(90).expect(0)
    dump, notes = ended.lines
    assert dump["resumed"] >= SIZE // 8 and dump["path"] == str(tmp_path / "dump.pcap")
    content = (tmp_path / "dump.pcap").read_bytes()
    assert len(content) == SIZE and hashlib.sha256(content).hexdigest() == listed["dump.pcap"]["sha256"]
    assert (tmp_path / "notes.txt").read_text() == "notes\n" and sorted(os.listdir(tmp_path)) == sorted(listed)
    # What fetched is in no ledger or book.
    assert len(house.cli("actions", "--as", "soar-1", "--json").lines) == 2 + len(nobody)

    again = house.cli(*fetch).expect(0).lines  # nothing is fetched again, and nothing overwritten
    assert [line["resumed"] for line in again] == [SIZE, len("notes\n")]
    (tmp_path / "notes.txt").write_text("mine")
    assert house.cli(*fetch).expect(3).error["code"] == "E736"
    assert (tmp_path / "notes.txt").read_text() == "mine"

    kept = house.folder / "ids" / "fw-1" / "artifacts" / listed["notes.txt"]["id"]
    kept.write_bytes(b"cut")
    (tmp_path / "notes.txt").unlink()
    assert house.cli(*fetch, "--timeout", "20s").expect(3).error["code"] == "E734"
    second.stop(signal.SIGTERM)


def test_what_an_approved_action_left_needs_no_other_approval_and_is_its_requester_s_alone(house, tmp_path):
    with house.point("fw-2") as wall, house.point("soar-1") as soar, house.point("lead-1") as lead:

        @wall.on_action("scan", "*")
        def scan(action):
            assert action.control.attach(b"x" * 300_000, name="../../x", label="amber")
            assert action.control.attach(b"", name="x")
            return {"large": "y" * 500_000}

        wall.wait_ready()
        approved = []

        def approve(request):
            if request.approval is not None and not approved:
                approved.append(lead.approve(request.action_id))

        def ask():
            try:
                return list(soar.request("scan", "domain_name=b.example", to="id=fw-2", watch=approve))
            except FabricError as error:
                assert error.code is Code.NOBODY, error  # until it is known at hq that it executes
                return None

        (outcome,) = wait_for(ask, "a target")
        assert outcome.end == "completed" and approved
        assert outcome.code == "E715" and outcome.reason.endswith("all of it is the artifact result.json")
        hidden, empty, whole = outcome.artifacts
        assert [one.name for one in outcome.artifacts] == ["x", "x-2", "result.json"]
        assert json.loads(soar.fetch(whole, tmp_path).read_text()) == {"large": "y" * 500_000}
        told: list[Fetched] = []
        assert soar.fetch(empty, tmp_path / "empty", progress=told.append).read_bytes() == b""
        # A relay on the way is cleared for green: what is amber is stripped there, and that is said.
        with pytest.raises(FabricError) as withheld:
            soar.fetch(hidden, tmp_path)
        assert withheld.value.code is Code.WITHHELD
        with house.point("soar-2") as other, pytest.raises(FabricError) as gone:
            other.fetch(whole, tmp_path / "other")
        assert gone.value.code is Code.ARTIFACT_GONE
        assert sorted(os.listdir(tmp_path)) == ["empty", "result.json"]
