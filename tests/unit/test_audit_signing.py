"""When heads are signed: soon after something was done, by one process, and again until the parent has it."""

import pytest

from fabric.audit.segments import read_signed
from fabric.audit.signing import HEAD_MS, Heads
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import grow
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.limits import GROWN_MAX
from tests.auditing import HQ, fill, head_of, log_in
from tests.support import T0

DEED = Audited(kinds.ACTION_HANDED, "soar-1", {})


@pytest.fixture
def log(tmp_path):
    log = log_in(tmp_path)
    fill(log, 3)
    return log


def signed(heads, log, number, now_ms=0):
    head = head_of(log)
    heads.wrote([Audited(kinds.LOG_HEAD, "", {"number": number, "head": head.raw})], now_ms)
    return head


def test_a_deed_is_signed_after_a_while_and_once(tmp_path, log):
    heads = Heads(tmp_path)
    assert heads.due_ms is None and heads.due(log, None, 0) is None
    heads.wrote([DEED, DEED], 1_000)
    assert heads.due_ms == 1_000 + HEAD_MS and heads.due(log, None, HEAD_MS) is None
    grown = heads.due(log, None, 1_000 + HEAD_MS)
    assert (grown.log, grown.number, grown.hash, grown.digests) == (log.log_id, 4, log.hash, ())
    head = signed(heads, log, 4)
    assert heads.due_ms is None and read_signed(tmp_path).head == head.raw
    fields = {"head": head.raw, "witness": b"w", "credential": HQ.credential.raw}
    heads.wrote([Audited(kinds.LOG_WITNESSED, "hq", fields)], 9)
    assert read_signed(tmp_path) == (head.raw, head.raw, b"w", HQ.credential.raw) and heads.due_ms is None


def test_at_the_end_it_is_signed_at_once_if_anything_was_done(tmp_path, log):
    heads = Heads(tmp_path)
    assert heads.due(log, 0, 5, at_once=True) is None
    heads.wrote([DEED], 5)
    assert heads.due(log, None, 6, at_once=True).number == 4


def test_a_parent_is_shown_what_is_new_to_it(tmp_path, log):
    heads = Heads(tmp_path)
    heads.wrote([DEED], 0)
    at_2 = log.hash_of(2)
    grown = heads.due(log, 2, HEAD_MS)
    assert grown.since == 2 and grow(at_2, grown.digests) == grown.hash


def test_a_parent_that_knows_less_is_told_again_and_later_each_time(tmp_path, log):
    heads = Heads(tmp_path)
    signed(heads, log, 4)
    again = Heads(tmp_path)  # another process, to which the parent says that it knows nothing
    times = [at for at in range(0, 200_000, 1_000) if again.due(log, 0, at)]
    assert times == [0, 10_000, 30_000, 70_000, 150_000]
    assert again.due(log, 4, 400_000) is None and again.due(log, None, 400_000) is None


def test_one_process_of_an_identity_signs(tmp_path, log):
    other = log_in(tmp_path, seed=1)
    one, two = Heads(tmp_path), Heads(tmp_path)
    one.wrote([DEED], 0)
    two.wrote([DEED], 0)
    assert one.due(log, None, HEAD_MS) and two.due(other, None, HEAD_MS) is None
    assert two.due_ms == 2 * HEAD_MS  # it looks again, and not in each turn
    log.close()
    fill(other, 2)
    assert two.due(other, None, 2 * HEAD_MS).number == 6


def test_what_is_too_much_for_a_frame_is_shown_bit_by_bit(tmp_path, log):
    log.append([(T0, kinds.ACTION_HANDED, {})] * (GROWN_MAX + 50), durable=False)
    heads = Heads(tmp_path)
    heads.wrote([DEED], 0)
    first = heads.due(log, 1, HEAD_MS)
    assert first.number == 1 + GROWN_MAX and first.hash == log.hash_of(first.number)
    assert grow(log.hash_of(1), first.digests) == first.hash
    rest = heads.due(log, first.number, 2 * HEAD_MS)
    assert rest.number == log.number and grow(first.hash, rest.digests) == rest.hash
