"""What is read at the start: nothing whose time is over, who signed before what was signed, steps in their order."""

import pytest

from fabric.protocol.core.ledger_ops import KeepAnswer, KeepCancelled, KeepForGood, KeepIntent, KeepTold
from fabric.protocol.core.ready import (
    KeepCredential,
    KeepDispatch,
    KeepEnd,
    KeepOpen,
    Put,
    Seen,
    SeenAction,
)
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from tests.support import DAY_MS, T0, Authority, message

ID, UNTIL_MS = b"i" * 16, T0 + 500


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool" / "hq.db"


def kept(path, ops):
    spool = Spool(path)
    spool.load(T0)
    spool.commit(ops)
    spool.close()


def found(path, now_ms=T0):
    spool = Spool(path)
    try:
        return spool.load(now_ms)
    finally:
        spool.close()


@pytest.mark.parametrize("op", [
    KeepDispatch(ID * 2, "fw-1", 2, UNTIL_MS), KeepOpen(ID * 2, b"about", ("fw-1",), UNTIL_MS),
    KeepEnd(ID * 2, "fw-1", 4, UNTIL_MS), SeenAction(ID, Direction.DOWN, UNTIL_MS, "soar-1"),
    KeepIntent(ID, UNTIL_MS, 1, 2, 3, (), b"envelope"), KeepAnswer(ID, UNTIL_MS, "soar-1", b"answer"),
    KeepTold(ID, UNTIL_MS), KeepCancelled(ID, "soar-1", UNTIL_MS, b"s" * 16, b"header"),
    Seen(ID, Direction.UP, UNTIL_MS),
], ids=lambda op: type(op).__name__)
def test_what_is_over_is_not_read_and_what_is_not_is(path, op):
    kept(path, [op])
    assert found(path, UNTIL_MS - 1) == [op] and found(path, UNTIL_MS) == []


def test_the_steps_of_an_action_come_in_their_order_however_they_were_written(path):
    other = b"o" * 16
    told, answer = KeepTold(ID, UNTIL_MS), KeepAnswer(ID, UNTIL_MS, "soar-1", b"answer")
    intent = KeepIntent(other, UNTIL_MS, 1, 2, 3, (), b"envelope")
    kept(path, [told, answer, intent])
    assert found(path) == [intent, answer, told]


def test_effects_without_an_end_come_in_the_order_in_which_they_were_done(path):
    ops = [KeepForGood(bytes([n]) * 16, "soar-1", b"t" * 16, since_ms) for n, since_ms in enumerate((3, 1, 2))]
    kept(path, ops)
    assert [op.since_ms for op in found(path)] == [1, 2, 3]


def test_what_wakes_comes_after_the_credential_of_its_signer_once(path):
    member = Authority("loading").issue("zeek-1")
    raws = [message(member, sequence=n) for n in range(3)]
    signer = decode_envelope(raws[0]).signer
    puts = [
        Put(bytes([n]) * 16, Direction.UP, Lane.LOW, raw, 0, T0, T0 + DAY_MS, (), (("^", ()),))
        for n, raw in enumerate(raws)
    ]
    credential = KeepCredential(signer, member.credential.raw)
    kept(path, [*puts, credential, KeepCredential(b"other-signer-016", b"raw")])
    spool = Spool(path, awake_max=None)
    assert spool._loading.with_signers(puts) == [credential, *puts]
    assert spool.load(T0)[-3:] == puts
    spool.close()
