"""What comes for those who read over HTTP: kept for a while, and handed to each reader at its own pace.

Guarantees: a reader gets what its token's topics match and its query asks for; of that nothing above the token's
clearance, and nothing that has expired. What it missed, and that nothing came while the gateway's relay was away, it is
told in its place. A reader that is slow holds up nobody: all read from one ring, and what left that before it came is
counted.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.http.events import event, read_id
from relays.gateways.http.readers import Reader, gap
from relays.gateways.http.ring import Item, Ring, Track
from relays.gateways.http.tokens import Token
from relays.gateways.kinds import Intake
from relays.gateways.narrowing import narrowed

READERS_MAX: Final = 256
TOKEN_MAX: Final = READERS_MAX // 2
# Of topics for which it is known who may see them; then all are looked up again.
_TOPICS_MAX: Final = 1_024


class Streams:
    """`tokens`: those that may read. `take` and `tell` are for any one thread each, the rest for the server's."""

    def __init__(
        self, intake: Intake, tokens: Sequence[Token], ring: Ring | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake = intake
        self._ring = ring or Ring()
        self._now_s = now_s
        self._tracks = {token: Track(token.clearance) for token in tokens}
        # Of each token another: to another one its ids say nothing.
        self._runs = {token: secrets.token_hex(8) for token in tokens}
        self._clearances = sorted({token.clearance for token in tokens})
        self._seeing: dict[tuple[str, Label], tuple[Track, ...]] = {}
        self._reading: dict[Reader, None] = {}
        self._of_token: Counter[Token] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_waking = False
        self._lock = threading.Lock()
        self.away: FabricError | None = FabricError(Code.UNREACHABLE, "no relay has the subscription yet")
        self.is_over = False

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._reading)

    def open(self, token: Token, wanted: Sequence[str], last: str) -> Reader:
        """Somebody begins to read. `last`: the id that it had last; empty where it says none. Raises HTTP_BUSY."""
        of_token = self._of_token[token]
        if self.is_over:
            raise FabricError(Code.HTTP_BUSY, "the gateway ends")
        if len(self._reading) >= READERS_MAX or of_token >= TOKEN_MAX:
            raise FabricError(Code.HTTP_BUSY, f"{self.readers} read already, {of_token} with this token")
        self._loop = asyncio.get_running_loop()
        reader = Reader(token, wanted, self._runs[token], self._tracks[token], self._lock, self._now_s)
        if last:
            reader.resume(read_id(last))
        self._reading[reader] = None
        self._of_token[token] += 1
        self._intake.read_by(self.readers, self.away)
        return reader

    def leave(self, reader: Reader) -> None:
        """It reads no more. Once, or again."""
        if reader in self._reading:
            del self._reading[reader]
            self._of_token[reader.token] -= 1
            self._intake.read_by(self.readers, self.away)

    def end(self) -> None:
        """No more comes: each reader has what there is for it, and then its stream ends."""
        self.is_over = True
        self.wake()

    def take(self, messages: Sequence[Message]) -> None:
        """These came."""
        made = [
            (self._item(message), tracks)
            for message in messages if (tracks := self._seen_by(message.topic, message.label))
        ]
        with self._lock:
            for item, tracks in made:
                self._ring.add(item, tracks)
        self._wake_soon()

    def tell(self, why: FabricError | None) -> None:
        """The gateway's relay is away, and why; None: it is back."""
        with self._lock:
            if why is None:
                self._tell_all(gap(None, "the gateway's relay was away"))
                self._tell_all(event("back", {}))
            elif self.away is None or self.away.code is not why.code:
                self._tell_all(away(why))
            self.away = why
        self._intake.read_by(self.readers, why)
        self._wake_soon()

    def _tell_all(self, text: bytes) -> None:
        self._ring.add(Item("", dict.fromkeys(self._clearances, text), is_for_all=True), tuple(self._tracks.values()))

    def _seen_by(self, topic: str, label: Label) -> tuple[Track, ...]:
        """Who may know that there is such a message."""
        known = self._seeing.get((topic, label))
        if known is None:
            if len(self._seeing) >= _TOPICS_MAX:
                self._seeing.clear()
            known = self._seeing[topic, label] = tuple(
                track for token, track in self._tracks.items() if label <= token.clearance and token.is_for(topic)
            )
        return known

    def _item(self, message: Message) -> Item:
        whole = b""
        texts: dict[Label, bytes] = {}
        for clearance in self._clearances:
            seen = narrowed(message, clearance)
            if seen is message:
                whole = whole or _text(message)
                texts[clearance] = whole
            elif seen is not None:
                texts[clearance] = _text(seen)
        return Item(message.topic, texts, self._now_s() + (message.ttl_ms - message.age_ms) / 1000)

    def _wake_soon(self) -> None:
        with self._lock:
            loop, is_waking = self._loop, self._is_waking
            self._is_waking = loop is not None
        if loop is not None and not is_waking:
            with suppress(RuntimeError):  # it ended
                loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        """For the server's thread: each reader looks for what there is, and whether it still may read."""
        with self._lock:
            self._is_waking = False
        for reader in self._reading:
            reader.woken.set()


def away(why: FabricError) -> bytes:
    """Nothing comes for the moment."""
    return event("away", {
        "code": why.code.label, "cause": why.code.cause, "detail": why.detail, "next": why.next_step,
    })


def _text(message: Message) -> bytes:
    try:
        return event("", message.to_json())
    except (ValueError, RecursionError):  # no JSON can hold it
        return gap(1, f"{Code.BAD_BODY.label} {message.id} cannot be written as JSON")
