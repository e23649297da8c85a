"""Makes text from outside safe for a line of a terminal or a log: it is only shown there, and has no effect.

Guarantees: what comes out is one line of printable characters, so it moves no cursor, sets no title, hides nothing and
reverses nothing. Control characters (C0, C1, DEL), line ends, bidirectional controls, characters without width,
unassigned and private characters and lone surrogates are shown as JSON escapes them, so JSON stays the same JSON.
Everything printable stays as it is, and so do backslashes: where the exact text matters, use JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that only show something do without it
    import structlog

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    """One printable line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _SHORT.get(char) or _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def plain_values(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A step of structlog before lines that people read: names and values as printable text."""
    return {escaped(str(name)): _plain(value) for name, value in event.items()}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list | tuple):
        return " ".join(str(_plain(item)) for item in value)
    return value if value is None or isinstance(value, bool | int | float) else escaped(repr(value))
