"""One file that is read: what is there now, as lines, and the mark after the last one that was taken.

Guarantees: bytes are taken only if what precedes them, looked at in the same read, and what the file begins with are
still what was read before; so a file that was cut short is noticed even when it has grown past the old place again.
"""

from __future__ import annotations

from collections.abc import Iterator

from relays.reading.opened import Opened
from relays.reading.place import HEAD_BYTES, TAIL_BYTES, WHOLE, Mark, sum_of
from relays.reading.splitting import Piece, Splitter

_CHUNK_BYTES = 262_144
# So that whoever reads looks at the other files too while this one grows.
_CHUNKS_MAX = 64


class Reading:
    """Begins at the mark; without one at the beginning. Raises UnreadableError and OSError.

    `cut`: the bytes before the place are not there any more; nothing is read then. `left_at_s`: since when the log's
    name stands for another file. `is_copy`: of a file that was then cut short. `was_packed`: it was compressed after a
    part of it was read. `is_fresh`: nothing was taken of it, so that the end of a line may come that a rotation tore.
    `is_pinned`: what it begins with was looked at.
    """

    def __init__(self, opened: Opened, mark: Mark | None = None) -> None:
        self.opened = opened
        self.id = opened.id
        offset = mark.offset if mark is not None else 0
        self._head = opened.read_all(0, min(HEAD_BYTES, offset))
        self.is_pinned = mark is not None
        self._window = opened.read_all(max(0, offset - TAIL_BYTES), min(TAIL_BYTES, offset))
        self._at = offset
        self._taken = offset
        self._splitter = Splitter(self._head)
        self.mark = mark._replace(inode=self.id[1], path=str(opened.path)) if mark else self._marked(0, b"")
        self.cut = self.at_end = self.grew = False
        self.is_copy = self.was_packed = False
        self.is_fresh = mark is None
        self.grown_at_s = 0.0
        self.left_at_s: float | None = None
        self.size = self.mtime_ns = 0

    def pin(self) -> bool:
        """Look at what it begins with before anything is taken of it; whether there is something.

        From then on it is noticed when it is cut short, and who looks for other files now sees its copy.
        """
        if not self.is_pinned:
            self._head = self.opened.read_all(0, HEAD_BYTES)
            self.is_pinned = bool(self._head)
            self.at_end = not self.is_pinned
        return self.is_pinned

    def pieces(self) -> Iterator[Piece]:
        """Lines that are there in full by now, `mark` after each. Raises UnreadableError and OSError."""
        for _ in range(_CHUNKS_MAX):
            data = self._more()
            self.at_end = not data
            if not data:
                return
            before = self._at - len(data) - len(self._window)
            window = self._window + data
            self._window = window[-TAIL_BYTES:]
            for piece in self._splitter.feed(data):
                self._taken += piece.size
                end = self._taken - before
                self.mark = self._marked(self._taken, window[max(0, end - TAIL_BYTES) : end])
                yield piece

    def _more(self) -> bytes:
        if self.cut:
            return b""
        found = self.opened.stat()
        self.size, self.mtime_ns = found.st_size, found.st_mtime_ns
        if self.opened.packed:
            data = self.opened.read(self._at, _CHUNK_BYTES)
        else:
            kept = len(self._window)
            data = self.opened.read(self._at - kept, kept + _CHUNK_BYTES)
            if data[:kept] != self._window or self.opened.read_all(0, len(self._head)) != self._head:
                self.cut = True
                return b""
            data = data[kept:]
        if len(self._head) < HEAD_BYTES:
            self._head += data[max(0, len(self._head) - self._at) : HEAD_BYTES - self._at]
        self._at += len(data)
        self.grew = self.grew or bool(data)
        return data

    @property
    def at(self) -> int:
        """Bytes that were read, a last line without an end included."""
        return self._at

    @property
    def pending(self) -> int:
        """Bytes of a last line without an end."""
        return self._splitter.pending

    def peek(self) -> bytes:
        return self._splitter.peek()

    def mark_read(self) -> Mark:
        """Behind all that was read: what its content is known by."""
        return self._marked(self._at, self._window)

    def take_rest(self) -> Piece | None:
        """The last line, which nothing ended. What comes to it later is a line of its own."""
        piece = self._splitter.rest()
        if piece is not None:
            self._taken = self._at
            self.mark = self._marked(self._taken, self._window)
        return piece

    def finish(self) -> None:
        """It is read, and will not grow: it is enough to know it again."""
        if self.opened.packed and not self.pending:
            self.mark = Mark(self.id[1], WHOLE, len(self._head), sum_of(self._head), 0, sum_of(b""), self.mark.path)

    def _marked(self, offset: int, tail: bytes) -> Mark:
        head = self._head[: min(HEAD_BYTES, offset)]
        return Mark(self.id[1], offset, len(head), sum_of(head), len(tail), sum_of(tail), str(self.opened.path))

    def close(self) -> None:
        self.opened.close()
