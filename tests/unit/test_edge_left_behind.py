"""What an earlier program left in a ledger: the latest step of each action, and what may come again."""

import itertools

from fabric.edge.ledger import left_behind as module
from fabric.edge.ledger.left_behind import ACTION_MS_MAX, left_behind, seen_before
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.core.ledger_ops import ForgetLease, KeepAnswer, KeepIntent, KeepTold
from fabric.protocol.core.ready import SeenAction
from fabric.protocol.wire.frames import Direction
from tests.support import T0

OPEN, DONE, TOLD = (name * 16 for name in (b"o", b"d", b"t"))


def intent(id_, *, begun=False):
    return KeepIntent(id_, T0, 0, T0, T0, (), b"envelope", begun)


def answer(id_):
    return KeepAnswer(id_, T0, "soar-1", b"answer")


def seen(number, until_ms):
    return SeenAction(bytes([number]) * 16, Direction.DOWN, until_ms, "soar-1")


def test_the_latest_step_of_each_action_counts():
    rows = [intent(OPEN), intent(DONE), answer(DONE), answer(TOLD), KeepTold(TOLD, T0), ForgetLease(OPEN)]
    steps = [intent(TOLD), *rows]
    assert left_behind(steps, is_whole=True) == ({OPEN: intent(OPEN)}, {DONE: b"answer"})


def test_where_some_rows_are_lost_what_is_open_may_have_been_begun():
    left = left_behind([intent(OPEN)], is_whole=False)
    assert left.intents == {OPEN: intent(OPEN, begun=True)}


def test_what_was_taken_is_known_for_as_long_as_it_may_live_and_no_longer_than_an_approval():
    surely_ms, now_ms = T0 - TTL_MAX_MS["action"], 5_000
    rows = [seen(1, T0 + 1), seen(2, T0 + 10**12), seen(3, T0 + ACTION_MS_MAX + 7), seen(4, T0 - 10**9)]
    for order in itertools.permutations(rows):
        known = seen_before(order, surely_ms, now_ms)
        assert [op.id[0] for op in known] == [2, 3, 1, 4], "the last to end first"
        assert [op.until_ms - now_ms - ACTION_MS_MAX for op in known[1:]] == [7, 0, 0]
        assert known[0].until_ms < T0


def test_what_is_over_leaves_room(monkeypatch):
    monkeypatch.setattr(module, "_OVER_MAX", 2)
    over, live = [seen(n, T0 - n) for n in range(1, 6)], [seen(n, T0 + n) for n in range(10, 15)]
    surely_ms = T0 - TTL_MAX_MS["action"]
    assert [op.id[0] for op in seen_before(over, surely_ms, 0)] == [1, 2]
    assert sorted(op.id[0] for op in seen_before([*over, *live], surely_ms, 0)) == [10, 11, 12, 13, 14]
