"""The ranges that a program asks targets for, and what comes of them, on the connection's thread (SPEC 9.9).

Guarantees: what a target says reaches who asked it, and nothing that anybody else signed does; nothing of it is in the
book. Whoever asks takes what comes within what it asked for (`windows`), and bounds it by that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.locks import Pending
from fabric.edge.messages import Message
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.publisher import Publisher
from fabric.protocol.base.errors import FabricError
from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import NodeKind


class Said(NamedTuple):
    """What came of a range. `by_relay`: a report; else the target's own word."""

    by_relay: bool
    message: Message


# Also hears why nobody was asked.
Hear = Callable[[Said | FabricError], None]


class _Asked(NamedTuple):
    target: str
    hear: Hear


class Fetches:
    """By the leaf of what asked for each."""

    def __init__(self, mailbox: Mailbox, publisher: Publisher) -> None:
        self._mailbox = mailbox
        self._publisher = publisher
        self._asked: dict[bytes, _Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, stamp: Stamp, record: Record, target: str, hear: Hear) -> None:
        """From any thread. `hear` runs on the connection's, for what this target, or a relay, says until `forget`."""

        def begin(now_ms: int, ready: Ready) -> None:
            draft = Draft(stamp, record, now_ms, Pending[bytes]())
            try:
                message = self._publisher.seal_one(draft)
                self._asked[message.leaf] = _Asked(target, hear)
                self._publisher.send_one(message, draft, now_ms, ready)
            except FabricError as error:
                hear(error)
                return
            draft.token.add_done_callback(lambda sent: self._sent(message.leaf, sent, hear))

        self._mailbox.call(begin, hear)

    def _sent(self, leaf: bytes, sent: Future[bytes], hear: Hear) -> None:
        error = sent.exception()
        if isinstance(error, FabricError) and self._asked.pop(leaf, None) is not None:
            hear(error)

    def take(self, message: Verified, messages: Sequence[Message]) -> None:
        """A result of what fetches came. One that nobody waits for any more is let go."""
        asked = self._asked.get(message.header.correlation)
        by_relay = message.credential.kind is NodeKind.RELAY
        if asked is not None and (by_relay or message.credential.id == asked.target):
            for each in messages:
                asked.hear(Said(by_relay, each))
            if message.header.state.end is not None and not by_relay:
                del self._asked[message.header.correlation]

    def forget(self, hear: Hear) -> None:
        """From any thread: this one wants to hear no more."""

        def forget(_now_ms: int, _ready: Ready) -> None:
            self._asked = {leaf: asked for leaf, asked in self._asked.items() if asked.hear is not hear}

        self._mailbox.call_if_any(forget)
