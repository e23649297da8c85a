"""What became of requests with an Idempotency-Key, on disk: the same request again gets the same answer.

    <identity>/gateways/<source>/keys.log      a line of JSON for each request that ended, or was interrupted

Guarantees: an answer is on disk before it is given. How far a request came that nobody answered is known from the
outbox, which keeps it together with its records (`slot`), so that it goes on there after kill -9. Keys go after
`KEPT_MS`; when there are more than `KEYS_MAX`, or `LOG_BYTES_MAX` bytes, the oldest of the token that has most, so that
nobody makes room with the keys of others. Files are private.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fabric.documents import parse_object
from fabric.files import append_whole, make_private, open_private, read_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.shares import Holdings

KEYS_MAX: Final = 10_000
KEPT_MS: Final = 24 * 3_600_000
LOG_BYTES_MAX: Final = 32 << 20
KEY_CHARS_MAX: Final = 255
# Requests with a key that are at work at a time: each has a name in the outbox.
SLOTS: Final = 16
_LOG: Final = "keys.log"


class Kept(NamedTuple):
    """`answer`: (status, media type, body) when it ended. Else so many records were taken, in the order `order`, with
    these ids as far as they are known."""

    body: str
    at_ms: int
    answer: tuple[int, str, str] | None = None
    order: str = ""
    taken: int = 0
    ids: tuple[str, ...] = ()


class Keys:
    """`position_of`: as the outbox knows it. Of any thread. Raises OSError, NOT_PRIVATE, BAD_INPUT."""

    def __init__(
        self, folder: Path, source: str, position_of: Callable[[str], str | None], now_ms: Callable[[], int]
    ) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._at_work: set[str] = set()
        self._by_key: dict[str, Kept] = {}
        self._path = make_private(folder) / _LOG
        self._slots = [f"http {source} {number}" for number in range(SLOTS)]
        self._read()
        for slot in self._slots:
            key, body, order, taken, *_ = [*(position_of(slot) or "").split(" "), "", "", "", ""]
            kept = self._by_key.get(key)
            count = int(taken) if taken.isdigit() else 0
            if count and (kept is None or kept.body == body and kept.answer is None and kept.taken < count):
                self._by_key[key] = Kept(body, now_ms(), None, order, count, kept.ids if kept is not None else ())
        self._size = 0
        self._descriptor = -1
        self._write_anew()

    def begin(self, token: str, key: str, body: bytes) -> Work:
        """Work on a request. Raises HTTP_KEY for another body, or while the key is at work; HTTP_BUSY."""
        if not key or not key.isprintable() or not key.isascii() or len(key) > KEY_CHARS_MAX:
            raise FabricError(Code.HTTP_KEY, f"it is not 1 to {KEY_CHARS_MAX} printable characters")
        name, digest = f"{_digest(token.encode())}.{_digest(f'{token} {key}'.encode())}", _digest(body)
        with self._lock:
            kept = self._by_key.get(name)
            if kept is not None and kept.at_ms + KEPT_MS < self._now_ms():
                kept = None
            if kept is not None and kept.body != digest:
                raise FabricError(Code.HTTP_KEY, "it was used for another body")
            if kept is not None and kept.answer is not None:
                return Work(self, name, digest, "", kept)
            if name in self._at_work:
                raise FabricError(Code.HTTP_KEY, "it is at work at this moment")
            if not self._slots:
                raise FabricError(Code.HTTP_BUSY, "many requests with a key are at work")
            self._at_work.add(name)
            return Work(self, name, digest, self._slots.pop(), kept)

    def end(self, work: Work, kept: Kept | None) -> None:
        """It ended so; None: nothing of it was taken. Raises OSError, and the slot is not used again by this run."""
        with self._lock:
            self._at_work.discard(work.name)
            if kept is not None:
                self._by_key.pop(work.name, None)
                self._by_key[work.name] = kept
                line = _line(work.name, kept)
                if len(self._by_key) > KEYS_MAX or self._size + len(line) > LOG_BYTES_MAX:
                    self._write_anew()
                else:
                    append_whole(self._descriptor, line, self._size)
                    self._size += len(line)
                    os.fsync(self._descriptor)
            self._slots.append(work.slot)

    def close(self) -> None:
        """Once, at the end."""
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            data = read_private(self._path, 2 * LOG_BYTES_MAX)
        except FileNotFoundError:
            return
        for line in data.split(b"\n"):
            try:
                name, kept = _parsed(parse_object(line))
            except (ValueError, KeyError, TypeError):
                continue  # the last one, of a power failure: it was not answered
            self._by_key.pop(name, None)
            self._by_key[name] = kept

    def _write_anew(self) -> None:
        """Without what is too old or too much."""
        oldest_ms = self._now_ms() - KEPT_MS
        lines = {name: _line(name, kept) for name, kept in self._by_key.items() if kept.at_ms >= oldest_ms}
        for name in _surplus(lines):
            del lines[name]
        self._by_key = {name: self._by_key[name] for name in lines}
        data = b"".join(lines.values())
        write_private(self._path, data)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = open_private(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = len(data)


def _surplus(lines: Mapping[str, bytes]) -> Iterator[str]:
    """Which go, the oldest first, of whoever has most at that time; so many that there is room for some time."""
    names_of: dict[str, deque[str]] = {}
    sizes: Holdings[str] = Holdings()
    for name, line in lines.items():
        token = _token_of(name)
        names_of.setdefault(token, deque()).append(name)
        sizes.add(token, len(line))
    count, size = len(lines), sizes.total()
    while count > KEYS_MAX * 3 // 4 or size > LOG_BYTES_MAX // 2:
        is_count = count > KEYS_MAX * 3 // 4
        most = max(names_of, key=lambda token: len(names_of[token]) if is_count else sizes[token])
        name = names_of[most].popleft()
        count, size = count - 1, size - len(lines[name])
        sizes.add(most, -len(lines[name]))
        yield name


def _token_of(name: str) -> str:
    """Empty of those that were kept before names said it."""
    return name.rpartition(".")[0]


class Work:
    """A request with a key. `slot`: the name in the outbox under which it is kept how far it came; empty where it has
    its answer. `before`: what an earlier try came to."""

    def __init__(self, keys: Keys, name: str, body: str, slot: str, before: Kept | None) -> None:
        self._keys = keys
        self.name = name
        self.slot = slot
        self.before = before
        self._body = body
        self._order = ""
        self._ended = False

    def resume(self, order: Iterable[int]) -> int:
        """The order in which its records are given; how many of them were taken already. Raises HTTP_KEY."""
        self._order = _digest(repr(list(order)).encode())
        if self.before is None:
            return 0
        if self.before.order != self._order:
            raise FabricError(Code.HTTP_KEY, "a part of it was taken, and it is declared otherwise since",
                              "send what was not accepted with another key")
        return self.before.taken

    def position(self, taken: int) -> tuple[str, str]:
        """With the record that makes it so many."""
        return self.slot, f"{self.name} {self._body} {self._order} {taken}"

    def answered(self, status: int, media_type: str, body: str) -> None:
        """This is its answer, on disk when this returns."""
        self._end(Kept(self._body, self._keys._now_ms(), (status, media_type, body)))

    def interrupted(self, taken: int, ids: Iterable[str]) -> None:
        """It is to be sent again."""
        self._end(Kept(self._body, self._keys._now_ms(), None, self._order, taken, tuple(ids)) if taken else None)

    def abandoned(self) -> None:
        """It was no request after all, where it has not ended."""
        if not self._ended:
            self._end(self.before)

    def _end(self, kept: Kept | None) -> None:
        self._ended = True
        try:
            self._keys.end(self, kept)
        except OSError as error:
            raise FabricError(Code.HTTP_BUSY, f"its key cannot be kept: {error.strerror}") from None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _line(name: str, kept: Kept) -> bytes:
    return json.dumps([name, *kept]).replace("\n", " ").join(('{"kept": ', "}\n")).encode()


def _parsed(document: dict[str, Any]) -> tuple[str, Kept]:
    name, body, at_ms, answer, order, taken, ids = document["kept"]
    return str(name), Kept(str(body), int(at_ms), tuple(answer) if answer else None, order, int(taken), tuple(ids))
