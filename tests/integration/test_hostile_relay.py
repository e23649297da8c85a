"""What somebody with a relay's keys does to those who execute below it: real processes, killed and started again."""

import json
import os
import signal

import pytest

from fabric.edge.identity.home import revocations_path
from fabric.edge.identity.identity import Identity
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.envelope.header import Kind, encode_header
from fabric.protocol.envelope.layout import leaf_of, seal
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.integration.harness import house_in, wait_for
from tests.integration.hostile import HostileRelay
from tests.integration.intruder import Intruder, header_of
from tests.support import MINUTE_MS

TOPOLOGY = """
fabric = "taken"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "10m", result = "1h" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
fw   = { execute = ["deny ipv4_net"] }
soar = { request = [{ action = "deny ipv4_net", to = "role=fw" }] }

[points]
fw-1   = { relay = "hq", role = "fw",   clearance = "amber" }
soar-1 = { relay = "hq", role = "soar", clearance = "amber" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=fw" }
require = 0
"""


def deny(soar: Identity, target: str) -> tuple[bytes, bytes]:
    """An action of ten minutes, signed by who may; and its id."""
    record = {"action": "deny", "target": {"ipv4_net": target}, "args": {}}
    header, parts = header_of(
        soar, record, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=fw", severity=Severity.HIGH,
        ttl_ms=10 * MINUTE_MS, label=Label.GREEN,
    )
    raw = seal([(header, parts)], soar.credential.digest, soar.signer)[0]
    return raw, leaf_of(encode_header(header))[:ID_BYTES]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("taken"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


@pytest.fixture
def wall(house, tmp_path):
    """Starts the firewall's program; it writes down each of its runs."""
    ran, script = tmp_path / "ran", tmp_path / "handler"
    script.write_text(f'#!/bin/sh\ncat >> "{ran}"\necho >> "{ran}"\n')
    script.chmod(0o755)
    started = []

    class Wall:
        def start(self, ready=True):
            what = ("--on", "deny ipv4_net", "--exec", str(script))
            running = house.start("edge", "run", "--as", "fw-1", *what, "--json")
            started.append(running)
            if ready:
                running.wait_line('"ready"')
            return running

        def runs(self, target):
            text = ran.read_text() if ran.exists() else ""
            return sum(json.loads(line)["target"] == {"ipv4_net": target} for line in text.splitlines() if line)

    yield Wall()
    for running in started:
        if running.process.poll() is None:
            running.stop()


def test_i_have_a_relay_and_repeat_what_was_executed(house, wall):
    """Its firewall has no outbox, and I kill it. It comes back, and I give it yesterday's command again."""
    soar, point = house.identity("soar-1"), house.identity("fw-1")
    running = wall.start()
    first, first_id = deny(soar, "192.0.2.1")
    with Intruder(soar) as requester:
        requester.enter()
        wait_for(lambda: house.state("hq").get("routes", 0) >= 1, "the firewall's route")
        assert requester.offer(first) is None
    wait_for(lambda: wall.runs("192.0.2.1"), "the honest command is executed")
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait(10)
    address = point.relay.address
    identity, lists = house.identity("hq"), revocations_path("taken", house.home).read_bytes()
    house.down()
    with HostileRelay(identity, address, point, lists) as me:
        again = wall.start(ready=False)
        me.wait_executor()
        # It takes my word that it comes from above, and knows it.
        assert me.command(first, first_id, soar.credential) is None
        # What it does not know it executes, so it would have been executed.
        second, second_id = deny(soar, "192.0.2.2")
        assert me.command(second, second_id, soar.credential) is None
        wait_for(lambda: wall.runs("192.0.2.2"), "a new command is executed")
        assert wall.runs("192.0.2.1") == 1
        # Of each that it has answered it tells me the answer again, once, however often I ask.
        def told():
            return sum(correlation.startswith(second_id) for correlation in me.results)

        me.serve_until(told, "how it ended")

        def told_again():
            assert me.command(second, second_id, soar.credential) is None
            return told() == 2

        me.serve_until(told_again, "and again")
        for _ in range(3):
            me.command(second, second_id, soar.credential)
        assert wall.runs("192.0.2.2") == 1 and told() == 2
        # I destroy what it remembers. Then it knows nothing of what is older, and says so.
        os.kill(again.process.pid, signal.SIGKILL)
        again.process.wait(10)
        ledger = point.folder / "ledger"
        assert ledger.stat().st_mode & 0o777 == 0o600
        for path in point.folder.glob("ledger*"):
            path.unlink()
        last = wall.start(ready=False)
        executor = me.core.routes.executor("fw-1")
        me.serve_until(lambda: me.core.routes.executor("fw-1") not in (None, executor), "the new session executes")
        me.command(first, first_id, soar.credential)
        third, third_id = deny(soar, "192.0.2.3")
        me.command(third, third_id, soar.credential)
        me.serve_until(lambda: wall.runs("192.0.2.3"), "what is new is executed")
        assert wall.runs("192.0.2.1") == wall.runs("192.0.2.2") == 1
        last.stop()
