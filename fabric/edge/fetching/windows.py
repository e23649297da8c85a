"""What is asked for next of an artifact, and in which order what comes is written (SPEC 9.9).

Pure: time is an argument. Guarantees: what is given out to be written is the artifact from its beginning without a gap
or a repeat, whatever comes, in whatever order; what is kept for later is no more than was asked for; ranges that are
open follow each other, two of them at most. A range is as large as comes in a few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fabric.protocol.base.limits import WINDOW_BYTES_MAX, WINDOW_BYTES_MIN

# A range that took less is followed by one twice as large, and one that took more by one half as large.
_QUICK_MS: Final = 1_500
_SLOW_MS: Final = 6_000
_OPEN_MAX: Final = 2


@dataclass(slots=True)
class Windows:
    """`size`: of the artifact; `at`: so much of it is there."""

    size: int
    at: int
    range_bytes: int = 2 * WINDOW_BYTES_MIN  # of the next
    _ahead: dict[int, bytes] = field(default_factory=dict)  # what came before its turn, by its offset
    _open: list[tuple[int, int, int]] = field(default_factory=list)  # (from, to, when it was asked for)

    @property
    def done(self) -> bool:
        return self.at >= self.size

    @property
    def asked_to(self) -> int:
        return self._open[-1][1] if self._open else self.at

    def ask(self, now_ms: int) -> tuple[int, int] | None:
        """(offset, bytes) of a range that is to be asked for now; None where enough is."""
        begin = self.asked_to
        half_came = not self._open or self.at >= (self._open[-1][0] + self._open[-1][1]) // 2
        if begin >= self.size or len(self._open) >= _OPEN_MAX or not half_came:
            return None
        end = min(self.size, begin + self.range_bytes)
        self._open.append((begin, end, now_ms))
        return begin, end - begin

    def take(self, offset: int, data: bytes, now_ms: int) -> list[bytes]:
        """What is to be written now. What was not asked for, or is there, adds nothing."""
        if not data or offset + len(data) > self.asked_to or offset < self.at or offset in self._ahead:
            return []
        if sum(map(len, self._ahead.values())) + len(data) > self.asked_to - self.at:
            return []  # pieces that overlap: no target of ours sends them
        self._ahead[offset] = data
        written: list[bytes] = []
        while self.at in self._ahead:
            piece = self._ahead.pop(self.at)
            written.append(piece)
            self.at += len(piece)
        if written:
            self._ahead = {begin: piece for begin, piece in self._ahead.items() if begin >= self.at}
        while self._open and self._open[0][1] <= self.at:
            begin, end, asked_ms = self._open.pop(0)
            self._learn(end - begin, now_ms - asked_ms)
        return written

    def _learn(self, bytes_: int, took_ms: int) -> None:
        if took_ms < _QUICK_MS and bytes_ >= self.range_bytes:
            self.range_bytes = min(WINDOW_BYTES_MAX, 2 * self.range_bytes)
        elif took_ms > _SLOW_MS:
            self.range_bytes = max(WINDOW_BYTES_MIN, self.range_bytes // 2)

    def again(self, *, slower: bool = False) -> None:
        """What is open is not coming any more: it is asked for again from where it stands."""
        self._open.clear()
        self._ahead.clear()
        if slower:
            self.range_bytes = max(WINDOW_BYTES_MIN, self.range_bytes // 2)
