"""A firewall of real packets: what is denied through the fabric does not go, what is allowed again goes, and a kill, or
a table that is gone as after a reboot, changes nothing about it."""

import json
import subprocess

import pytest

from relays.authority import init_authority, make_identities
from relays.topology.loader import load
from tests.integration.harness import FABRIC, wait_for
from tests.integration.hosts import hosts, ip
from tests.network import NO_TABLES, needs_tables

TOPOLOGY = """
fabric = "packets"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "0.0.0.0:7700", advertise = "10.99.0.1:7700" }

[roles]
firewall = { execute = ["deny ipv4_net", "allow ipv4_net"] }
soar     = { request = [{ action = "* ipv4_net", to = "role=firewall" }] }

[points]
soar-1 = { relay = "hq", role = "soar",     clearance = "amber" }
fw-7   = { relay = "hq", role = "firewall", clearance = "amber" }

[[approval]]
when = { action = "* ipv4_net", to = "role=firewall" }
require = 0
"""
pytestmark = needs_tables


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packets")
    file = folder / "packets.toml"
    file.write_text(TOPOLOGY)
    assert not NO_TABLES
    with hosts(folder, ["hq", "fw"]) as made:
        hq, fw = made.values()
        fw.home = hq.home
        make_identities(load(file), init_authority("packets", hq.home), hq.home)
        for address in ("10.99.5.5/32", "10.99.6.6/32"):  # who is at hq and does no good
            ip("-n", hq.netns, "addr", "add", address, "dev", "down0")
        ip("-n", fw.netns, "route", "add", "10.99.4.0/22", "via", "10.99.0.1")
        relay = hq.fabric("up", "--json", str(file))
        wait_for(lambda: is_up(hq), "hq up", 30)
        yield made
        relay.stop()


def is_up(host):
    try:
        return json.loads((host.home / "packets" / "run" / "hq.json").read_text())["ready"]
    except (OSError, ValueError):
        return False


def firewall(machines, *options):
    running = machines["fw"].fabric("edge", "run", "--as", "fw-7", "--handler", "nftables", "--json", *options)
    running.wait_line('"ready"')
    return running


def ask(machines, action, net, *options):
    done = machines["hq"].run(
        "act", action, f"ipv4_net={net}", "--to", "id=fw-7", "--as", "soar-1", "--json", *options
    )
    (outcome,) = [line for line in done.lines if "end" in line]
    return outcome


def goes(machines, address):
    return machines["fw"].reaches(address, 7700)


def test_what_is_denied_does_not_go_until_it_is_allowed_whatever_is_killed_or_flushed(machines):
    running = firewall(machines)
    ready = json.loads(running.wait_line('"ready"'))
    assert ready["takes"] == ["deny ipv4_net", "allow ipv4_net"] and "deny ipv6_net" in ready["not_granted"]
    assert goes(machines, "10.99.5.5")
    assert ask(machines, "deny", "10.99.5.0/24")["result"] == {"blocked": "10.99.5.0/24", "already": False}
    assert not goes(machines, "10.99.5.5") and goes(machines, "10.99.6.6")
    cut_off = ask(machines, "deny", "10.99.0.1")
    assert (cut_off["end"], cut_off["code"], cut_off["status"]) == ("refused", "E951", 403)
    assert "the relay" in cut_off["reason"]
    running.process.kill()
    running.wait()
    assert not goes(machines, "10.99.5.5"), "the kernel has it"
    subprocess.run(["ip", "netns", "exec", machines["fw"].netns, "nft", "flush", "ruleset"], check=True)
    assert goes(machines, "10.99.5.5")
    running = firewall(machines)
    assert not goes(machines, "10.99.5.5"), "the list has it"
    assert ask(machines, "allow", "10.99.5.0/24")["result"] == {"allowed": "10.99.5.0/24", "was_blocked": True}
    assert goes(machines, "10.99.5.5")
    assert ask(machines, "deny", "10.99.5.5", "--arg", "duration=3s")["end"] == "completed"
    assert not goes(machines, "10.99.5.5")
    running.process.kill()
    running.wait()
    running = firewall(machines)
    wait_for(lambda: goes(machines, "10.99.5.5"), "the end of its duration")
    assert ask(machines, "allow", "10.99.5.5", "--arg", "duration=1s")["code"] == "E726", "nobody would block it again"
    done = running.stop()
    assert done.code == 0 and "10.99.5" not in done.out + done.err, "a target is nobody's to log"


def test_who_may_not_change_tables_is_told_before_anything_begins(machines):
    nobody = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    done = machines["fw"].start(*nobody, *FABRIC, "edge", "run", "--as", "fw-7", "--handler", "nftables", "--json")
    done = done.wait().expect(2)
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert error["code"] == "E950" and "CAP_NET_ADMIN" in error["detail"] + error["next"] and not done.out
