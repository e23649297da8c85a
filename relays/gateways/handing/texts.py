"""A message as it is handed over: the JSON that `fabric subscribe --json` prints, and its time."""

from __future__ import annotations

from datetime import UTC, datetime

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from relays.terminal import json_text


def json_of(message: Message) -> str:
    """On one line, in ASCII. Raises BAD_BODY for what no JSON can hold."""
    try:
        return json_text(message.to_json())
    except (ValueError, RecursionError) as error:
        raise FabricError(Code.BAD_BODY, f"no JSON can hold it ({type(error).__name__})") from None


def time_of(message: Message) -> str:
    """When it was issued, as RFC 3339 has it; empty for a time that no calendar has. Where nobody knows the time its
    origin may write any: no sink ends for that."""
    try:
        at = datetime.fromtimestamp(message.issued_at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
