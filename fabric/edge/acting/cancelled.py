"""Actions that were cancelled and are not here: those that may still come are refused then (SPEC 9.4).

Pure: time is an argument. Guarantees: whoever cancels an action that is not theirs to cancel neither ends it nor makes
the word of who may forgotten; the room is shared among those who cancel, and of each the oldest goes first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fabric.protocol.access.permissions import may_cancel
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.base.shares import Shared
from fabric.protocol.envelope.layout import Header
from fabric.protocol.trust.credentials import Credential

# What was cancelled and is not here may come for as long as an action may live. Of more than so many, the oldest is
# forgotten: what it cancelled is executed if it still comes.
_MS: Final = TTL_MAX_MS["action"]
CANCELLED_MAX: Final = 1_024


class _Word(NamedTuple):
    """Of one who cancels. Whether they may is asked when it is known whose the action is."""

    by: Credential
    header: Header
    until_ms: int


class Cancelled:
    """By the action's id and by who cancelled it."""

    def __init__(self) -> None:
        self._words: Shared[tuple[bytes, str], _Word] = Shared(CANCELLED_MAX)

    def __len__(self) -> int:
        return len(self._words)

    def add(self, id_: bytes, by: Credential, header: Header, now_ms: int) -> None:
        """This action is not to begin, if it is theirs to cancel."""
        for key, word, _ in list(self._words.items()):
            if word.until_ms > now_ms:
                break
            self._words.pop(key)
        self._words.push((id_, by.id), _Word(by, header, now_ms + _MS), by.id)

    def has(self, id_: bytes, requester: str, me: Credential, now_ms: int) -> bool:
        """Whether this requester's action, which comes now, was cancelled by somebody who may."""
        return any(
            each == id_ and now_ms < word.until_ms and may_cancel(word.by, word.header, requester, me)
            for (each, _), word, _ in self._words.items()
        )
