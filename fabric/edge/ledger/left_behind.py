"""What an earlier program left in a ledger (SPEC 9.3), from its rows: which actions are open, which answers are to be
told, and what is to be known as seen.

Pure: times are arguments, in milliseconds. Guarantees: of an action the latest step counts, whatever the order of the
rows; where some of a ledger cannot be read, what is open may have been begun; and what was taken is known for as long
as it may live from now on, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fabric.protocol.base.limits import ACTION_SPARE_MS, ACTIONS_SEEN_MAX, TTL_MAX_MS
from fabric.protocol.core.ledger_ops import KeepAnswer, KeepIntent, KeepTold
from fabric.protocol.core.ready import Op, SeenAction

# What an earlier program took can be repeated for no longer than this.
ACTION_MS_MAX: Final = TTL_MAX_MS["action"] + ACTION_SPARE_MS
# What was approved: as long as others may approve it.
_APPROVED_MS_MAX: Final = TTL_MAX_MS["approval"] + 2 * ACTION_MS_MAX
# What is over by this machine's clock may fill no more than this of the memory: new actions are to find room.
_OVER_MAX: Final = ACTIONS_SEEN_MAX // 4


class Left(NamedTuple):
    """By their ids: actions without an answer, and answers, packed, that were not told."""

    intents: dict[bytes, KeepIntent]
    answers: dict[bytes, bytes]


def left_behind(ops: Sequence[Op], *, is_whole: bool) -> Left:
    """`is_whole`: all rows of the ledger could be read."""
    intents: dict[bytes, KeepIntent] = {}
    answers: dict[bytes, bytes] = {}
    for op in ops:
        match op:
            case KeepIntent():
                intents[op.id] = op if is_whole else op._replace(begun=True)
            case KeepAnswer():
                answers[op.id] = op.answer
                intents.pop(op.id, None)
            case KeepTold():
                answers.pop(op.id, None)
    return Left(intents, answers)


def seen_before(ops: Sequence[Op], surely_ms: int, now_ms: int) -> list[SeenAction]:
    """Those that may come again, until when by this process's clock, which says `now_ms`; the last to end come first.
    `surely_ms`: what was over then, by the clock that the ledger goes by, is over."""
    found = sorted((op for op in ops if isinstance(op, SeenAction)), key=lambda op: op.until_ms, reverse=True)
    live = sum(op.until_ms > surely_ms + TTL_MAX_MS["action"] for op in found)
    soonest_ms, latest_ms = now_ms + ACTION_MS_MAX, now_ms + _APPROVED_MS_MAX
    ahead_ms = surely_ms + TTL_MAX_MS["action"] - now_ms  # of what is on disk, before this process's clock
    return [
        op._replace(until_ms=max(soonest_ms, min(latest_ms, op.until_ms - ahead_ms)))
        for op in found[: max(live, _OVER_MAX)]
    ]
