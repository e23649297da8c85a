"""An outbox and its control point over restarts: the same bytes, the same positions, one owner."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fabric.edge.publishing.outbox import EdgeOutbox
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Handled, KeepPosition, Put, Submit
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Ack, Direction, Nack, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, FABRIC, T0, Authority, entropy, verified

AUTHORITY = Authority("outbox")
RELAY = AUTHORITY.issue("mid", NodeKind.RELAY)
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
OTHER = AUTHORITY.issue("zeek-2", grants=EVERYTHING)
WHO = SimpleNamespace(fabric=FABRIC, id="zeek-1")


class Life:
    """One run of a control point with the outbox at `path`; what a turn persists is committed before anything else."""

    def __init__(self, path: Path, session: bytes = b"m" * 16, now_ms: int = T0) -> None:
        self.talk = Conversation(Point(ME.credential, ME.signer, AUTHORITY.key, session, entropy(session)))
        self.talk.now_ms = now_ms
        self.outbox = EdgeOutbox(path, WHO, now_ms)
        self.damaged = self.outbox.restore(self.talk.core, now_ms)
        self._committed = 0

    def commit(self, *more) -> None:
        self.outbox.commit([*self.talk.disk[self._committed :], *more], self.talk.now_ms)
        self._committed = len(self.talk.disk)

    def rows(self) -> list[bytes]:
        return [row.held.message.raw for row in self.talk.core.outboxes[UPLINK].rows()]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "outbox"


def test_the_bytes_that_were_signed_are_the_bytes_that_are_sent_after_a_restart(path):
    message = verified(ME, issued_at_ms=T0)
    first = Life(path)
    first.talk.step(Submit(message))
    first.commit(KeepPosition("log", "17"))
    first.outbox.close()
    second = Life(path, b"2" * 16, T0 + 5_000)
    assert second.rows() == [message.raw] and second.outbox.position("log") == "17" and second.damaged == []
    link = second.talk.dial(RELAY, Role.POINT)
    (item,) = second.talk.items(link)
    assert item.envelope == message.raw and item.age_ms == 5_000
    second.talk.say(link, Ack([message.id]))
    second.commit()
    second.outbox.close()
    assert Life(path, b"3" * 16).rows() == []


def test_what_ran_out_meanwhile_ends_without_being_sent(path):
    first = Life(path)
    first.talk.step(Submit(verified(ME, issued_at_ms=T0, ttl_ms=1_000)))
    first.commit()
    first.outbox.close()
    second = Life(path, now_ms=T0 + 2_000)
    link = second.talk.dial(RELAY, Role.POINT)
    second.talk.wait(1_500)
    assert second.talk.items(link) == [] and second.rows() == []
    assert second.talk.count("refused expired") == 0


def test_a_reader_with_a_file_drops_what_an_earlier_run_handled_and_takes_again_what_it_did_not(path):
    handled, taken = verified(OTHER, sequence=1, issued_at_ms=T0), verified(OTHER, sequence=2, issued_at_ms=T0)
    first = Life(path)
    link = first.talk.dial(RELAY, Role.POINT)
    for message in (handled, taken):
        first.talk.send(link, message, Direction.DOWN)
    first.talk.step(Handled(handled.id))
    first.commit()  # and now it dies: the acknowledgement never leaves
    first.outbox.close()
    second = Life(path, b"2" * 16)
    link = second.talk.dial(RELAY, Role.POINT)
    for message in (handled, taken):
        second.talk.send(link, message, Direction.DOWN)
    delivered = [d.message.id for d in second.talk.delivered if hasattr(d, "message")]
    assert delivered == [taken.id]
    assert [id_ for frame in second.talk.heard(link, Ack) for id_ in frame.ids] == [handled.id]
    assert second.talk.heard(link, Nack) == []


def test_an_outbox_of_somebody_else_is_refused_and_left_as_it_is(path):
    Life(path).outbox.close()
    for who in (SimpleNamespace(fabric=FABRIC, id="zeek-2"), SimpleNamespace(fabric="other", id="zeek-1")):
        with pytest.raises(FabricError) as refused:
            EdgeOutbox(path, who, T0)
        assert refused.value.code is Code.USAGE and "zeek-1" in refused.value.detail
    Life(path).outbox.close()


def test_two_processes_never_share_one(path):
    life = Life(path)
    with pytest.raises(FabricError) as refused:
        EdgeOutbox(path, WHO, T0)
    assert refused.value.code is Code.OUTBOX_IN_USE
    life.outbox.close()


def test_a_message_that_does_not_verify_any_more_is_set_aside_and_named(path):
    first = Life(path)
    message = verified(ME, issued_at_ms=T0)
    first.talk.step(Submit(message))
    first.outbox.commit([
        op._replace(envelope=op.envelope[:-1] + b"!") if isinstance(op, Put) else op for op in first.talk.disk
    ], T0)
    first.outbox.close()
    second = Life(path)
    assert second.rows() == [] and message.id.hex() in second.damaged[0]


def test_upkeep_stops_intake_by_the_disk(path, monkeypatch):
    life = Life(path)
    monkeypatch.setattr("fabric.spool.reserve.free_bytes", lambda folder: 0)
    life.outbox.upkeep(life.talk.core, T0)
    assert not life.talk.core.custody.intake_open
    monkeypatch.setattr("fabric.spool.reserve.free_bytes", lambda folder: 1 << 40)
    life.outbox.upkeep(life.talk.core, T0 + 500)
    assert not life.talk.core.custody.intake_open, "looked at once a second"
    life.outbox.upkeep(life.talk.core, T0 + 1_000)
    assert life.talk.core.custody.intake_open
