"""Many leases on one effect: whoever may ask for one may ask for as many as there is room for."""

import time

import pytest

from fabric.edge.effects.lease import Lease, OnEffect, Stage, Word
from fabric.edge.effects.leases import Leases
from fabric.protocol.core.ledger_ops import KeepLease

MANY = 6_000
EFFECT = b"e" * 16


def kept(number, variant, due_ms=1_000):
    return KeepLease(number.to_bytes(16, "big"), due_ms, 0, "soar-1", EFFECT, variant, (), 0, "", 0, bytes(600))


def run(leases, row):
    assert leases.why_not(EFFECT, row) is None
    leases.begin(row.id, EFFECT, row)
    leases.ended(row.id, 0, began=True, completed=True)


@pytest.mark.parametrize("same", [True, False], ids=["of one variant", "each another variant"])
def test_that_many_end_together_takes_no_longer_than_that_many_elsewhere(same):
    began_s, leases, words, turns = time.process_time(), Leases(), [], 0
    for n in range(MANY):
        run(leases, kept(n, b"v" if same else n.to_bytes(16, "big")))
    run(leases, kept(MANY, b"v", due_ms=5_000))
    assert leases.due(999, 0) == ([], [])
    assert leases.due(1_000, 0)[0] == [], "one is in force"
    while leases.in_force and turns < 4 * MANY:
        turns += 1
        now_ms = 1_000 if turns < MANY else 6_000
        for lease in leases.due(now_ms, 7)[0]:
            leases.reverted(lease.id, now_ms, 7, well=True)
        words += [(lease.row.word, lease.row.ended_ms) for lease in leases.to_tell()]
    assert len(words) == MANY + 1 and {at_ms for _, at_ms in words if at_ms} == {7}
    assert sum(word == Word.REVERTED for word, _ in words) == (1 if same else MANY + 1)
    # One after the other they took a minute.
    assert time.process_time() - began_s < 10


def test_a_turn_has_bounded_work():
    leases = Leases()
    for n in range(1_000):
        run(leases, kept(n, b"v"))
    run(leases, kept(1_000, b"v", due_ms=5_000))
    assert [len(leases.due(1_000, 0, steps_max=300)[1]) for _ in range(5)] == [300, 300, 300, 100, 0]


def test_when_the_time_goes_back_what_was_due_is_in_force_again_and_ends_later():
    leases, row = Leases(), kept(1, b"v")
    leases.begin(row.id, EFFECT, row)
    assert leases.due(1_500, 0) == ([], []), "its handler is at work"
    leases.ended(row.id, 0, began=True, completed=True)
    assert leases.due(400, 0) == ([], []) and leases.next_ms == 1_000
    ((lease,), _) = leases.due(1_000, 0)
    assert lease.id == row.id


def test_what_holds_an_effect_is_counted_by_variant():
    on, lease = OnEffect(), Lease(kept(1, b"v"), Stage.IN_FORCE)
    on.hold(b"v")
    on.hold(b"v")
    on.let_go(b"v")
    assert on.upheld == {b"v": 1} and list(on.fresh) == [b"v"]
    on.wait(lease)
    assert on.wait_no_more(lease) and not on.wait_no_more(lease) and not on.due
