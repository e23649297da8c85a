"""What a component of a relay may do with messages: have them routed, hold them for destinations, end their rows.

Guarantees: with a port a component reaches what is held by these calls only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Destinations
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.wire.frames import Direction, Item


class Hold(Protocol):
    """Hold a message for these destinations; for none, remember that it was seen. `direction`: else the item's."""

    def __call__(
        self, message: Verified, item: Item, destinations: Destinations, now_ms: int, ready: Ready,
        direction: Direction | None = None, *, moved: int = 0,
    ) -> None: ...


class Readdress(Protocol):
    """Instead of by this row its message goes these ways; `left`: for whom the row stays, None where it goes."""

    def __call__(
        self, row: Row, ways: Destinations, left: tuple[str, ...] | None, now_ms: int, ready: Ready
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class MessagePort:
    """`route`: to wherever a message of its kind goes from here. `settle`: a row has ended, with None by an ACK."""

    route: Callable[[Verified, Item, int, Ready], None]
    hold: Hold
    readdress: Readdress
    settle: Callable[[Row, Reject | None, int, Ready], None]
