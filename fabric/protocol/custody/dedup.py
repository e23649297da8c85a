"""What was seen (SPEC 7.5): by (id, direction), until the message would be expired anyway.

Guarantees: a repeat within that time, and within the last `seen_max` messages, is recognised. The bound keeps memory
finite under any ttl; a sender repeats within seconds, so what is forgotten first matters least.

An action is remembered apart, once for both directions, and never forgotten while it could pass for being in time
(`seen_until_ms`), since one that is forgotten would be executed again. That memory is bounded by taking in no new ones
(`full_of_actions`), and shared, so that a requester of many leaves room for the actions of others.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import NamedTuple

from fabric.protocol.base.limits import ACTION_SPARE_MS, ACTIONS_SEEN_MAX, SKEW_MS, TTL_MAX_MS
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.wire.frames import Direction

SEEN_MAX = 200_000

_Key = tuple[bytes, Direction]


class _Action(NamedTuple):
    until_ms: int
    requester: str
    directions: tuple[Direction, ...]  # where it turned, both


def seen_until_ms(header: Header, taken_ms: int, *, approved: bool = False) -> int:
    """Until when a message that was taken then is to be known as a repeat, by this node's own steady clock.

    `approved`: at an executor, of an action that was approved: as long as others may approve it. Whoever has one more
    approval than are needed has more than one quorum, each with a time of its own to count from.

    Of its age a relay may say anything, so of an action that follows from the signed bound alone, by the clock that
    could be believed for longest.
    """
    if approved:
        taken_ms += TTL_MAX_MS[Kind.APPROVAL.word] + header.ttl_ms + ACTION_SPARE_MS
    return taken_ms + header.ttl_ms + (ACTION_SPARE_MS if header.kind is Kind.ACTION else SKEW_MS)


class Dedup:
    """What was seen, and until when: at most `seen_max` messages, and apart from them at most `actions_max` actions."""

    def __init__(self, seen_max: int = SEEN_MAX, actions_max: int = ACTIONS_SEEN_MAX) -> None:
        self._until: OrderedDict[_Key, int] = OrderedDict()
        self._seen_max = seen_max
        self._actions: dict[bytes, _Action] = {}
        self._deadlines: list[tuple[int, bytes]] = []
        self._requesters: Holdings[str] = Holdings()
        self._actions_max = actions_max

    def __len__(self) -> int:
        return len(self._until) + len(self._actions)

    def seen(self, id_: bytes, direction: Direction, now_ms: int) -> bool:
        action = self._actions.get(id_)
        if action is not None and direction in action.directions:
            return action.until_ms > now_ms
        return self._until.get((id_, direction), 0) > now_ms

    def add(self, id_: bytes, direction: Direction, until_ms: int) -> None:
        self._until[(id_, direction)] = until_ms
        if len(self._until) > self._seen_max:
            self._until.popitem(last=False)

    def add_action(self, id_: bytes, direction: Direction, until_ms: int, requester: str) -> None:
        """Of one that was taken in: `full_of_actions` was asked before."""
        known = self._actions.get(id_)
        if known is None:
            self._requesters.add(requester, 1)
            known = _Action(0, requester, ())
        elif direction in known.directions and known.until_ms >= until_ms:
            return
        if until_ms > known.until_ms:
            heapq.heappush(self._deadlines, (until_ms, id_))
        directions = known.directions if direction in known.directions else (*known.directions, direction)
        self._actions[id_] = _Action(max(until_ms, known.until_ms), known.requester, directions)

    def full_of_actions(self, requester: str) -> bool:
        """Whether a new action of this requester is not taken in now."""
        left = self._actions_max - len(self._actions)
        return beyond_share(self._requesters[requester], 1, left, LARGE_SHARE)

    def sweep(self, now_ms: int, steps_max: int = 256) -> None:
        """Forget some of the oldest that no longer matter; bounded work a call."""
        for _ in range(steps_max):
            if not self._deadlines or self._deadlines[0][0] > now_ms:
                break
            until_ms, id_ = heapq.heappop(self._deadlines)
            known = self._actions.get(id_)
            if known is not None and known.until_ms == until_ms:  # else it was added again, until later
                del self._actions[id_]
                self._requesters.add(known.requester, -1)
        for _ in range(min(steps_max, len(self._until))):
            key, until_ms = next(iter(self._until.items()))
            if until_ms > now_ms:
                return
            del self._until[key]
