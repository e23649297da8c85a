"""Actions that were cancelled and are not here: those that may still come are refused then (SPEC 9.4).

Pure: time is an argument, and what the next process is to know is told as operations of the ledger. Guarantees: whoever
cancels an action that is not theirs to cancel neither ends it nor makes the word of who may forgotten; the room is
shared among those who cancel, and of each the oldest goes first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fabric.protocol.access.permissions import may_cancel
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ledger_ops import KeepCancelled
from fabric.protocol.envelope.header import Header, decode_header
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.envelope.verify import Verified
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

    def add(self, id_: bytes, message: Verified, now_ms: int) -> list[KeepCancelled]:
        """The action with this id is not to begin, if it is theirs to cancel who say so by this one. What is to be
        written of that."""
        self._expire(now_ms)
        by, envelope = message.credential, decode_envelope(message.raw)
        assert not isinstance(envelope, Reject), "it was verified"
        kept = KeepCancelled(id_, by.id, now_ms + _MS, by.digest, envelope.header)
        return [*self._put(id_, _Word(by, message.header, kept.until_ms)), kept]

    def restore(self, kept: KeepCancelled, by: Credential, now_ms: int) -> list[KeepCancelled]:
        """An earlier process was told so. It counts for as long as an action may live from now on, whatever the clocks
        say. Call it in the order in which these end. What is forgotten for it."""
        header = decode_header(kept.header)
        return [] if isinstance(header, Reject) else self._put(kept.id, _Word(by, header, now_ms + _MS))

    def _put(self, id_: bytes, word: _Word) -> list[KeepCancelled]:
        """As the newest of who said it: what is forgotten for it."""
        source, forgotten = word.by.id, []
        while not self._words.put((id_, source), word, source):
            oldest = next((key for key, _, whose in self._words.items() if whose == source), None)
            if oldest is None:
                break  # a newcomer finds room
            self._words.pop(oldest)
            forgotten.append(KeepCancelled(oldest[0], source, 0, b"", b""))
        return forgotten

    def _expire(self, now_ms: int) -> None:
        """The ledger does it by itself."""
        for key, word, _ in list(self._words.items()):
            if word.until_ms > now_ms:
                break
            self._words.pop(key)

    def has(self, id_: bytes, requester: str, me: Credential, now_ms: int) -> bool:
        """Whether this requester's action, which comes now, was cancelled by somebody who may."""
        return any(
            each == id_ and now_ms < word.until_ms and may_cancel(word.by, word.header, requester, me)
            for (each, _), word, _ in self._words.items()
        )
