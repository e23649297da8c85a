"""A control point's thread and its end: whoever waits for something is told, and nobody waits after it."""

import asyncio
import socket
import threading
from dataclasses import replace

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Lane
from tests.support import EVERYTHING, Authority
from tests.unreachable import unreachable_relay

AUTHORITY = Authority("edge-loop")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


@pytest.fixture
def identity(tmp_path):
    """Of a control point whose relay does not answer."""
    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        yield identity


CALLS = [
    lambda point: point.publish("detections.x", {}),
    lambda point: point.subscribe("detections.>"),
    lambda point: list(point.request("deny", "ipv4_net=192.0.2.1", to="all")),
    lambda point: point.on_action("deny", "ipv4_net")(print),
    lambda point: point.forget("detections.>"),
    lambda point: point.wait_ready(),
]


def code_of(call, point):
    with pytest.raises(FabricError) as raised:
        call(point)
    return raised.value.code


def test_after_its_program_closed_it_every_call_says_so(identity):
    point = ControlPoint(identity)
    ended = []
    point.on_end(ended.append)
    point._loop.start()
    point.close()
    assert {code_of(call, point) for call in CALLS} == {Code.CLOSED}
    assert [error.code for error in ended] == [Code.CLOSED]


def test_after_its_disk_failed_every_call_says_that(identity):
    point = ControlPoint(identity, outbox=identity.folder / "outbox")
    point._loop.start()
    closed = threading.Event()

    def close(_now, _ready):
        point._loop._outbox._spool._db.close()
        closed.set()

    point._loop._mailbox.call(close)
    assert closed.wait(10)
    assert code_of(lambda point: point.publish("detections.x", {}), point) is Code.SPOOL_FAILED
    assert {code_of(call, point) for call in CALLS} == {Code.SPOOL_FAILED}
    point.close()


def test_who_waits_for_a_subscription_to_be_in_force_is_told_of_the_end(identity, monkeypatch):
    """No relay confirms it, and nothing else would end the wait."""
    point = ControlPoint(identity)
    incoming = point._loop.deliveries.subscriptions
    add = incoming.add

    def add_and_stop(subscription):
        point._loop._stopping = True
        return add(subscription)

    monkeypatch.setattr(incoming, "add", add_and_stop)
    point._loop.start()
    assert code_of(lambda point: next(point.subscribe("detections.>")), point) is Code.CLOSED


def test_who_is_cancelled_while_there_is_no_room_is_never_taken_and_until_then_holds_back_its_source(
    identity, monkeypatch
):
    monkeypatch.setattr("fabric.edge.publishing.publisher.WAITING_MAX", 1)

    async def program():
        point = AsyncControlPoint(identity, outbox=identity.folder / "outbox")
        loop = point._loop
        loop.core.custody.lane_bytes[Lane.LOW] = 1 << 40
        await asyncio.to_thread(loop.start)
        first, second = (
            asyncio.ensure_future(point.publish("detections.x", {"n": n}, severity="low", position=("log", str(n))))
            for n in (1, 2)
        )
        await asyncio.sleep(0)  # they begin, in this order
        await point.publish("detections.x", {"n": 3}, severity="high", position=("log", "3"))
        assert point.position_of("log") is None
        for task in (second, first):
            task.cancel()
        await asyncio.wait([first, second])
        loop.core.custody.lane_bytes[Lane.LOW] = 0
        await point.publish("detections.x", {"n": 4}, severity="low", position=("log", "4"))
        assert point.position_of("log") == "4"
        while point.waiting != 2:  # what was cancelled is let go when its turn would have come
            await asyncio.sleep(0.01)
        await point.close()

    asyncio.run(asyncio.wait_for(program(), 30))


def test_a_first_connection_that_is_cut_off_is_made_again(identity):
    """Somebody in between hangs up in the handshake: whoever waits is not told that the key is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as between:
        between.settimeout(10)
        relay = replace(identity.relay, address=f"127.0.0.1:{between.getsockname()[1]}")
        point = ControlPoint(replace(identity, relay=relay))
        point._loop.start()
        for _ in range(2):  # that there is a second one is what this is about
            other, _ = between.accept()
            other.recv(10)
            other.close()
        assert not point._loop.status._first_word.is_set()
        point.close()
