"""Links that are late, cut or silent, between relays and to control points: all arrives once, nothing runs twice."""

import random
from collections import Counter
from contextlib import ExitStack, contextmanager

from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import house_in, wait_for, with_free_ports
from tests.integration.proxy import Proxy, Weather

# Whoever dials hq or leaf dials a proxy: leaf and the analyst the one of hq, the sensor and the firewall that of leaf.
TOPOLOGY = """
fabric = "storm"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq",   advertise = "127.0.0.1:PORT-to-hq" }
leaf = { clearance = "amber", listen = "127.0.0.1:PORT-leaf", advertise = "127.0.0.1:PORT-to-leaf", parent = "hq" }

[roles]
sensor   = { publish = ["detections.>"] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }

[points]
sensor  = { relay = "leaf", role = "sensor",   clearance = "amber" }
keeper  = { relay = "leaf", role = "sensor",   clearance = "amber" }
fw      = { relay = "leaf", role = "firewall", clearance = "amber" }
soar    = { relay = "hq",   role = "soar",     clearance = "red" }
analyst = { relay = "hq",   role = "analyst",  clearance = "red", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""


@contextmanager
def stormy(folder, seed: int, weather: Weather):
    """The house, up behind its proxies."""
    text = with_free_ports(TOPOLOGY)
    with ExitStack() as stack:
        house = stack.enter_context(house_in(folder, text))
        proxies = {}
        for relay, listen, advertise in listening(text):
            proxies[relay] = stack.enter_context(Proxy(advertise, listen, seed, weather))
        house.up()
        house.wait_whole()
        yield house, proxies


def listening(text: str):
    for line in text.splitlines():
        if "advertise" in line:
            ports = [int(part.split('"')[0]) for part in line.split("127.0.0.1:")[1:]]
            yield line.split()[0], *ports


def storm(proxies) -> None:
    for proxy in proxies.values():
        proxy.storm()


def test_over_links_that_are_late_and_cut_everything_arrives_once(tmp_path):
    """Of a sensor that has an outbox, and of one that has none."""
    count, chosen = 3_000, random.Random(1)
    weather = Weather(delay_s=(0.0, 0.03), lasts_s=(0.05, 1.0), cuts=5)
    with stormy(tmp_path, 1, weather) as (house, proxies), house.point("analyst", tmp_path / "reader") as analyst:
        messages = analyst.subscribe("detections.>", durable=True, timeout_s=60)
        with house.point("sensor") as sensor, house.point("keeper", tmp_path / "keeper") as keeper:
            storm(proxies)
            # Of what does not compress, so that a cut falls into the middle of something.
            held = [
                (sensor, keeper)[n % 2].publish_later(
                    f"detections.app.n{n % 7}", {"n": n, "noise": chosen.randbytes(1_000).hex()}
                )
                for n in range(count)
            ]
            for future in held:
                future.result(60)
            assert keeper.drain(60)
        seen = Counter(next(messages).content["n"] for _ in range(count))
        messages.close()  # which acknowledges the last batch; what is nowhere any more cannot come again
        wait_for(lambda: not any(house.fresh_state(relay)["held"] for relay in house.relays), "empty relays", 60)
        assert seen == Counter(range(count))
        assert all(proxy.cuts >= 2 for proxy in proxies.values()), "the links were cut"
        house.assert_logs_clean()


def test_over_links_that_are_cut_no_action_runs_twice(tmp_path):
    """Each ends in one way: as completed, as expired where it never left, else as unknown."""
    executed: Counter[str] = Counter()
    with stormy(tmp_path, 3, Weather(delay_s=(0.0, 0.02), lasts_s=(0.1, 1.5), cuts=5)) as (house, proxies):
        with house.point("fw") as wall, house.point("soar") as soar:
            @wall.on_action("deny", "ipv4_net")
            def deny(action):
                executed[action.target.value] += 1
                return {}

            wall.wait_ready()

            def ends_of(n: int) -> list[str]:
                try:
                    outcomes = soar.request("deny", f"ipv4_net=192.0.2.{n}", to="id=fw", ttl="3s", wait_ms=3_000)
                    return [str(outcome.end) for outcome in outcomes]
                except FabricError as error:
                    assert error.code in (Code.EXPIRED, Code.NOBODY), error
                    return [error.code.reason]

            wait_for(lambda: ends_of(1) == ["completed"], "a first action", 30)
            storm(proxies)
            ends = Counter(tuple(ends_of(n)) for n in range(10, 30))
        assert set(ends) <= {("completed",), ("unknown",), ("expired",), ("nobody",)}, ends
        assert ends[("completed",)] > 10, ends
        assert max(executed.values()) == 1, executed
        house.assert_logs_clean()


def test_a_link_that_says_nothing_any_more_is_given_up_and_nothing_is_lost(tmp_path):
    """As behind a firewall that forgot a connection: both ends live, and neither hears of the other."""
    with stormy(tmp_path, 4, Weather()) as (house, proxies):
        with house.point("analyst") as analyst, house.point("sensor") as sensor:
            messages = analyst.subscribe("detections.>", timeout_s=60)
            sensor.publish("detections.app", {"n": 0})
            proxies["hq"].hang(True)
            for n in range(1, 50):
                sensor.publish("detections.app", {"n": n})  # leaf holds it
            wait_for(lambda: house.state("leaf")["parent_link"] == "down", "leaf knows that it is alone")
            proxies["hq"].hang(False)
            assert sorted(next(messages).content["n"] for _ in range(50)) == list(range(50))
        assert proxies["hq"].connections > 2
        house.assert_logs_clean()
