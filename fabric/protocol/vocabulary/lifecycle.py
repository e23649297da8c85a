"""What becomes of an action at one target (SPEC 9.4): its states, who may say each, and which may follow which.

    held -> approved -> dispatched -> accepted -> running -> an end

Guarantees: a target is in one state, moves forward only, and ends once; only `unknown` may still be replaced, by how
it ended in the target's own words. A state may be skipped: what is executed at once is only told when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from fabric.protocol.vocabulary.openc2 import End


class State(IntEnum):
    """The numbers are on the wire, and in their order. `NONE`: nothing was said yet."""

    NONE = 0
    HELD = 1  # its relay has it: the target is away
    APPROVED = 2
    DISPATCHED = 3  # it is on its way
    ACCEPTED = 4  # the target has it on disk
    RUNNING = 5  # its handler is at work
    COMPLETED = 16
    FAILED = 17
    REFUSED = 18
    EXPIRED = 19
    UNROUTABLE = 20
    UNKNOWN = 21
    READY = 22

    @property
    def word(self) -> str:
        """As in records and on the command line."""
        return self.name.lower()

    @property
    def end(self) -> End | None:
        """The end that it is, if it is one."""
        return End(self.word) if self >= State.COMPLETED else None


_BY_END: Final[Mapping[End, State]] = {state.end: state for state in State if state.end is not None}
_BY_WORD: Final[Mapping[str, State]] = {state.word: state for state in State}
_BY_WIRE: Final[Mapping[int, State]] = {int(state): state for state in State}

BY_TARGET: Final = frozenset({
    State.ACCEPTED, State.RUNNING, State.COMPLETED, State.FAILED, State.REFUSED, State.EXPIRED, State.UNKNOWN,
    State.READY,
})
BY_RELAY: Final = frozenset({
    State.HELD, State.APPROVED, State.DISPATCHED, State.REFUSED, State.EXPIRED, State.UNROUTABLE, State.UNKNOWN,
})


def state_of(end: End) -> State:
    """The state that an end is."""
    return _BY_END[end]


def state_named(word: str) -> State:
    """By its word; NONE where it is no state's."""
    return _BY_WORD.get(word, State.NONE)


def state_from_wire(number: int) -> State:
    """One of a later version says nothing here."""
    return _BY_WIRE.get(number, State.NONE)


def may_follow(before: State, after: State, *, by_target: bool) -> bool:
    """Whether this word, said by the target itself or by a relay, changes what is known of the target."""
    if after not in (BY_TARGET if by_target else BY_RELAY):
        return False
    if before.end is not None:
        return before is State.UNKNOWN and by_target and after.end not in (None, End.UNKNOWN)
    # More progress is news, and so is a target that was dispatched to, and is away again.
    return after > before or after is before is State.RUNNING
