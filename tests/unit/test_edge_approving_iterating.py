"""What a program that approves iterates over, on both faces."""

import asyncio

import pytest

from fabric.edge.approving.iterating import requests, requests_async
from fabric.protocol.base.errors import Code, FabricError
from tests.approving import ACTION
from tests.edge_approving import Approving, asked, said

ID = ACTION.leaf.hex()


@pytest.fixture
def program():
    made = Approving()
    yield made
    made.close()


class Turning:
    """The connection's thread has a turn after each call."""

    def __init__(self, program):
        self.program = program

    def watch(self, inbox):
        self.program.approver.watch(inbox)
        self.program.turn()

    def unwatch(self, inbox):
        self.program.approver.unwatch(inbox)
        self.program.turn()


def test_what_is_open_comes_and_then_the_time_is_over(program):
    program.hear(said(asked()))
    assert [one.id for one in requests(Turning(program), 0.0)] == [ID]
    assert list(requests(Turning(Approving()), 0.0)) == []


def test_who_breaks_out_gets_no_more(program):
    program.hear(said(asked()))
    iterator = requests(Turning(program), None)
    assert next(iterator).id == ID
    iterator.close()
    assert program.approver._inboxes == []


def test_what_ended_the_connection_is_raised(program):
    iterator = requests(Turning(program), None)
    program.hear(said(asked()))
    assert next(iterator).id == ID
    program.approver.end(FabricError(Code.CLOSED))
    with pytest.raises(FabricError):
        next(iterator)


def test_in_asyncio_it_waits_for_what_comes(program):
    async def main():
        found = requests_async(program.approver, 20.0)
        first = asyncio.ensure_future(anext(found))
        while not program.mailbox.waits:
            await asyncio.sleep(0)
        program.turn()
        assert not first.done()
        program.hear(said(asked()))
        assert (await first).id == ID
        await found.aclose()
        program.turn()
        return [one async for one in requests_async(Turning(program), 0.0)]

    assert [one.id for one in asyncio.run(main())] == [ID]
    assert program.approver._inboxes == []
