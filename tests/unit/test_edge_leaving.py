"""Leaving: what is waited for, and what is told of what will not come."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from tests.support import EVERYTHING, Authority
from tests.unreachable import unreachable_relay

AUTHORITY = Authority("leaving")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


@pytest.fixture
def identity(tmp_path):
    """Of a control point whose relay does not answer."""
    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        yield identity


@pytest.fixture
def point(identity):
    point = ControlPoint(identity)
    point._loop.start()
    yield point
    point._leave_at_once()


@pytest.fixture
def told(point):
    """How many records the log said that were left."""
    left = []
    point._leaving._log = SimpleNamespace(warning=lambda _, records: left.append(records))
    return left


def test_what_is_not_held_is_counted_and_told_once(point):
    futures = [point.publish_later("detections.x", {"n": n}) for n in range(1_000)]
    with pytest.raises(FabricError) as flushed:
        point.flush(0.05)
    assert flushed.value.code is Code.TIMED_OUT and "1000 record(s)" in flushed.value.detail
    with pytest.raises(FabricError) as left:
        point.close(0.05)
    assert left.value.code is Code.NOT_HELD and "1000 record(s)" in left.value.detail and left.value.next_step
    assert {future.exception().code for future in futures} == {Code.CLOSED}
    point.close()


def test_of_whom_its_program_knows_already_nothing_is_told_again(point):
    looked = []
    point.publish_later("detections.x", {"n": 1}).add_done_callback(looked.append)
    # It may be under way by now, and is waited for then.
    left = 2 if point.publish_later("detections.x", {"n": 2}).cancel() else 3

    def publish():
        with pytest.raises(FabricError):
            point.publish("detections.x", {"n": 3})

    waits = threading.Thread(target=publish)
    waits.start()
    while point.waiting != left:
        time.sleep(0.01)
    point._loop.stop()
    waits.join(10)
    point.close()
    assert len(looked) == 1


def test_leaving_by_an_error_waits_for_nothing(point, told):
    point.publish_later("detections.x", {})
    began = time.monotonic()
    point.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert time.monotonic() - began < 5 and told == [1]


def test_ctrl_c_while_it_waits_ends_the_wait(point, monkeypatch, told):
    point.publish_later("detections.x", {})
    waits = iter([True])

    def wait(_timeout_s):
        if next(waits, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(point._loop.lanes.counts, "wait_settled", wait)
    with pytest.raises(KeyboardInterrupt):
        point.close()
    assert not point._loop.runs and told == [1]


def test_the_end_of_the_connection_ends_the_wait_and_says_why(point):
    point.publish_later("detections.x", {})

    def end(_now, _ready):
        raise FabricError(Code.REVOKED, "zeek-1")

    threading.Timer(0.2, point._loop._mailbox.call, (end,)).start()
    began = time.monotonic()
    with pytest.raises(FabricError) as left:
        point.close(60)
    assert time.monotonic() - began < 10
    assert left.value.code is Code.NOT_HELD and "1 record(s)" in left.value.detail and "E205" in left.value.detail


def test_with_an_outbox_it_is_held_here(identity):
    point = ControlPoint(identity, outbox=identity.folder / "outbox")
    point._loop.start()
    for n in range(1_000):
        point.publish_later("detections.x", {"n": n})
    point.flush(20)
    point.close(20)
    again = ControlPoint(identity, outbox=identity.folder / "outbox")
    again._loop.start()
    assert again.waiting == 1_000
    again.close()


def test_what_waits_for_room_in_another_thread_is_waited_for_too(identity, monkeypatch):
    monkeypatch.setattr("fabric.edge.publishing.lanes.WAITING_MAX", 1)
    monkeypatch.setattr("fabric.edge.publishing.in_flight._ENVELOPES_MAX", 0)  # nothing is ever taken from what waits
    point = ControlPoint(identity)
    point._loop.start()
    told = []

    def publish():
        try:
            point.publish("detections.x", {})
        except FabricError as error:
            told.append(error.code)

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    while point._loop.lanes.counts.owed < 3:
        time.sleep(0.01)
    with pytest.raises(FabricError) as flushed:
        point.flush(0.05)
    assert "3 record(s)" in flushed.value.detail
    point._leave_at_once()
    for thread in threads:
        thread.join(10)
    assert told == [Code.CLOSED] * 3


def test_nothing_is_taken_any_more_once_it_leaves(point):
    point.close(0)
    with pytest.raises(FabricError) as refused:
        point.publish_later("detections.x", {})
    assert refused.value.code is Code.CLOSED


def test_one_that_never_connected_is_left_at_once(identity):
    point = ControlPoint(identity)
    future = point.publish_later("detections.x", {})
    with pytest.raises(FabricError) as left:
        point.close()
    assert left.value.code is Code.NOT_HELD and future.done()


def test_run_forever_ends_with_the_connection(point, identity):
    threading.Timer(0.2, point._leave_at_once).start()
    point.run_forever()
    other = ControlPoint(identity)
    other._loop.start()

    def end(_now, _ready):
        raise FabricError(Code.REVOKED, "zeek-1")

    other._loop._mailbox.call(end)
    with pytest.raises(FabricError) as raised:
        other.run_forever()
    assert raised.value.code is Code.REVOKED and other._loop.ending._listeners == []


def test_in_asyncio_too(identity):
    async def program():
        point = AsyncControlPoint(identity)
        await asyncio.to_thread(point._loop.start)
        tasks = [asyncio.ensure_future(point.publish("detections.x", {"n": n})) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(FabricError) as flushed:
            await point.flush(0.05)
        assert "3 record(s)" in flushed.value.detail
        closing = asyncio.ensure_future(point.close(60))
        await asyncio.sleep(0.1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not point._loop.runs
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error.code for error in told] == [Code.CLOSED] * 3, "each that waited is told"
        await asyncio.wait_for(point.run_forever(), 5)

    asyncio.run(asyncio.wait_for(program(), 30))


# -- what a program gives that nobody can mean ----------------------------------------------------------------

WRONG = {
    "severity=3.5": (lambda p: p.publish("detections.x", {}, severity=3.5), Code.USAGE),
    "severity=True": (lambda p: p.publish("detections.x", {}, severity=True), Code.USAGE),
    "severity=7": (lambda p: p.publish("detections.x", {}, severity=7), Code.USAGE),
    "phase=7": (lambda p: p.publish("detections.x", {}, phase=7), Code.USAGE),
    "ttl=1.5": (lambda p: p.publish("detections.x", {}, ttl=1.5), Code.USAGE),
    "ttl=True": (lambda p: p.publish("detections.x", {}, ttl=True), Code.USAGE),
    "label=3": (lambda p: p.publish("detections.x", {}, label=3), Code.BAD_LABEL),
    "labels=[]": (lambda p: p.publish("detections.x", {}, labels=["a"]), Code.BAD_INPUT),
    "labels={1: }": (lambda p: p.publish("detections.x", {}, labels={1: "red"}), Code.BAD_INPUT),
    "topic": (lambda p: p.publish(None, {}), Code.USAGE),
    "content": (lambda p: p.publish("detections.x", "text"), Code.BAD_INPUT),
    "content=None": (lambda p: p.publish("detections.x", None), Code.BAD_INPUT),
    "a key that is a number": (lambda p: p.publish("detections.x", {1: 2}), Code.BAD_INPUT),
    "a key that is None": (lambda p: p.publish("detections.x", {None: 2}), Code.BAD_INPUT),
    "a key that is bytes": (lambda p: p.publish("detections.x", {b"a": 2}), Code.BAD_INPUT),
    "position": (lambda p: p.publish("detections.x", {}, position="queue"), Code.USAGE),
    "position of numbers": (lambda p: p.publish("detections.x", {}, position=("queue", 4711)), Code.USAGE),
    "wait_s": (lambda p: p.publish("detections.x", {}, wait_s="2s"), Code.USAGE),
    "pattern": (lambda p: p.subscribe(7), Code.USAGE),
    "on_message": (lambda p: p.on_message("detections.>", None), Code.USAGE),
    "action": (lambda p: p.on_action(None, "ipv4_net")(print), Code.USAGE),
    "handler": (lambda p: p.on_action("deny", "ipv4_net")(None), Code.USAGE),
    "revert": (lambda p: p.on_action("deny", "ipv4_net", revert="undo")(print), Code.USAGE),
    "revert and ends_itself": (
        lambda p: p.on_action("deny", "ipv4_net", revert=print, ends_itself=True)(print), Code.USAGE
    ),
    "to": (lambda p: list(p.request("deny", "ipv4_net=192.0.2.1", to=None)), Code.USAGE),
    "target": (lambda p: list(p.request("deny", 7, to="all")), Code.USAGE),
    "args": (lambda p: list(p.request("deny", "ipv4_net=192.0.2.1", to="all", args=[1])), Code.BAD_INPUT),
    "flush": (lambda p: p.flush("1s"), Code.USAGE),
    "close": (lambda p: p.close(-1), Code.USAGE),
}


@pytest.mark.parametrize(("call", "code"), WRONG.values(), ids=WRONG)
def test_the_wrong_kind_of_thing_is_our_error_and_says_what_to_give(point, call, code):
    with pytest.raises(FabricError) as raised:
        call(point)
    assert raised.value.code is code and raised.value.next_step and not point.waiting


@pytest.mark.parametrize("actions", [0, -1, 1.5, True, "8", 257])
def test_how_many_actions_at_once(identity, actions):
    with pytest.raises(FabricError) as raised:
        ControlPoint(identity, actions_at_once=actions)
    assert raised.value.code is Code.USAGE


def test_an_async_function_needs_the_face_that_can_run_it(point):
    async def handler(_action):
        return None

    with pytest.raises(FabricError) as raised:
        point.on_action("deny", "ipv4_net")(handler)
    assert raised.value.code is Code.USAGE and "fabric.edge.ControlPoint" in raised.value.detail
