r"""Messages out of a stream (RFC 6587): counted (`57 <34>...`), or ended by LF or NUL, each found out by itself.

Guarantees: a connection whose sender mixes both, or counts wrongly, goes on with the next message that can be found;
whatever comes, no more than `MESSAGE_MAX` bytes of one message are kept, and what is left out of it is marked.

A count is one where `<priority>` follows it, or where this connection has counted before: "54 people came" is a line. A
NUL ends a message unless more text came with it: one within a message stays there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MESSAGE_MAX: Final = 65_536
# A count above it is none: to believe it would be to swallow that much of what follows.
COUNT_MAX: Final = 1 << 20
TRUNCATED: Final = "truncated"
CUT_OFF: Final = "cut-off"
BAD_FRAME: Final = "bad-frame"

_COUNT: Final = re.compile(rb"([1-9]\d{0,6}) (?=<-?\d{1,10}>)")
_COUNT_ONLY: Final = re.compile(rb"([1-9]\d{0,6}) ")
# What may still become a count with a priority behind it.
_UNDECIDED: Final = re.compile(rb"[1-9]\d{0,6}(?: (?:<(?:-?\d{0,10})?)?)?\Z")
_END: Final = re.compile(rb"[\n\0]")
_BLANK: Final = re.compile(rb"[\n\r\0]*")  # matches always
_BETWEEN: Final = b"\n\r\0"
_AFTER_NUL: Final = b"<0123456789\n\r\0"


class Frame(NamedTuple):
    """A message's bytes, and what is to be said of them: TRUNCATED, CUT_OFF, BAD_FRAME."""

    raw: bytes
    marks: tuple[str, ...] = ()


class Frames:
    """Those of one connection."""

    def __init__(self, message_max: int = MESSAGE_MAX) -> None:
        self._max = message_max
        self._buffer = bytearray()
        self._looked = 0  # up to where there is no end of a line
        self._skip = 0  # bytes of a counted message that is kept already
        self._skip_line = False  # to the end of a line likewise
        self.counted = False  # whether this connection has counted
        self.left_out = 0  # bytes, of messages that were too long

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Those messages that are whole now."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at = 0
        while True:
            at = self._over(at)
            if at >= len(buffer):
                break
            step = self._next(at, frames)
            if step < 0:
                break
            at = step
        del buffer[:at]
        self._looked = max(0, self._looked - at)
        return frames

    def end(self, cut: bool = False) -> list[Frame]:
        """What is left when the connection ends. `cut`: it is ended here, so what is left is not all of it."""
        left = bytes(self._buffer)
        self._buffer.clear()
        skipped, self._skip, self._skip_line, self._looked = self._skip or self._skip_line, 0, False, 0
        if skipped or not left.strip(_BETWEEN):
            return []
        found = self._count_at(left, 0)
        if found is not None:
            return [Frame(left[found.end() : found.end() + self._max], (CUT_OFF,))]
        return [Frame(left.rstrip(_BETWEEN)[: self._max], (CUT_OFF,) if cut else ())]

    def _over(self, at: int) -> int:
        """Past what belongs to no message."""
        buffer = self._buffer
        if self._skip:
            step = min(self._skip, len(buffer) - at)
            self._skip -= step
            self.left_out += step
            at += step
        if self._skip_line:
            found = _END.search(buffer, at)
            self.left_out += (found.start() if found else len(buffer)) - at
            at = found.end() if found else len(buffer)
            self._skip_line = found is None
        if not self._skip:
            at = _BLANK.match(buffer, at).end()  # type: ignore[union-attr]
        return at

    def _next(self, at: int, frames: list[Frame]) -> int:
        """One message, from here: where the next begins; below 0 where more has to come."""
        buffer = self._buffer
        digit = 0x31 <= buffer[at] <= 0x39
        if digit:
            found = self._count_at(buffer, at)
            if found is not None:
                return self._counted(int(found[1]), found.end(), frames)
            if _UNDECIDED.match(buffer, at):
                return -1
        return self._line(at, frames, (BAD_FRAME,) if self.counted and (digit or buffer[at] != 0x3C) else ())

    def _count_at(self, buffer: bytes | bytearray, at: int) -> re.Match[bytes] | None:
        found = (_COUNT_ONLY if self.counted else _COUNT).match(buffer, at)
        return found if found is not None and int(found[1]) <= COUNT_MAX else None

    def _counted(self, count: int, start: int, frames: list[Frame]) -> int:
        kept = min(count, self._max)
        if len(self._buffer) - start < kept:
            return -1
        self.counted = True
        raw = bytes(self._buffer[start : start + kept]).rstrip(_BETWEEN)
        self._skip = count - kept
        if raw:
            frames.append(Frame(raw, (TRUNCATED,) if self._skip else ()))
        return start + kept

    def _line(self, at: int, frames: list[Frame], marks: tuple[str, ...]) -> int:
        buffer = self._buffer
        end = buffer.find(b"\n", max(at, self._looked))
        limit = end if end >= 0 else len(buffer)
        nul = self._nul(max(at, self._looked), limit)
        if nul >= 0:
            end = limit = nul
        if limit - at > self._max:
            frames.append(Frame(bytes(buffer[at : at + self._max]), (TRUNCATED, *marks)))
            self._looked = 0
            self._skip_line = True
            return at + self._max
        if end < 0:
            self._looked = len(buffer)
            return -1
        raw = bytes(buffer[at:end]).rstrip(_BETWEEN)
        if raw:
            frames.append(Frame(raw, marks))
        return end + 1

    def _nul(self, at: int, limit: int) -> int:
        """The first NUL before `limit` that ends a message."""
        buffer = self._buffer
        nul = buffer.find(b"\0", at, limit)
        while nul >= 0:
            if nul + 1 >= len(buffer) or buffer[nul + 1] in _AFTER_NUL:
                return nul
            nul = buffer.find(b"\0", nul + 1, limit)
        return -1


def of_datagram(data: bytes, message_max: int = MESSAGE_MAX) -> Frame | None:
    """Of UDP, which has a message in each datagram; some count it all the same. None where there is nothing in it."""
    data = data.strip(_BETWEEN)
    found = _COUNT.match(data)
    if found is not None and found.end() + int(found[1]) == len(data):
        data = data[found.end() :].strip(_BETWEEN)
    if not data:
        return None
    return Frame(data[:message_max], (TRUNCATED,) if len(data) > message_max else ())
