"""The end of a connection: each listener hears of it once, whenever it came."""

from fabric.edge.connection.end_of_connection import EndOfConnection
from fabric.protocol.base.errors import Code, FabricError

ENDED = FabricError(Code.CLOSED)


def test_each_listener_is_told_once_and_the_program_last():
    ending, told = EndOfConnection(), []
    ending.call(told.append)
    ending.when_over(lambda: told.append("first"))
    ending.when_over(lambda: told.append("second"))
    ending.tell(ENDED)
    assert told == ["first", "second", ENDED]


def test_who_comes_after_the_end_is_told_at_once():
    ending, told = EndOfConnection(), []
    ending.tell(ENDED)
    ending.when_over(lambda: told.append("late"))
    assert told == ["late"]


def test_who_waits_no_more_is_not_told_and_may_say_so_twice():
    ending, told = EndOfConnection(), []

    def tell():
        told.append("told")

    ending.when_over(tell)
    for _ in range(2):
        ending.not_when_over(tell)
    ending.tell(ENDED)
    assert told == []
