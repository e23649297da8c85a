"""Bytes that somebody sent, as text: whatever they are, they stay readable, and what was done to them is said."""

from __future__ import annotations

from typing import Final

INVALID_UTF8: Final = "invalid-utf-8"
_BOM: Final = "\ufeff"


def to_text(raw: bytes) -> tuple[str, bool]:
    r"""The text, and whether it was UTF-8. What is not is written as `\xe9`: no byte is lost, none is guessed."""
    try:
        return raw.decode(), True
    except UnicodeDecodeError:
        return raw.decode(errors="backslashreplace"), False


def without_bom(text: str) -> str:
    """RFC 5424 lets a message begin with one, and some senders begin the whole datagram with it."""
    return text.removeprefix(_BOM)
