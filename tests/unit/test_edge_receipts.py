"""Many records, one receipt: each has its own outcome, and what is refused hinders no other."""

import asyncio
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge import ControlPoint as Async
from fabric.edge.blocking import ControlPoint
from fabric.edge.publishing import lanes
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.publications import Publication
from fabric.edge.publishing.receipts import Many, Receipt, begin_sending, refuse, succeed
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.interrupting import at_each_place
from tests.support import EVERYTHING, T0, Authority
from tests.unreachable import unreachable_relay

AUTHORITY = Authority("many")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
WAIT_S = 30


@pytest.fixture
def point(tmp_path):
    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        point = ControlPoint(identity, outbox=tmp_path / "outbox")
        point._loop.start()
        yield point
        point._leave_at_once()


def places(count):
    return [("log", str(n)) for n in range(count)]


def test_each_has_its_id_in_order_and_the_place_of_the_last_is_kept(point):
    records = [{"n": n, "in": {"x": n}} for n in range(1_000)]
    ids = point.publish_many("detections.x", records, positions=places(1_000))
    assert len(set(ids)) == 1_000 and ids[0].endswith(".0") and point.position_of("log") == "999"
    assert point.publish_many("detections.x", []) == [] and point.waiting == 1_000


def test_what_is_refused_is_named_told_before_its_place_is_kept_and_hinders_no_other(point):
    told = []
    bad = {1: [], 3: {"x": object()}, 5: {"x": 2**70}, 6: {"y": 1}}
    publications = [
        Publication("detections.x", bad.get(n, {"a": n}), ("log", str(n)), {"labels": {"a": "amber"}}) for n in range(6)
    ]
    publications[4] = publications[4]._replace(topic="no topic")
    publications.append(Publication("detections.x", bad[6], ("log", "6"), {"labels": {"a": "amber"}}))
    many = point.publish_each_later(
        publications, tell=lambda number, error: told.append((number, error.code, point.position_of("log")))
    )
    outcomes = many.result(WAIT_S)
    refused = {n: outcome.code for n, outcome in enumerate(outcomes) if isinstance(outcome, FabricError)}
    assert refused == {1: Code.BAD_INPUT, 3: Code.UNMATCHED_LABEL, 4: Code.BAD_TOPIC, 5: Code.UNMATCHED_LABEL,
                       6: Code.UNMATCHED_LABEL}
    assert sorted(n for n, *_ in told) == sorted(refused) and many.taken == 7
    assert all(place is None or int(place) < n for n, _, place in told)
    point.publish_many("detections.x", [{"n": 1}])
    assert point.position_of("log") == "6"


def test_what_cannot_be_encoded_is_refused_alone(point):
    records = [{"n": 1}, {"n": object()}, {"n": 3}]
    first, second, third = point.publish_many("detections.x", records, positions=places(3))
    assert isinstance(first, str) and second.code is Code.BAD_INPUT and isinstance(third, str)
    assert point.position_of("log") == "2"


def test_what_has_no_place_in_time_is_not_taken_and_its_place_is_not_kept(point, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 10)
    monkeypatch.setattr(point._loop.lanes._in_flight, "has_room", lambda *_: False)
    records = [{"n": n} for n in range(20)]
    many = point.publish_many_later("detections.x", records, positions=places(20), wait_s=0.0)
    assert many.taken == 10
    monkeypatch.undo()
    outcomes = many.result(WAIT_S)
    assert [isinstance(outcome, str) for outcome in outcomes] == [True] * 10 + [False] * 10
    assert {outcome.code for outcome in outcomes[10:]} == {Code.BUSY} and point.position_of("log") == "9"
    rest = point.publish_many("detections.x", records[10:], positions=places(20)[10:])
    assert len(rest) == 10 and point.position_of("log") == "19" and point._loop.lanes.counts.owed == 0


def test_what_waits_can_be_withdrawn_and_is_never_published_and_its_place_is_not_kept(point, monkeypatch):
    lanes = point._loop.lanes
    monkeypatch.setattr(lanes._in_flight, "has_room", lambda *_: False)
    many = point.publish_many_later("detections.x", [{"n": n} for n in range(9)], positions=places(9))
    many.withdraw(FabricError(Code.BUSY, "late"))
    assert [outcome.detail for outcome in many.result(WAIT_S)] == ["late"] * 9
    monkeypatch.undo()
    (id_,) = point.publish_many("detections.x", [{"n": 9}])
    assert isinstance(id_, str) and point.position_of("log") is None
    assert lanes.counts.owed == 0 and point.waiting == 1


def numbered(many, count):
    stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, 60_000, Label.GREEN)
    return [Draft(stamp, {"n": n}, T0, many, number=n) for n in range(count)]


def test_what_is_on_its_way_is_not_withdrawn():
    many = Many(4)
    drafts = numbered(many, 4)
    assert begin_sending([drafts[0], drafts[2]]) == [drafts[0], drafts[2]]
    many.refuse(0, FabricError(Code.BAD_INPUT))
    many.withdraw(FabricError(Code.BUSY))
    assert begin_sending(drafts[1:2]) == [] and [many.is_withdrawn(n) for n in range(4)] == [False, True, False, True]
    assert [outcome and outcome.code for outcome in many.outcomes()] == [Code.BAD_INPUT, Code.BUSY, None, Code.BUSY]
    assert not many.future.done()
    many.refuse(2, FabricError(Code.TOO_LARGE))
    assert many.result()[2].code is Code.TOO_LARGE


# -- of one record --------------------------------------------------------------------------------------

LOOKS = {
    "waits": lambda receipt: receipt.exception(0),
    "asks to be called": lambda receipt: receipt.add_done_callback(lambda _: None),
    "cancels": Future.cancel,
    "asks whether it runs": Future.running,
    "asks whether it is done": Future.done,
}
LOOKED = st.lists(st.sampled_from(sorted(LOOKS)), max_size=2)


@given(st.lists(st.tuples(st.sampled_from(["receipt", "future", "many"]), LOOKED, LOOKED), max_size=6), st.booleans())
def test_a_receipt_ends_as_a_future_does_whenever_somebody_looks(records, succeeds):
    """Beside a future of the library, which is looked at in the same moments."""
    many = Many(len(records))
    drafts = numbered(many, len(records))
    for draft, (kind, _, _) in zip(drafts, records, strict=True):
        draft.token = {"receipt": Receipt(), "future": Future(), "many": many}[kind]
    models = [Future() for _ in records]

    def look(when):
        for draft, model, looks in zip(drafts, models, [record[when] for record in records], strict=True):
            for name in looks if isinstance(draft.token, Future) else ():
                with suppress(TimeoutError, CancelledError):
                    LOOKS[name](draft.token)
                with suppress(TimeoutError, CancelledError):
                    LOOKS[name](model)

    look(1)
    begun = begin_sending(drafts)
    assert begun == [draft for draft, model in zip(drafts, models, strict=True) if model.set_running_or_notify_cancel()]
    look(2)
    (succeed if succeeds else refuse)(*((bytes(16), begun) if succeeds else (begun, FabricError(Code.BUSY))))
    for index, draft in enumerate(begun):
        if draft.token is many:
            outcome = many.outcomes()[draft.number]
        else:
            outcome = draft.token.result(0) if succeeds else draft.token.exception(0)
            assert draft.token.done() and not draft.token.cancelled()
        assert outcome == f"{bytes(16).hex()}.{index}" if succeeds else outcome.code is Code.BUSY
    for draft, model in zip(drafts, models, strict=True):
        assert isinstance(draft.token, Many) or draft.token.cancelled() == model.cancelled()


def test_nothing_is_made_to_wait_for_a_receipt_before_somebody_looks_at_it():
    drafts = [replace(draft, token=Receipt()) for draft in numbered(None, 2)]
    assert begin_sending(drafts) == drafts
    succeed(bytes(16), drafts)
    assert all(draft.token.done() and not draft.token.is_touched for draft in drafts)
    assert wait([draft.token for draft in drafts], 0).done == {draft.token for draft in drafts}
    told = []
    drafts[0].token.add_done_callback(told.append)
    assert told == [drafts[0].token] and drafts[1].token.is_touched


def test_whoever_looks_at_a_receipt_while_it_is_made_ready_for_another_is_called_too():
    places = 0
    for run in at_each_place(Receipt.__getattr__.__code__):
        (draft,) = begin_sending([replace(draft, token=Receipt()) for draft in numbered(None, 1)])
        receipt, called, locks = draft.token, [], []

        def comes_between(receipt=receipt, called=called, locks=locks):
            locks.append(receipt._condition)
            receipt.add_done_callback(lambda _: called.append("between"))

        run(lambda receipt=receipt, called=called: receipt.add_done_callback(lambda _: called.append("first")),
            comes_between)
        assert locks in ([], [receipt._condition]), "else who waits with the one is not woken with the other"
        succeed(bytes(16), [draft])
        assert sorted(called) == ["between"] * len(locks) + ["first"]
        places += len(locks)
    assert places > 10


def test_who_waits_in_another_thread_is_woken():
    (draft,) = [replace(draft, token=Receipt()) for draft in numbered(None, 1)]
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(draft.token.result, WAIT_S)
        succeed(bytes(16), begin_sending([draft]))
        assert waits.result(WAIT_S).endswith(".0")


def test_what_is_wrong_with_all_is_raised_and_after_the_end_nothing_is_taken(point):
    for topic, contents, options in [
        ("no topic", [{}], {}), ("detections.x", {"n": 1}, {}), ("detections.x", [{}], {"positions": []}),
        ("detections.x", [{}], {"severity": "much"}),
    ]:
        with pytest.raises(FabricError):
            point.publish_many(topic, contents, **options)
    point.close()
    with pytest.raises(FabricError) as raised:
        point.publish_many("detections.x", [{}])
    assert raised.value.code is Code.CLOSED


def test_in_asyncio_what_has_no_place_at_first_is_taken_when_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 10)

    async def publish(identity):
        point = Async(identity, outbox=tmp_path / "outbox")
        point._loop.start()
        try:
            return await point.publish_many("detections.x", [{"n": n} for n in range(35)], positions=places(35))
        finally:
            await point.close(0.0)

    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        outcomes = asyncio.run(publish(identity))
    assert len(outcomes) == 35 and all(isinstance(outcome, str) for outcome in outcomes)


def test_of_all_who_come_with_the_last_outcome_one_ends_it():
    """Whoever gave many looks for what was not taken in the moment in which the connection ends the last of them."""
    places = 0
    for run in at_each_place(Many._end.__code__):
        many, others, faults = Many(1), [], []

        def come(many=many, faults=faults):
            try:
                many.succeed([(0, "id")])
            except Exception as fault:  # noqa: BLE001 - whatever it is, the connection's thread would end by it
                faults.append(fault)

        def comes_between(many=many, come=come, others=others):
            assert len(many.outcomes()) == 1, "a signal handler may look too"
            others.append(threading.Thread(target=come))
            others[0].start()
            others[0].join(0.02)  # or it waits for the lock

        run(lambda many=many: many.cut(0, FabricError(Code.BUSY)), comes_between)
        for other in others:
            other.join(10)
        assert len(many.result(0)) == 1 and not faults
        places += len(others)
    assert places > 10


def test_a_callback_that_ends_its_thread_does_not_end_the_connection(point):
    later = point.publish_later("detections.x", {"n": 1})
    later.add_done_callback(lambda _: sys.exit(3))
    assert later.result(WAIT_S) and isinstance(point.publish_many("detections.x", [{"n": 2}])[0], str)


def test_what_had_no_place_in_time_holds_back_nothing_that_is_there_already(point, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 1)
    in_flight = point._loop.lanes._in_flight
    monkeypatch.setattr(in_flight, "has_room", lambda lane, *_: lane is not Lane.LOW)
    point.publish_later("detections.x", {"n": 0})
    with ThreadPoolExecutor(1) as pool:
        for source, give in {
            "one": lambda: point.publish_later("detections.x", {"n": 1}, position=("one", "1"), wait_s=0.5),
            "many": lambda: point.publish_many("detections.x", [{"n": 1}], positions=[("many", "1")], wait_s=0.5),
        }.items():
            first = pool.submit(give)
            while source not in point._loop.intake._sources._begun:
                time.sleep(0.001)
            point.publish("detections.x", {"n": 2}, severity="critical", position=(source, "2"))
            assert point.position_of(source) is None
            outcome = first.exception(WAIT_S) or first.result()[0]
            assert outcome.code is Code.BUSY
            until_s = time.monotonic() + WAIT_S
            while point.position_of(source) != "2":
                assert time.monotonic() < until_s
                time.sleep(0.001)


def test_whoever_comes_first_says_what_became_of_one():
    many, told = Many(2), []
    many.future.add_done_callback(told.append)
    many.refuse(0, FabricError(Code.BUSY))
    many.refuse(0, FabricError(Code.CLOSED))
    assert not told and not many.future.cancel()
    many.cut(1, FabricError(Code.CLOSED))
    assert [each.code for each in many.result()] == [Code.BUSY, Code.CLOSED] and told and many.taken == 1
