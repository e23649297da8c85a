from fabric.protocol.links.list_exchange import ListExchange
from tests.support import T0


def test_a_list_is_repeated_ever_more_seldom_until_the_peer_has_it():
    lists = ListExchange()
    assert not lists.is_due_again(), "none was sent"
    lists.sent()
    assert [ping for ping in range(1, 20) if lists.is_due_again()] == [1, 2, 4, 8, 16]
    lists.sent()
    assert lists.is_due_again(), "another one begins anew"
    lists.peer_has_it()
    assert not any(lists.is_due_again() for _ in range(10))


def test_what_the_peer_has_is_waited_for_from_the_first_thing_that_had_to_wait():
    lists = ListExchange()
    lists.opened(5)
    assert lists.theirs == 5 and not lists.is_overdue(4, T0 + 100_000, 1_000), "nothing had to wait"
    lists.awaited(T0)
    lists.awaited(T0 + 900)
    assert not lists.is_overdue(4, T0 + 1_000, 1_000) and lists.is_overdue(4, T0 + 1_001, 1_000)
    assert not lists.is_overdue(5, T0 + 1_001, 1_000), "it came"
    lists.awaited(T0 + 5_000)
    assert not lists.is_overdue(4, T0 + 5_500, 1_000), "what waits for the next one waits from then"
