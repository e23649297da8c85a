"""Who is away, for how long it is waited for, and what it is to be told."""

from fabric.protocol.base.limits import DURABLE_SESSIONS_MAX, SESSION_GRACE_MS, SESSIONS_READING_MAX
from fabric.protocol.custody.sessions import Sessions, is_point, node_of, point_session
from fabric.protocol.trust.credentials import Keep
from tests.support import T0

ONE, TWO = point_session("analyst", b"1" * 16), point_session("analyst", b"2" * 16)
DAY = 86_400_000


def test_a_destination_says_whose_it_is():
    assert is_point(ONE) and not is_point("relay:mid") and not is_point("^") and node_of(ONE) == "analyst"
    assert ONE != TWO


def test_one_that_vanished_has_a_grace_and_a_durable_one_its_own_time():
    sessions = Sessions()
    sessions.attached(TWO, DAY)
    for destination in (ONE, TWO):
        sessions.left(destination, T0)
    assert sessions.overdue(T0 + SESSION_GRACE_MS) == []
    assert sessions.overdue(T0 + SESSION_GRACE_MS + 1) == [ONE]
    assert sessions.overdue(T0 + DAY + 1) == [ONE, TWO]
    sessions.came(TWO)
    assert sessions.overdue(T0 + DAY + 1) == [ONE]


def test_one_node_has_a_bounded_number_here_that_subscribe():
    sessions = Sessions()
    every = [point_session("analyst", bytes([n]) * 16) for n in range(SESSIONS_READING_MAX + 1)]
    for destination in every[1:]:
        sessions.came(destination)
        assert sessions.may_read(destination)
        sessions.attached(destination, 0, reads=True)
    sessions.came(every[0])
    assert not sessions.may_read(every[0]) and sessions.may_read(every[1])
    assert sessions.may_read(point_session("other", bytes(16)))
    sessions.attached(every[2], 0)
    assert sessions.may_read(every[0]), "one of them reads no more"
    sessions.attached(every[2], 0, reads=True)
    sessions.left(every[3], T0)
    assert sessions.may_read(every[0]), "one is away"
    assert sessions.knows(every[3]) and sessions.knows(every[1])
    sessions.forget(every[3])
    assert not sessions.knows(every[3])


def test_leaving_again_does_not_begin_the_time_again():
    sessions = Sessions()
    sessions.left(ONE, T0)
    sessions.left(ONE, T0 + SESSION_GRACE_MS)
    assert sessions.overdue(T0 + SESSION_GRACE_MS + 1) == [ONE]


def test_an_attachment_that_says_it_no_more_ends_it():
    sessions = Sessions()
    sessions.attached(ONE, DAY)
    assert sessions.is_durable(ONE)
    sessions.attached(ONE, 0)
    assert not sessions.is_durable(ONE)


def test_of_too_many_those_go_that_are_away_the_longest_and_none_that_is_there():
    sessions = Sessions()
    every = [point_session("analyst", bytes([n]) * 16) for n in range(DURABLE_SESSIONS_MAX + 2)]
    for n, destination in enumerate(every):
        sessions.attached(destination, DAY)
        if n != 0:
            sessions.left(destination, T0 - n)
    assert sessions.surplus("analyst") == [every[-1], every[-2]] and sessions.surplus("other") == []


def test_what_a_durable_one_lost_is_counted_until_it_is_told():
    sessions = Sessions()
    sessions.attached(ONE, DAY)
    assert sessions.lose(TWO, 3) == 0 and sessions.gaps() == [], "only a durable one is told"
    assert [sessions.lose(ONE, 3), sessions.lose(ONE, 4)] == [3, 7]
    assert sessions.gaps() == [(ONE, 7)]
    sessions.told(ONE)
    assert sessions.gaps() == []
    sessions.restore_lost(ONE, 5)
    sessions.forget(ONE)
    assert sessions.gaps() == [] and not sessions.is_durable(ONE)


def test_how_long_one_is_waited_for_is_no_more_than_its_credential_says_and_a_new_one_counts_at_once():
    sessions = Sessions()
    sessions.attached(ONE, DAY, Keep(2**30, 1_000))
    sessions.left(ONE, T0)
    assert sessions.keep(ONE) == Keep(2**30, 1_000) and sessions.keep(TWO) == Keep()
    assert sessions.overdue(T0 + 1_001) == [ONE]
    sessions.attached(ONE, DAY, Keep(2**30, 2_000))
    assert sessions.overdue(T0 + 1_001) == [] and sessions.overdue(T0 + 2_001) == [ONE]


def test_a_durable_one_waits_where_its_credential_says_so_and_until_it_is_forgotten():
    sessions = Sessions()
    sessions.attached(ONE, 0, Keep(2**20, DAY, waits=True))
    assert not sessions.waits(ONE) and not sessions.anybody_waits, "it is not durable"
    sessions.attached(ONE, DAY, Keep(2**20, DAY, waits=True))
    sessions.left(ONE, T0)
    assert sessions.waits(ONE) and not sessions.waits(TWO) and sessions.anybody_waits
    sessions.attached(ONE, DAY, Keep(2**20, DAY))
    assert not sessions.waits(ONE), "a new credential counts at once"
    sessions.attached(ONE, DAY, Keep(2**20, DAY, waits=True))
    sessions.forget(ONE)
    assert not sessions.anybody_waits


def test_the_other_sessions_of_a_node_are_those_that_are_here_or_away():
    sessions = Sessions()
    sessions.came(ONE)
    sessions.left(TWO, T0)
    sessions.left(point_session("other", b"3" * 16), T0)
    assert sessions.siblings(ONE) == [TWO] and sessions.siblings(TWO) == [ONE]
