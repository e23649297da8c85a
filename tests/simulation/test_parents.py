"""Parents that die, hang, come back, drain, or lead in a circle: who moves where, and what became of the messages."""

import random
from collections import Counter

import pytest

from fabric.protocol.base.limits import BACKED_PING_MS, LINK_SILENCE_MS, PARENT_SILENCE_MS, SESSION_GRACE_MS, STALL_MS
from fabric.protocol.core.ready import Drain, Leave
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.uplink import RETURN_MS, SPREAD_MS, STABLE_MS
from fabric.protocol.trust.credentials import Grants, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.frames import Ack, Data
from tests.simulation.herd import herd
from tests.simulation.world import NO_ENDS, World
from tests.support import MINUTE_MS

SENSOR = Grants(publish=(PublishGrant("detections.>"), PublishGrant("intel.>")))
ANALYST = Grants(subscribe=("detections.>", "intel.>"))
FIREWALL = Grants(execute=("deny ipv4_net",), subscribe=("intel.>",))
SOAR = Grants(request=(RequestGrant("deny *", "role=firewall"),))
FAILOVER_MS = 3 * BACKED_PING_MS


def stage(seed=0, loss=0.0, **points):
    """hq over east and west; cell is below east, west is its backup. An analyst at hq, whatever else by name."""
    world = World(seed, loss=loss)
    world.relay("hq")
    world.relay("east", "hq")
    world.relay("west", "hq")
    world.relay("cell", "east", backups=("west",))
    world.point("analyst", "hq", ANALYST)
    world.attach("analyst", "detections.>")
    for name, grants in points.items():
        world.point(name, "cell", grants, tags={"role": "firewall"} if grants is FIREWALL else {})
    world.run(10_000)
    assert world.relay_of("cell") == "east"
    return world


def numbers(world, name="analyst"):
    return Counter(content["number"] for _, content in world.records(name) if "number" in content)


def publish(world, number, name="sensor", **fields):
    return world.publish(name, records=[{"number": number}], sequence=number, ttl_ms=10 * MINUTE_MS, **fields)


def moved_within(world, name, relay, within_ms):
    began_ms = world.now_ms
    assert world.run_until(lambda: world.relay_of(name) == relay, within_ms, 10), world.relay_of(name)
    return world.now_ms - began_ms


@pytest.mark.parametrize("seed", range(10))
def test_the_children_of_a_parent_that_was_killed_have_another_within_three_heartbeats(seed):
    world = stage(seed, sensor=SENSOR)
    world.crash("east", 10 * MINUTE_MS)
    assert moved_within(world, "cell", "west", FAILOVER_MS) > 1_000, "it may be restarting, and has a moment for that"
    publish(world, 1)
    world.run(1_000)
    assert numbers(world) == {1: 1}


def test_a_parent_that_only_restarts_keeps_its_children():
    world = stage(sensor=SENSOR)
    world.crash("east", 500)
    moved_within(world, "cell", "east", 3_000)
    world.run(MINUTE_MS)
    assert world.relay_of("cell") == "east"


@pytest.mark.parametrize("seed", range(10))
def test_a_parent_that_falls_silent_is_left_within_its_time_and_that_of_a_move(seed):
    world = stage(seed)
    world.part("cell", "east", told=False)
    took_ms = moved_within(world, "cell", "west", LINK_SILENCE_MS)
    assert PARENT_SILENCE_MS - BACKED_PING_MS < took_ms < PARENT_SILENCE_MS + SPREAD_MS + 500


def test_who_has_no_other_parent_has_more_patience():
    world = stage()
    east = world.nodes["east"].core
    world.part("east", "hq", told=False)
    world.run(PARENT_SILENCE_MS + 500)
    assert east.uplink.current == "hq"
    world.run(LINK_SILENCE_MS - PARENT_SILENCE_MS)
    assert east.uplink.current == ""


@pytest.mark.parametrize("seed", range(10))
def test_a_parent_that_answers_pings_and_no_message_is_left_too(seed):
    world = stage(seed, sensor=SENSOR)
    deaf = world.nodes["east"].core
    read = deaf.read

    def lose_data(link, payload):
        arrived = read(link, payload)
        return arrived._replace(frame=Ack([]), opened=()) if isinstance(arrived.frame, Data) else arrived

    deaf.read = lose_data
    publish(world, 1)
    world.run(STALL_MS - 1_000)
    assert world.relay_of("cell") == "east"
    moved_within(world, "cell", "west", FAILOVER_MS + 1_500)
    world.run(1_000)
    assert numbers(world) == {1: 1}
    assert world.nodes["cell"].core.counters["links_stalled:parent"] == 1


def test_it_goes_back_when_the_better_parent_is_there_and_stays():
    world = stage()
    world.crash("east", 20_000)
    moved_within(world, "cell", "west", FAILOVER_MS)
    world.run(20_000 - FAILOVER_MS)
    assert moved_within(world, "cell", "east", STABLE_MS + RETURN_MS + 10_000) >= STABLE_MS
    assert world.nodes["east"].core.routes.newest is not None
    world.run(5_000)
    assert "relay:cell" not in world.nodes["west"].core.by_destination, "the one that was left is left in order"


def test_a_parent_that_comes_and_goes_is_gone_back_to_more_and_more_seldom():
    world = stage()
    came = []
    for _ in range(40):
        world.crash("east", 4_000)
        world.run(4_000 + STABLE_MS + 2_000)
        came.append(world.relay_of("cell"))
    assert came.count("west") > 30 and "east" not in came[-10:], came


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_lost_or_doubled_when_parents_die_and_come_back(seed):
    chosen = random.Random(seed)
    world = stage(seed, loss=0.03, sensor=SENSOR)
    for number in range(80):
        publish(world, number)
        if number % 10 == 5:
            victim = chosen.choice(["east", "west"])
            if world.nodes[victim].alive:
                world.crash(victim, chosen.randint(50, 20_000))
        world.run(chosen.randint(20, 1_500))
    world.come_to_rest(2 * MINUTE_MS)
    assert numbers(world) == Counter(range(80))


def ask(world, sequence=0, **fields):
    return world.publish(
        "soar", kind=Kind.ACTION, topic="deny.ipv4_net", severity=Severity.HIGH, to="role=firewall", sequence=sequence,
        records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}],
        **{"ttl_ms": 30_000, **fields},
    )


def ends(world, action):
    return [
        content["end"] for (_, content), delivery in zip(
            world.records("soar"), world.nodes["soar"].delivered, strict=True
        ) if delivery.message.header.correlation == action.leaf and content["end"] not in NO_ENDS
    ]


def test_an_action_finds_its_target_at_the_other_parent():
    world = stage(wall=FIREWALL)
    world.attach("wall", executes=True)
    world.point("soar", "hq", SOAR)
    world.run(3_000)
    world.crash("east", 10 * MINUTE_MS)
    world.run(50)
    action = ask(world)  # hq knows of no other way yet: it waits for east, and follows the wall to west
    world.run(FAILOVER_MS + 2_000)
    assert world.nodes["wall"].executed == [action.id]
    world.run(40_000)
    assert ends(world, action) == ["completed"]


def commanded():
    """soar, below cell, has commanded a wall at hq, which has just done it."""
    world = stage(soar=SOAR)
    world.point("wall", "hq", FIREWALL, tags={"role": "firewall"})
    world.attach("wall", executes=True)
    world.attach("soar")
    world.run(3_000)
    action = ask(world)
    assert world.run_until(lambda: world.nodes["wall"].executed, 1_000, 1)
    return world, action


@pytest.mark.parametrize("told", [True, False])
def test_a_result_finds_a_requester_that_moved(told):
    """The action went up through east; when its result comes down, the way between cell and east is gone."""
    world, action = commanded()
    world.part("cell", "east", told=told)
    world.run(100)
    assert ends(world, action) == []
    assert len(world.nodes["east"].core.custody) > 0, "east holds what it cannot hand over"
    world.run(LINK_SILENCE_MS + FAILOVER_MS + 2_000)
    assert world.relay_of("cell") == "west" and ends(world, action) == ["completed"]
    assert len(world.nodes["east"].core.custody) == 0


def test_what_a_dead_parent_held_follows_when_it_is_back_though_its_child_is_not():
    world, action = commanded()
    world.part("cell", "east")
    world.run(20)
    world.crash("east", 12_000)
    world.run(30_000)
    assert world.relay_of("cell") == "west" and ends(world, action) == ["completed"]


@pytest.mark.parametrize("seed", range(8))
def test_intel_follows_who_subscribed_to_it(seed):
    world = stage(seed, reader=ANALYST)
    world.attach("reader", "intel.>")
    world.point("feed", "hq", SENSOR)
    world.run(3_000)
    for number in range(30):
        publish(world, number, "feed", kind=Kind.INTEL, topic="intel.ipv4")
        if number == 10:
            world.part("cell", "east", told=bool(seed % 2))
        world.run(300)
    world.run(30_000)
    assert world.relay_of("cell") == "west"
    assert numbers(world, "reader") == Counter(range(30))


def test_a_control_point_has_backups_too():
    world = stage()
    world.point("sensor", "east", SENSOR, backups=("west",))
    world.point("reader", "west", ANALYST, backups=("hq",))
    world.attach("reader", "detections.>")
    world.run(3_000)
    world.crash("east", 20_000)
    moved_within(world, "sensor", "west", FAILOVER_MS)
    publish(world, 1)
    world.run(1_000)
    assert numbers(world) == numbers(world, "reader") == {1: 1}
    world.run(20_000)
    moved_within(world, "sensor", "east", STABLE_MS + RETURN_MS + 10_000)
    publish(world, 2)
    world.run(1_000)
    assert numbers(world) == {1: 1, 2: 1}


def test_a_relay_that_may_not_dial_is_dialled_by_its_backup():
    world = World(4)
    world.relay("hq")
    world.relay("east", "hq")
    world.relay("west", "hq")
    world.relay("plant", "east", dial="child", backups=("west",))
    world.run(5_000)
    assert world.relay_of("plant") == "east"
    world.crash("east", 20_000)
    moved_within(world, "plant", "west", FAILOVER_MS)
    world.run(20_000)
    moved_within(world, "plant", "east", STABLE_MS + RETURN_MS + 10_000)


# -- a herd ---------------------------------------------------------------------------------------------------


def test_a_thousand_children_of_a_dead_parent_are_no_herd():
    crowd = herd(1_000, calm_ms=2_000)
    assert sum(crowd.welcomes.values()) == 1_000
    assert crowd.peak_over_mean <= 2, crowd.welcomes
    assert crowd.last_ms <= 2 * FAILOVER_MS


# -- draining -------------------------------------------------------------------------------------------------


def test_a_relay_that_drains_is_left_before_it_goes_and_nothing_waits():
    world = stage(sensor=SENSOR, reader=ANALYST)
    world.attach("reader", "intel.>")
    world.point("feed", "hq", SENSOR)
    world.point("local", "east", SENSOR, backups=("west",))
    world.run(5_000)
    drained_ms = None
    for number in range(60):
        publish(world, number)
        publish(world, 1_000 + number, "local")
        publish(world, 2_000 + number, "feed", kind=Kind.INTEL, topic="intel.ipv4")
        if number == 20:
            world.step("east", Drain())
        if drained_ms is None and number > 20 and world.nodes["east"].core.drained:
            drained_ms = world.now_ms
            world.crash("east", 10 * MINUTE_MS)
        world.run(50)
    world.run(3_000)
    assert drained_ms is not None
    assert world.relay_of("cell") == world.relay_of("local") == "west"
    assert numbers(world) == Counter([*range(60), *range(1_000, 1_060)])
    assert numbers(world, "reader") == Counter(range(2_000, 2_060))
    ages = [delivery.age_ms for name in ("analyst", "reader") for delivery in world.nodes[name].delivered]
    assert max(ages) < 1_000


def test_who_has_nowhere_to_go_stays_until_the_end():
    world = stage(sensor=SENSOR)
    world.point("alone", "east", SENSOR)
    world.run(2_000)
    world.step("east", Drain())
    world.run(5_000)
    assert world.relay_of("cell") == "west" and world.relay_of("alone") == "east"
    assert not world.nodes["east"].core.drained
    publish(world, 1, "alone")
    world.run(1_000)
    assert numbers(world) == {1: 1}, "and is served until then"


def test_nobody_comes_to_a_relay_that_drains():
    world = stage()
    world.step("east", Drain())
    world.point("late", "east", SENSOR, backups=("west",))
    world.run(FAILOVER_MS)
    assert world.relay_of("late") == "west"


# -- circles and twins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_two_that_back_each_other_up_are_never_each_others_parents_for_long(seed):
    world = World(seed)
    world.relay("hq")
    world.relay("a", "hq", backups=("b",))
    world.relay("b", "hq", backups=("a",))
    world.point("sensor", "a", SENSOR)
    world.point("analyst", "hq", ANALYST)
    world.attach("analyst", "detections.>")
    world.run(5_000)
    world.crash("hq", 40_000)
    for number in range(20):
        publish(world, number)
        world.run(2_000)
    world.run(MINUTE_MS)
    assert {world.relay_of("a"), world.relay_of("b")} <= {"hq", "a", "b"}
    assert "hq" in (world.relay_of("a"), world.relay_of("b"))
    assert numbers(world) == Counter(range(20)), "what went round in a circle was not taken for seen"


def test_one_identity_in_two_places_is_noticed_and_named():
    world = stage()
    # The same identity once more, as from a copied folder, below another relay.
    twin = world.nodes["cell"]
    world.nodes["cell-2"] = type(twin)("cell-2", twin.member, twin.make, twin.make(b"t" * 16))
    world.nodes["cell-2"].core.roots = world.roots
    world.nodes["cell-2"].dials = [("west", twin.dials[0][1])]
    world.nodes["cell-2"].core.uplink.parents = ["west"]
    world.after(0, lambda: world._dial_wanted(world.nodes["cell-2"]))
    world.run(10_000)
    counted = sum(
        count for name in ("hq", "east", "west", "cell", "cell-2")
        for key, count in world.nodes[name].core.counters.items() if key.startswith("twins:")
    )
    assert counted > 0
    assert world.nodes["east"].core.counters["refused:twin"] > 0


def test_one_session_in_two_places_is_noticed_and_named():
    """An outbox was copied, and both run."""
    world = stage()
    reader = world.point("reader", "east", ANALYST)
    world.attach("reader", "intel.>")
    world.run(2_000)
    world.nodes["copy"] = type(reader)("copy", reader.member, reader.make, reader.make(reader.core.session))
    world.nodes["copy"].core.roots = world.roots
    world.nodes["copy"].core.uplink.parents = ["west"]
    world.nodes["copy"].dials = [("west", reader.dials[0][1])]
    world.after(0, lambda: world._dial_wanted(world.nodes["copy"]))
    world.run(20_000)
    counters = [world.nodes[name].core.counters for name in ("east", "west")]
    assert sum(counted["twins:point"] for counted in counters) > 0
    assert sum(counted["refused:twin"] for counted in counters) > 0


def test_a_session_that_left_for_good_leaves_nothing_behind():
    world = stage(soar=SOAR)
    world.attach("soar")
    world.run(2_000)
    world.crash("east", 10 * MINUTE_MS)
    world.run(FAILOVER_MS + 2_000)
    world.crash("soar", 100 * MINUTE_MS)
    world.run(SESSION_GRACE_MS + 5_000)
    assert world.nodes["hq"].core.routes.of_node("soar") == []


def test_who_left_while_his_relay_had_no_parent_is_known_to_nobody():
    world = stage(reader=ANALYST)
    world.attach("reader", "intel.>")
    world.run(2_000)
    hq = world.nodes["hq"].core
    assert hq.routes.of_node("reader")
    world.crash("east", 20_000)
    world.run(200)
    world.step("reader", Leave())
    world.nodes["reader"].alive = False
    world.run(60_000)
    assert world.relay_of("cell") == "east"
    assert hq.routes.of_node("reader") == world.nodes["east"].core.routes.of_node("reader") == []


def test_an_old_parent_that_was_cut_off_brings_nobody_back_who_left_meanwhile():
    world = stage(reader=ANALYST)
    world.attach("reader", "intel.>")
    world.run(2_000)
    for peer in ("cell", "hq"):
        world.part("east", peer)
    world.run(10_000)
    assert world.relay_of("cell") == "west"
    world.step("reader", Leave())
    world.nodes["reader"].alive = False
    world.run(2_000)
    hq = world.nodes["hq"].core
    assert hq.routes.of_node("reader") == []
    world.join("east", "hq")
    world.run(3 * MINUTE_MS)
    assert [a for a in hq.routes.of_node("reader") if hq.routes.via(a)] == []
