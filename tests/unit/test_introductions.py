from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX
from fabric.protocol.links.introductions import Introductions


def numbered(number):
    return number.to_bytes(32, "big")


def test_a_peer_is_told_once():
    told = Introductions()
    assert [told.due(numbered(n)) for n in (1, 2, 1)] == [True, True, False]


def test_what_it_may_have_forgotten_it_is_told_again():
    told = Introductions()
    for number in range(CREDENTIALS_CACHED_MAX):
        assert told.due(numbered(number))
    assert not told.due(numbered(0)), "it was asked for just now"
    assert told.due(numbered(CREDENTIALS_CACHED_MAX)) and len(told) == CREDENTIALS_CACHED_MAX
    assert told.due(numbered(1)) and not told.due(numbered(0))


def test_what_it_says_that_it_does_not_know_it_is_told_again():
    told = Introductions()
    for number in (1, 2, 3):
        told.due(numbered(number))
    told.forgotten(numbered(2))
    told.forgotten(numbered(9))
    assert [told.due(numbered(n)) for n in (1, 2, 3)] == [False, True, False]
    told.all_forgotten()
    assert [told.due(numbered(n)) for n in (1, 2, 3)] == [True, True, True]
