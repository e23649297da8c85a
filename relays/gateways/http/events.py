"""Server-sent events (WHATWG HTML, 9.2): what is written, and the ids that readers bring back.

    id: 6f1d2c3b4a5e6f70-12
    data: {"id": "...", "topic": "detections.app", "content": {...}, "labels": {...}, ...}

Guarantees: an event is one line of data, JSON in ASCII, so that nothing in it can end it or begin another. Text that is
no id of ours reads as none, in a time that does not depend on what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from relays.terminal import json_text

MEDIA_TYPE: Final = "text/event-stream"
_ID: Final = re.compile(r"([0-9a-f]{16})-(0|[1-9][0-9]{0,14})")
_ID_CHARS_MAX: Final = 32


class EventId(NamedTuple):
    """`run`: of which run of the gateway, and for which token; `number`: from 1."""

    run: str
    number: int

    def __str__(self) -> str:
        return f"{self.run}-{self.number}"


def read_id(text: str) -> EventId | None:
    """What a reader got last; None where that is nothing of ours."""
    match = _ID.fullmatch(text) if len(text) <= _ID_CHARS_MAX else None
    return EventId(match[1], int(match[2])) if match is not None else None


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """An event without an id; "" is a message. Raises ValueError, RecursionError for what no JSON can hold."""
    kind = f"event: {name}\n" if name else ""
    return f"{kind}data: {json_text(data)}\n\n".encode()


def with_id(id_: EventId, written: bytes) -> bytes:
    """The same event under an id."""
    return id_line(id_) + written


def id_line(id_: EventId) -> bytes:
    """What an event under an id begins with."""
    return b"id: %s\n" % str(id_).encode()


def begin(retry_ms: int) -> bytes:
    """What a stream begins with, so that whoever reads has something: when to come again after it ended."""
    return b"retry: %d\n\n" % retry_ms


def alive(id_: EventId | None) -> bytes:
    """No event: a comment, so that the connection is not idle; and up to where there was nothing for this reader."""
    return b": alive\n\n" if id_ is None else with_id(id_, b": alive\n\n")
