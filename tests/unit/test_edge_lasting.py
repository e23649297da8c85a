"""Of what an action has an effect, for how long, and what every relay on its way knows of that."""

import pytest

from fabric.edge.effects.lasting import lasting_of
from fabric.edge.handling.handlers import action_kept
from fabric.protocol.base.limits import LEASE_MS_MAX
from fabric.protocol.envelope.effects import lasts_ms
from fabric.protocol.envelope.header import Kind
from tests.support import EVERYTHING, HOUR_MS, T0, Authority, verified

SOAR = Authority("lasting").issue("soar-1", grants=EVERYTHING)


def action(target, **args):
    (type_,) = target
    return verified(
        SOAR, kind=Kind.ACTION, topic=f"deny.{type_}", to="all",
        records=[{"action": "deny", "target": target, "args": args}],
    )


def lasting(target, **args):
    return lasting_of(action_kept(action(target, **args).raw, ()))


ONE = {"ipv4_net": "192.0.2.1"}


def test_an_effect_is_the_action_and_the_target_and_other_arguments_are_variants_of_it():
    one = lasting(ONE)
    assert lasting(ONE, duration=7, response_requested="none")[:2] == one[:2]
    other = lasting(ONE, slpf={"direction": "ingress"})
    assert other.effect == one.effect and other.variant != one.variant
    assert lasting({"ipv4_net": "192.0.2.2"}).effect != one.effect
    assert lasting({"ipv4_net": "192.0.2.2"}).target != one.target == other.target and not one.undoes
    connection = {"protocol": "tcp", "dst_port": 443}
    first, second = ({"ipv4_connection": dict(pairs)} for pairs in (connection.items(), reversed(connection.items())))
    assert lasting(first) == lasting(second)


@pytest.mark.parametrize(
    ("args", "left_ms", "too_long"),
    [({}, None, False), ({"duration": 5_000}, 5_000, False), ({"duration": 0}, 0, False),
     ({"stop_time": T0 + 9_000}, 8_000, False), ({"stop_time": T0}, 0, False),
     ({"start_time": T0, "duration": 3_000}, 2_000, False), ({"duration": 7, "stop_time": T0 + 9_000}, 8_000, False),
     ({"duration": LEASE_MS_MAX}, LEASE_MS_MAX, False), ({"duration": LEASE_MS_MAX + 1}, LEASE_MS_MAX + 1, True)],
)
def test_how_long_it_lasts(args, left_ms, too_long):
    one = lasting(ONE, **args)
    assert one.left_ms(T0 + 1_000) == left_ms and one.ends == (left_ms is not None)
    assert (one.why_not(T0 + 1_000) is not None) == too_long


@pytest.mark.parametrize(
    ("args", "ms"),
    [({}, 0), ({"duration": HOUR_MS}, HOUR_MS), ({"stop_time": T0 + 9_000}, 9_000), ({"stop_time": 5}, 0),
     ({"duration": 10 * LEASE_MS_MAX}, LEASE_MS_MAX), ({"duration": -1}, 0), ({"duration": "1h"}, 0),
     ({"duration": True}, 0), ({"duration": 5, "x": "y" * 70_000}, 0)],
)
def test_what_a_relay_reads_of_it_and_what_it_cannot_read_is_nothing(args, ms):
    assert lasts_ms(action(ONE, **args)) == ms


def test_a_body_that_is_no_action_lasts_for_nothing():
    assert lasts_ms(verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=[{"args": [1]}])) == 0
