"""What a node does with the time that it knows: the component alone, told by hand what its parent says."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CLOCK_JUMP_MS, SKEW_MS
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Role
from tests.support import DAY_MS, HOUR_MS, T0, Authority

AUTHORITY = Authority("timekeeper")
PARENT, ME = AUTHORITY.issue("hq", NodeKind.RELAY).credential, AUTHORITY.issue("mid", NodeKind.RELAY).credential
OVER = AUTHORITY.issue("mid", NodeKind.RELAY, not_before_ms=T0 - 3 * DAY_MS, not_after_ms=T0 - 2 * DAY_MS).credential
EXPIRED = Reject(Code.CREDENTIAL_EXPIRED)


class Stage:
    def __init__(self, me=ME, has_parents=True):
        self.counted = []
        self.time = Timekeeper(me, SKEW_MS, lambda *what: self.counted.append(what), has_parents=has_parents)

    def hear(self, told_ms, now_ms=T0, link=1):
        self.time.hear(link, PARENT, now_ms, told_ms, now_ms)


@pytest.fixture
def stage():
    return Stage()


def test_before_it_is_told_the_time_it_tells_nobody_and_refuses_nothing_for_good(stage):
    time = stage.time
    assert time.unknown and not time.measured and time.to_tell(T0) == 0 and time.now(T0) == T0
    assert time.by_age_only(T0) and not time.by_age_only(T0, to_execute=True)
    assert time.for_now(EXPIRED).code is Code.BUSY
    assert time.for_now(Reject(Code.REVOKED)).code is Code.REVOKED and time.for_now(None) is None


def test_once_told_it_tells_it_and_refuses_by_it(stage):
    stage.hear(T0 + 50)
    time = stage.time
    assert time.measured and not time.unknown and time.to_tell(T0) == time.now(T0) == T0 + 50
    assert not time.by_age_only(T0) and time.for_now(EXPIRED) is EXPIRED and time.behind_ms == 50


def test_a_root_knows_the_time_until_it_has_a_parent():
    root = Stage(has_parents=False).time
    assert not root.unknown and root.to_tell(T0) == T0 and root.for_now(EXPIRED) is EXPIRED
    root.has_parent()
    assert root.unknown


def test_what_cannot_be_is_not_believed_and_counted(stage):
    stage.hear(PARENT.not_after_ms + DAY_MS)
    assert stage.counted == [("time_refused", "credential_expired")] and stage.time.unknown


def test_a_clock_that_is_far_from_the_root_s_is_suspect_until_the_machine_s_is_put_right(stage):
    stage.hear(T0 + HOUR_MS)
    time = stage.time
    assert time.suspect and time.behind_ms == HOUR_MS and time.clocks(T0) == (T0 + HOUR_MS, T0)
    assert time.by_age_only(T0) and time.by_age_only(T0, to_execute=True)
    time.wall_is_ahead(HOUR_MS)
    assert not time.suspect and time.own(T0) == T0 + HOUR_MS == time.now(T0)
    assert time.by_age_only(T0), "others may still go by the other one"
    assert not time.by_age_only(T0 + CLOCK_JUMP_MS)


def test_what_a_parent_told_that_has_gone_is_only_for_signing(stage):
    stage.hear(T0 + HOUR_MS)
    stage.time.lost(1)
    assert stage.time.doubted and stage.time.now(T0) == T0 and stage.time.to_sign(T0) == T0 + HOUR_MS


def test_another_parent_s_link_ends_nothing(stage):
    stage.hear(T0 + HOUR_MS)
    stage.time.lost(2)
    assert stage.time.measured
    stage.time.follow(2)
    assert stage.time.doubted and not stage.time.measured


def test_a_parent_is_judged_by_this_machine_s_clock_too(stage):
    stage.hear(T0 + HOUR_MS)
    stage.time.lost(1)
    stage.hear(T0 + 50)
    for role in (Role.CHILD, Role.POINT):
        assert stage.time.clocks_in_handshake(T0 + 7, role, T0) == (T0 + 50,)
    assert stage.time.clocks_in_handshake(T0 + 7, Role.PARENT, T0) == (T0 + 50, T0)


def test_where_this_node_itself_is_over_by_its_clock_a_parent_is_judged_by_what_it_says():
    time = Stage(OVER).time
    assert time.clocks_in_handshake(T0 + 7, Role.PARENT, T0) == (T0, T0 + 7)
    time.renewed(ME)
    assert time.clocks_in_handshake(T0 + 7, Role.PARENT, T0) == (T0,)
