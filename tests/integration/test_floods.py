"""What somebody hears who floods a relay: nothing that stops it, fills it, or keeps the honest from being served.

Real processes, on loopback. Floods are bounded in time, in frames and in connections, and come from processes of their
own. Nothing is measured but memory: while a flood goes on an honest sensor's records are acknowledged.
"""

import os
import resource
import signal
from contextlib import contextmanager

import pytest

from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import House, wait_for

TOPOLOGY = """
fabric = "flooded"
organisation = "acme"
defaults = { label = "amber", ttl = { event = "1h", action = "30s", result = "1h" } }
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }
[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
[points]
sensor-1 = { relay = "hq", role = "sensor", clearance = "amber" }
stolen-1 = { relay = "hq", role = "sensor", clearance = "amber" }
"""
MEMORY_KB_MAX = 300_000
# Well below what a relay may have; strangers have a part of it that leaves room for everybody else.
DESCRIPTORS = 700
KNOCKS = 5


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    made = House(tmp_path_factory.mktemp("flooded"), TOPOLOGY)
    made.up()
    made.wait_whole()
    yield made
    made.destroy()


@contextmanager
def flood(house, kind, connections, seconds=8):
    folder = house.folder / "ids" / "stolen-1"
    program = "import sys; from tests.integration import flooder; flooder.main(*sys.argv[1:])"
    running = house.start(str(folder), kind, str(connections), str(seconds), program=program)
    try:
        running.wait_line("flooding")
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def memory_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def is_served(house, records):
    """Each is acknowledged before the next: held durably by the relay.

    Whoever comes new from the address that a flood comes from may have to knock more than once (THREATS.md).
    """
    for knock in range(KNOCKS):
        try:
            with house.point("sensor-1") as sensor:
                for n in range(records):
                    sensor.publish("detections.honest", {"n": n})
            return
        except FabricError as error:
            if error.code is not Code.UNREACHABLE or knock == KNOCKS - 1:
                raise


def test_i_know_nothing_but_the_address_and_take_all_its_descriptors(house):
    """And they do not come back as a relay that was told to go, or one that never starts again."""
    pid = house.pid("hq")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with flood(house, "idle", DESCRIPTORS + 300):
        is_served(house, 20)
        counters = house.fresh_state("hq")["counters"]
        assert counters["connections:crowded_out"] >= 200, "the oldest strangers make room"
        assert house.pid("hq") == pid and not house.state("hq")["draining"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: house.state("hq").get("pid") != pid and house.is_whole(), "hq again, flooded as it is")
        is_served(house, 5)
    assert not list((house.folder / "run").glob("*.drain"))


def test_i_have_any_key_and_make_libzmq_read_a_ping_of_the_dead(house):
    pid = house.pid("hq")
    with flood(house, "pings", 12):
        is_served(house, 20)
    is_served(house, 1)
    assert house.pid("hq") == pid and "ssertion" not in "".join(house.logs().values())


@pytest.mark.parametrize("kind", ["intro", "routes", "ack", "data", "ping"])
def test_i_stole_a_sensor_and_flood_with_every_connection_it_may_have(house, kind):
    pid = house.pid("hq")
    with flood(house, kind, 8):
        is_served(house, 20)
    assert house.pid("hq") == pid and os.path.exists(f"/proc/{pid}")
    assert memory_kb(pid) < MEMORY_KB_MAX
