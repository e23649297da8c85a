"""A delivery's records: read once, from where an earlier run stopped, and whether they can be read at all."""

import pytest

import fabric.edge.receiving.batch as module
from fabric.edge.receiving.batch import Batch
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.vocabulary.severity import Lane, Severity
from tests.support import EVERYTHING, Authority, verified

ME = Authority("edge-batch").issue("zeek-1", grants=EVERYTHING)


def delivery(count=3, **stamp):
    return Delivery(verified(ME, topic="detections.x", records=[{"n": n} for n in range(count)], **stamp), 0, ())


def test_its_lane_and_length_are_known_before_it_is_read(monkeypatch):
    monkeypatch.setattr(module, "messages_of", lambda *_: pytest.fail("nobody asked for its records"))
    batch = Batch(delivery(3, severity=Severity.CRITICAL), first=1)
    assert (batch.lane, len(batch), batch.first) == (Lane.CRITICAL, 2, 1)
    assert not Batch(delivery(3), first=3)


def test_its_records_are_those_that_an_earlier_run_did_not_take():
    batch = Batch(delivery(3), first=1)
    assert [record.content["n"] for record in batch.read()] == [1, 2]
    assert [record.id for record in batch.read()] == [f"{batch.id}.1", f"{batch.id}.2"]


def test_it_is_read_once_for_all_who_take_it(monkeypatch):
    batch = Batch(delivery())
    first = batch.read()
    monkeypatch.setattr(module, "messages_of", lambda *_: pytest.fail("it was read before"))
    assert batch.read() is first


def test_a_gap_is_called_one():
    assert [record.kind for record in Batch(delivery(1), kind="gap").read()] == ["gap"]


def test_what_cannot_be_read_says_so(monkeypatch):
    monkeypatch.setattr(module, "messages_of", lambda *_: Reject(Code.BAD_BODY))
    assert Batch(delivery()).read() == Reject(Code.BAD_BODY)
