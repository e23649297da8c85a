"""A control point's thread and its end: whoever waits for something is told, and nobody waits after it."""

import asyncio
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from fabric.edge.blocking import ControlPoint
from fabric.edge.loop import BOOK, EdgeLoop
from fabric.edge.publishing.publications import Publication
from fabric.edge.requesting.recorder import Recorder
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Ready
from fabric.protocol.vocabulary.severity import Lane
from tests.support import EVERYTHING, T0, Authority
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_its_thread_was_ended_by_a_function_of_the_program_every_call_says_so(identity, monkeypatch):
    point = ControlPoint(identity)
    point.on_refused(lambda *_: sys.exit(3))
    point._loop.start()
    waits = point.publish_later("detections.x", {"n": 1})
    point._loop._mailbox.call(lambda _now, _ready: point._loop.publisher.on_refused("", 1, None))
    assert waits.exception(10).code is Code.CLOSED and "SystemExit" in str(point._loop.ended)
    assert {code_of(call, point) for call in CALLS} == {Code.CLOSED}
    point._loop._thread.join(10)


def test_what_on_link_raises_does_not_end_the_connection(identity):
    point, called = ControlPoint(identity, outbox=identity.folder / "outbox"), []

    def raises(problem):
        called.append(problem)
        raise ValueError

    point.on_link(raises)
    point._loop.start()
    point._loop._mailbox.call(lambda _now, _ready: point._loop.status.is_attached())
    assert point.publish("detections.x", {"n": 1}) and called[0] is None
    point.close()
    # Gone since nothing answers there, or since it was closed, whichever came first; and told once.
    assert [each.code in (Code.UNREACHABLE, Code.CLOSED) for each in called[1:]] == [True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_who_is_told_of_a_refusal_raises_all_others_are_told_of_the_end(identity, monkeypatch):
    """What it was told of may be lost to it: its source does not pass it."""
    point = ControlPoint(identity, outbox=identity.folder / "outbox")
    monkeypatch.setattr(point._loop, "_thread", thread := threading.Thread(target=point._loop._run, daemon=True))
    bad, good = ({"n": object()}, ("log", "1")), ({"n": 1}, ("log", "2"))
    pair = [Publication("detections.x", content, position, {}) for content, position in (bad, good)]

    def raises(_number, _error):
        raise ValueError

    manies = []
    point._loop._mailbox.call(lambda _now, _ready: manies.append(point.publish_each_later(pair, tell=raises)))
    point._loop._mailbox.call(lambda _now, _ready: manies.append(point.publish_later("detections.x", {"n": 2})))
    point._loop.intake.keeps(SimpleNamespace(check_source=lambda _: None, position=lambda _: None))
    point._loop.start()
    thread.join(10)
    assert [outcome.code for outcome in manies[0].result(0)] == [Code.BAD_INPUT, Code.CLOSED]
    assert manies[1].exception(0).code is Code.CLOSED and point.position_of("log") is None


def test_what_is_no_position_or_source_is_refused_where_it_is_given(identity):
    point = ControlPoint(identity, outbox=identity.folder / "outbox")
    point._loop.start()
    for call in [
        lambda point: point.pass_over("log", b"1"), lambda point: point.pass_over(1, "1"),
        lambda point: point.position_of(None), lambda point: point.publish("detections.x", {}, position=("log", 1)),
        lambda point: point.publish_many("detections.x", [{}], positions=5),
        lambda point: point.publish_many("detections.x", [{}], positions="5"),
        lambda point: point.drain(float("nan")),
    ]:
        assert code_of(call, point) is Code.USAGE
    point.pass_over("log", "1")
    assert point.publish("detections.x", {}, position=("log", "2"))
    assert point.position_of("log") == "2" and point._loop.ended is None
    point.close()


@pytest.mark.parametrize("bound_s", [float("inf"), 10**400, 1e12, None])
def test_a_bound_beyond_all_that_can_be_waited_for_is_none(identity, bound_s):
    point = ControlPoint(identity, outbox=identity.folder / "outbox")
    point._loop.start()
    assert point.publish("detections.x", {}, wait_s=bound_s)
    point._loop.lanes.counts.without_place["other"] = 1
    flushes = threading.Thread(target=point.flush, args=(bound_s,))
    flushes.start()
    flushes.join(0.05)
    assert flushes.is_alive()
    del point._loop.lanes.counts.without_place["other"]
    point._loop.lanes.counts.look()
    flushes.join(10)
    assert not flushes.is_alive()
    point.close(bound_s)


def in_a_fork(call):
    """What it returns there, as words."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # whoever waits there for ever is ended
        try:
            os.write(writes, str(call()).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        words = told.read()
    os.waitpid(child, 0)
    return words


def test_in_a_fork_every_call_says_whose_it_is_and_its_own_process_goes_on(identity):
    point = ControlPoint(identity)
    point._loop.start()
    waits = point.publish_later("detections.x", {})
    calls = [*CALLS, lambda point: point.publish_many("detections.x", [{}])]

    def there():
        codes = {code_of(call, point) for call in calls}
        point.flush()
        point.close()
        return codes, point.waiting, point._leaving._forgotten()

    is_held, is_over = threading.Event(), threading.Event()

    def hold():
        with point._loop._mailbox._lock, point._loop.lanes.counts.steady, point._loop.status.connected._condition:
            is_held.set()
            is_over.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    words = in_a_fork(there)
    is_over.set()
    holder.join(10)
    assert words == str(({Code.CLOSED}, 0, None))
    assert point.waiting == 1 and not waits.done() and point._loop.ended is None
    with pytest.raises(FabricError):
        point.close(0.0)


def test_what_was_created_before_a_fork_begins_in_it(identity):
    point = ControlPoint(identity, outbox=identity.folder / "outbox")

    def there():
        point._loop.start()
        return point.publish("detections.x", {}) != "" and point.close()

    assert in_a_fork(there) == "None"
    point._loop.start()
    assert point.waiting == 1 and point.publish("detections.x", {})
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
    monkeypatch.setattr("fabric.edge.publishing.lanes.WAITING_MAX", 1)

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


def test_what_was_left_for_the_thread_before_something_was_sealed_is_run_in_the_same_turn(identity, monkeypatch):
    """An answer may come between the look at the mailbox and the sealing: the ledger keeps it before it leaves."""
    point = ControlPoint(identity)
    loop, ran = point._loop, []
    loop._dialling.open()
    compose = loop.publisher.compose

    def answer_comes(now_ms, ready):
        loop._mailbox.later(lambda _now_ms, _ready: ran.append("kept"))
        compose(now_ms, ready)

    monkeypatch.setattr(loop.publisher, "compose", answer_comes)
    loop._turn(None, loop.clock.now_ms())
    assert ran == ["kept"]
    loop._dialling.close()
    loop._mailbox.close()


def test_an_idle_one_has_few_turns_and_still_looks_for_what_never_ends(identity, monkeypatch):
    loop = ControlPoint(identity)._loop
    loop._dialling.open()
    looks, acts = [], [False, False, True]
    monkeypatch.setattr(loop._dialling, "_has_to_act", lambda now_ms: looks.append(now_ms) or acts[len(looks) - 1])
    monkeypatch.setattr(loop.core, "quiet_until_ms", lambda now_ms: T0 + 1_700)
    monkeypatch.setattr(loop._dialling, "next_wake_ms", lambda now_ms: None)
    ready = Ready(wake_at_ms=T0 + 250)
    assert loop._wait_ms(ready, T0, nothing_came=True) == 1_700
    assert loop._wait_ms(ready, T0, nothing_came=False) == 1_700
    loop.lanes.counts.under_way = 1
    assert loop._wait_ms(ready, T0, nothing_came=False) == 250, "what came may have made room for it"
    assert loop._wait_ms(Ready(wake_at_ms=T0), T0, nothing_came=True) == 0
    loop.publisher.has_more = True
    assert loop._wait_ms(ready, T0, nothing_came=True) == 0, "what a burst left is sealed at once"
    poller = SimpleNamespace(poll=lambda wait_ms: [], register=lambda socket, flags: None)
    assert loop._dialling.wait(poller, 60_000) == set()
    assert len(looks) == 3, "it acts at once, and not when the wait is over"
    loop._dialling.close()
    loop._mailbox.close()


def test_who_collects_has_its_book_before_it_dials(identity, monkeypatch):
    """What a relay kept comes with the connection, and is acknowledged where nobody has a book for it."""
    done = []
    monkeypatch.setattr(Recorder, "open", lambda _recorder: done.append("book"))
    monkeypatch.setattr(EdgeLoop, "_serve", lambda _loop: done.append("serves"))
    loop = EdgeLoop(identity, collects=True)
    loop.start()
    loop._thread.join(10)
    assert done == ["book", "serves"]


def test_who_cannot_open_the_book_to_collect_in_does_not_begin(identity):
    (identity.folder / BOOK).write_bytes(b"no database" * 1_000)
    loop = EdgeLoop(identity, collects=True)
    with pytest.raises(FabricError) as raised:
        loop.start()
    assert raised.value.code is Code.BOOK_FAILED


@pytest.mark.parametrize(("behind_ms", "words"), [(3_600_000, "3,600 s behind"), (-90_000, "90 s ahead of")])
def test_who_executes_nothing_because_of_its_clock_says_so(identity, monkeypatch, behind_ms, words):
    loop = ControlPoint(identity)._loop
    loop.status.is_connected()
    monkeypatch.setattr(loop.core, "time", SimpleNamespace(behind_ms=behind_ms, suspect=True))
    assert loop.held_up is None, "it executes nothing anyhow"
    loop.attaching.take_action = print
    assert loop.held_up.code is Code.CLOCK_SUSPECT and words in loop.held_up.detail
    loop.core.time.suspect = False
    assert loop.held_up is None


def test_that_its_relay_knows_another_log_of_this_identity_is_said_once(identity, monkeypatch):
    loop, said = ControlPoint(identity)._loop, []
    monkeypatch.setattr(loop, "_log", SimpleNamespace(warning=lambda event, **fields: said.append(fields)))
    good, other = ({"number": 1}, {"number": 1, "code": Code.FORKED_LOG.label})
    loop._look_for_a_copy([Audited(kinds.LOG_WITNESSED, "hq", good)])
    assert not said
    for _ in range(2):
        loop._look_for_a_copy([Audited(kinds.LOG_WITNESSED, "hq", other)])
    assert [(fields["code"], fields["relay"]) for fields in said] == [("E226", "hq")]
