"""Many records, one receipt: each has its own outcome, and what is refused hinders no other."""

import asyncio

import pytest

from fabric.edge import ControlPoint as Async
from fabric.edge.blocking import ControlPoint
from fabric.edge.publishing import publisher
from fabric.edge.publishing.publications import Publication
from fabric.edge.publishing.receipts import Many
from fabric.protocol.base.errors import Code, FabricError
from tests.support import EVERYTHING, Authority
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
    monkeypatch.setattr(publisher, "WAITING_MAX", 10)
    monkeypatch.setattr(point._loop.publisher, "_has_room", lambda lane, size: False)
    records = [{"n": n} for n in range(20)]
    many = point.publish_many_later("detections.x", records, positions=places(20), wait_s=0.0)
    assert many.taken == 10
    monkeypatch.undo()
    outcomes = many.result(WAIT_S)
    assert [isinstance(outcome, str) for outcome in outcomes] == [True] * 10 + [False] * 10
    assert {outcome.code for outcome in outcomes[10:]} == {Code.BUSY} and point.position_of("log") == "9"
    rest = point.publish_many("detections.x", records[10:], positions=places(20)[10:])
    assert len(rest) == 10 and point.position_of("log") == "19" and point._loop.publisher.owed == 0


def test_what_waits_can_be_withdrawn_and_is_never_published_and_its_place_is_not_kept(point, monkeypatch):
    core = point._loop.publisher
    monkeypatch.setattr(core, "_has_room", lambda lane, size: False)
    many = point.publish_many_later("detections.x", [{"n": n} for n in range(9)], positions=places(9))
    many.withdraw(FabricError(Code.BUSY, "late"))
    assert [outcome.detail for outcome in many.result(WAIT_S)] == ["late"] * 9
    monkeypatch.undo()
    (id_,) = point.publish_many("detections.x", [{"n": 9}])
    assert isinstance(id_, str) and point.position_of("log") is None
    assert core.owed == 0 and point.waiting == 1


def test_what_is_on_its_way_is_not_withdrawn():
    many = Many(4)
    assert many.send(0) and many.send(2)
    many.refuse(0, FabricError(Code.BAD_INPUT))
    many.withdraw(FabricError(Code.BUSY))
    assert not many.send(1) and [many.is_withdrawn(n) for n in range(4)] == [False, True, False, True]
    assert [outcome and outcome.code for outcome in many.outcomes()] == [Code.BAD_INPUT, Code.BUSY, None, Code.BUSY]
    assert not many.future.done()
    many.refuse(2, FabricError(Code.TOO_LARGE))
    assert many.result()[2].code is Code.TOO_LARGE


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
    monkeypatch.setattr(publisher, "WAITING_MAX", 10)

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


def test_whoever_comes_first_says_what_became_of_one():
    many, told = Many(2), []
    many.future.add_done_callback(told.append)
    many.refuse(0, FabricError(Code.BUSY))
    many.refuse(0, FabricError(Code.CLOSED))
    assert not told and not many.future.cancel()
    many.cut(1, FabricError(Code.CLOSED))
    assert [each.code for each in many.result()] == [Code.BUSY, Code.CLOSED] and told and many.taken == 1
