"""What control points say that their own nodes did not let them do: counted, and believed of nobody else."""

from types import SimpleNamespace

import pytest

from fabric.protocol.access.permissions import DENIALS
from fabric.protocol.base.errors import Code
from fabric.protocol.relay.below.denials import Denials
from fabric.protocol.wire.frames import Role

CODE = min(DENIALS, key=lambda code: code.reason)
OTHER = next(code for code in Code if code not in DENIALS)
AT_ONCE_MAX = 10_000


@pytest.fixture
def relay():
    refused, counted = [], []
    port = SimpleNamespace(refuse=lambda link, problem, now_ms, ready: refused.append(problem.code))
    counters = SimpleNamespace(count=lambda name, reason, more: counted.append((name, reason, more)))
    return Denials(port, counters), refused, counted


def said(relay, role, *counts):
    relay[0].frame(SimpleNamespace(peer_role=role), counts, 0, None)
    return relay[1:]


def test_what_a_control_point_says_is_counted_up_to_a_bound(relay):
    counts = (CODE, 3), (CODE, AT_ONCE_MAX), (CODE, AT_ONCE_MAX + 1)
    refused, counted = said(relay, Role.POINT, *counts)
    assert refused == []
    assert counted == [("refused", CODE.reason, most) for most in (3, AT_ONCE_MAX, AT_ONCE_MAX)]


def test_what_is_no_denial_is_not_counted_and_what_follows_it_is(relay):
    assert said(relay, Role.POINT, (OTHER, 5), (CODE, 1)) == ([], [("refused", CODE.reason, 1)])


@pytest.mark.parametrize("role", [role for role in Role if role != Role.POINT])
def test_nobody_else_says_that(relay, role):
    assert said(relay, role, (CODE, 3)) == ([Code.WRONG_DIRECTION], [])
