"""Writes down what a program asks for, and what is heard of it, in the book of its identity.

Guarantees: an action with a key is on disk, signed, before it is sent, and is asked for once under that key, whatever
process asks; what is heard of it is on disk before the relay is told that it was. Without a key an action is asked for
also where nothing can be written: that is logged once. Every call belongs to the connection's thread.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from fabric.edge.messages import Message
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.requesting.account import RESULTS_MS, asked_of, lasts_ms, recall, tracker_of, word_of
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.verify import Verified
from fabric.spool.book import Book, Change, Entry

# How often it is looked whether another process has heard something.
_LOOK_MS = 100
_RETRY_MS = 1_000
# So long an action without a key, and a word of it, waits for others: each commit takes several turns of a disk.
_GATHER_MS = 200
# Actions of other processes, and of earlier requests of this one, whose results come here: each has its targets' words.
_OTHERS_MAX = 64
# Words that wait for a disk. What they came with is not acknowledged meanwhile, so the relay's credit bounds it too.
_WAITING_MAX = 65_536


class NotKeptError(FabricError):
    """An action with a key is not sent while what becomes of it would be kept by nobody."""

    def __init__(self) -> None:
        super().__init__(Code.BUSY, "its results are not kept at the moment", "ask again")


@dataclass(slots=True)
class _Written:
    """An action that is in the book. `after`, `since_ms`: how far its words were read."""

    entry: Entry
    is_told: bool = False  # that it is over
    after: int = 0
    since_ms: int = 0
    resolution: str = ""
    named: bool = False
    until_ms: int = 0  # where it is held for approvals longer than was known when it was asked for


class Recorder:
    """`path`: the book. It is opened when there is something for it."""

    def __init__(self, path: Path, log: structlog.typing.FilteringBoundLogger) -> None:
        self._path = path
        self._log = log
        self._book: Book | None = None
        self._written: OrderedDict[bytes, _Written] = OrderedDict()  # by leaf: open here, and some that are not
        self._open: dict[bytes, Tracker] = {}
        self._others: dict[bytes, Tracker] = {}
        self._entries: list[Entry] = []
        self._changes: dict[bytes, Change] = {}
        self._unread: deque[tuple[Verified, Sequence[Message], int]] = deque()  # the book could not say whose they are
        self._waiting = 0  # actions, words in changes, and messages that are unread
        self._has_key = False  # one of them is of an action with a key
        self._acknowledge: list[Callable[[], None]] = []
        self._last_ms = -_GATHER_MS
        self._retry_ms = 0
        self._look_ms = 0
        self._version = 0
        self._is_warned = False

    # -- what is asked for --------------------------------------------------------------------------------

    def open(self) -> Book:
        """Raises BOOK_FAILED."""
        if self._book is None:
            self._book = Book(self._path)
        return self._book

    def known(self, key: str, stamp: Stamp, record: Mapping[str, Any]) -> Entry | None:
        """The action that was asked for under this key. Raises KEY_TAKEN where that is another one, BOOK_FAILED."""
        entry = self.open().by_key(key)
        if entry is not None:
            check_same(entry.envelope, stamp, record)
        return entry

    def write_down(self, message: Verified, key: str, now_ms: int) -> Entry | None:
        """The action that counts: under a key the first one, on disk. Without one it waits for others; None: there is
        no book for it.

        Raises NotKeptError where it has a key and its results would be kept by nobody, BOOK_FAILED.
        """
        # What becomes of its effect is awaited under a key only: else nobody keeps it while no program is there.
        awaited_ms = message.header.ttl_ms + RESULTS_MS + (lasts_ms(message.raw) if key else 0)
        entry = Entry(
            0, message.leaf, key, now_ms, now_ms + awaited_ms, message.raw, message.credential.raw,
        )
        if key:
            found = self.open().add(entry, now_ms)
            if found is None:
                raise NotKeptError
            return found
        try:
            self.open()
        except FabricError as error:
            self._warn(error)
            return None
        self._entries.append(entry)
        self._waiting += 1
        return entry

    def begin(self, entry: Entry, deadline_ms: int, wait_ms: int = 0) -> Tracker:
        """Track an action that is in the book, from what is known of it on."""
        header, _ = asked_of(entry.envelope)
        words = self.open().words(entry.n) if entry.n else []
        tracker = tracker_of(entry, header, words, deadline_ms, wait_ms)
        written = _Written(entry, after=words[-1].n if words else 0, named=entry.targets is not None or entry.nobody)
        written.since_ms = max((word.last_ms for word in words), default=0)
        self._written[entry.id], self._open[entry.id] = written, tracker
        self._others.pop(entry.id, None)
        return tracker

    def arrived(self, id_: bytes) -> None:
        """A relay has it: to send it again is not needed."""
        self._change(id_, arrived=True)

    def refused(self, id_: bytes, error: FabricError) -> None:
        """Its relay did not take it, for good."""
        self._change(id_, refused=error.code.number, why=error.detail, closed=True)

    # -- what is heard ------------------------------------------------------------------------------------

    def heard(self, tracker: Tracker, now_ms: int) -> None:
        """Write down what a tracker has learnt; its news are left as they are."""
        written = self._written.get(tracker.digest)
        if written is None:
            return
        words, facts = [word_of(news, now_ms) for news in tracker.news], self._facts(tracker, written)
        if words or facts:
            self._change(tracker.digest, words=words, **facts)

    def _facts(self, tracker: Tracker, written: _Written) -> dict[str, Any]:
        """What is known of the action as a whole, and not yet in the book."""
        facts: dict[str, Any] = {}
        if not written.named and (tracker.targets is not None or tracker.nobody):
            written.named = True
            facts.update(targets=tracker.targets, turned_at=tracker.turned_at, nobody=tracker.nobody, arrived=True)
        if tracker.resolution != written.resolution:
            facts["resolution"] = written.resolution = tracker.resolution
        until_ms = tracker.held_until_ms + tracker.ttl_ms + RESULTS_MS if tracker.held_until_ms else 0
        if until_ms > max(written.entry.until_ms, written.until_ms):
            facts["until_ms"] = written.until_ms = until_ms
        effects_due = bool(written.entry.key) and tracker.effects_due
        if not written.is_told and tracker.done and tracker.unknown() == () and not effects_due:
            facts["closed"] = written.is_told = True
        return facts

    def others(self, message: Verified, messages: Sequence[Message], now_ms: int) -> None:
        """A result of no request that is open here: of another process, or of one that is over. It is for the book,
        where that is open. One that cannot be read now is read again."""
        if self._book is None:
            return
        try:
            if not self._unread:
                self._take(message, messages, now_ms)
                return
        except FabricError as error:
            self._warn(error)
            self._retry_ms = now_ms + _RETRY_MS
        self._unread.append((message, messages, now_ms))
        self._waiting += len(messages)
        self._has_key = True  # it may be of one

    def _take(self, message: Verified, messages: Sequence[Message], now_ms: int) -> None:
        tracker = self._other(message.header.correlation)
        if tracker is None:
            return
        for record in messages:
            tracker.take(message, record.content, now_ms)
        self.heard(tracker, now_ms)
        tracker.news.clear()

    def _other(self, id_: bytes) -> Tracker | None:
        """Of an action that is in the book. Raises BOOK_FAILED."""
        if id_ in self._others:
            return self._others[id_]
        entry = self.open().by_id(id_)
        if entry is None:
            return None
        tracker = self.begin(entry, 2**53)
        del self._open[id_]
        tracker.news.clear()
        self._keep_other(tracker)
        return tracker

    def over(self, tracker: Tracker) -> None:
        """It is not open here any more. What a target says after it is still written down."""
        if self._open.pop(tracker.digest, None) is None:
            return
        if tracker.unknown() is None:  # this one gave up before anybody was named: the book knows better
            del self._written[tracker.digest]
        else:
            self._keep_other(tracker)

    def _keep_other(self, tracker: Tracker) -> None:
        self._others[tracker.digest] = tracker
        while len(self._others) > _OTHERS_MAX:
            oldest = next(iter(self._others))
            del self._others[oldest], self._written[oldest]

    def _change(self, id_: bytes, **facts: Any) -> None:
        self._has_key = self._has_key or (id_ in self._written and bool(self._written[id_].entry.key))
        before = self._changes.get(id_, Change(id_))
        words = [*before.words, *facts.pop("words", ())]
        self._waiting += len(words) - len(before.words)
        self._changes[id_] = before._replace(words=words, **facts)

    # -- what is on disk ----------------------------------------------------------------------------------

    def when_written(self, acknowledge: Callable[[], None]) -> None:
        """Call this when what was heard until now of actions with a key is on disk; at once where that is so."""
        if self._has_key:
            self._acknowledge.append(acknowledge)
        else:
            acknowledge()

    def commit(self, now_ms: int) -> None:
        """At the end of a turn. What has no key promises nothing, and waits for more of it; what cannot be written is
        tried again where it has a key, and given up else."""
        if not self._waits or self._book is None or now_ms < self._retry_ms:
            return
        if not self._has_key and now_ms < self._last_ms + _GATHER_MS:
            return
        self._last_ms = now_ms
        try:
            while self._unread:
                self._take(*self._unread[0])
                self._unread.popleft()
            lost = self._book.record(list(self._changes.values()), now_ms, self._entries)
        except FabricError as error:
            self._warn(error)
            self._retry_ms = now_ms + _RETRY_MS
            if self._has_key and self._waiting <= _WAITING_MAX:
                return
        else:
            self._is_warned = False
            if lost:
                self._log.error("not written down: the book is full", missing=lost, code=Code.BOOK_FAILED.label)
        self._entries.clear()
        self._changes.clear()
        self._unread.clear()
        self._waiting, self._has_key = 0, False
        acknowledge, self._acknowledge = self._acknowledge, []
        for call in acknowledge:
            call()

    @property
    def _waits(self) -> bool:
        return bool(self._changes or self._entries or self._unread)

    def _warn(self, error: FabricError) -> None:
        if not self._is_warned:
            self._is_warned = True
            self._log.error("what becomes of actions is not written down", code=error.code.label, why=error.detail)

    @property
    def due_ms(self) -> int | None:
        """When `look` or `commit` must be called again."""
        due = [max(self._retry_ms, 0 if self._has_key else self._last_ms + _GATHER_MS)] if self._waits else []
        due += [self._look_ms] if self._followed() else []
        return min(due, default=None)

    def _followed(self) -> list[bytes]:
        return [id_ for id_ in self._open if self._written[id_].entry.key]

    def look(self, now_ms: int) -> list[Tracker]:
        """Those of the open actions of which another process has written something down."""
        if now_ms < self._look_ms or self._book is None or not (followed := self._followed()):
            return []
        self._look_ms = now_ms + _LOOK_MS
        try:
            version = self._book.version()
            if version == self._version:
                return []
            self._version = version
            return [self._open[id_] for id_ in followed if self._read(id_)]
        except FabricError as error:
            self._warn(error)
            return []

    def _read(self, id_: bytes) -> bool:
        assert self._book is not None
        written, tracker = self._written[id_], self._open[id_]
        entry, words = self._book.by_id(id_), self._book.words(written.entry.n, written.after, written.since_ms)
        if entry is None:
            return False
        written.after = max([written.after, *(word.n for word in words)])
        written.since_ms = max([written.since_ms, *(word.last_ms for word in words)])
        before = tracker.targets, tracker.nobody
        recall(tracker, entry, words)
        written.named = written.named or entry.targets is not None or entry.nobody
        if facts := self._facts(tracker, written):
            self._change(id_, **facts)
        return bool(tracker.news) or before != (tracker.targets, tracker.nobody)

    def close(self) -> None:
        """What waits is written now, or by nobody."""
        if self._book is not None:
            self._last_ms = self._retry_ms = -_GATHER_MS
            self.commit(0)
            self._book.close()
            self._book = None


def check_same(envelope: bytes, stamp: Stamp, record: Mapping[str, Any]) -> None:
    """Whether this is what was asked for. Raises KEY_TAKEN, naming what differs and no value of it."""
    header, asked = asked_of(envelope)
    pairs = (
        ("action", asked.get("action"), record["action"]), ("target", asked.get("target"), record["target"]),
        ("arguments", asked.get("args") or {}, record["args"]), ("to", header.to, stamp.to),
        ("severity", header.severity, stamp.severity), ("label", header.label, stamp.label),
        ("ttl", header.ttl_ms, stamp.ttl_ms), ("terms", header.terms, stamp.terms),
    )
    # As JSON: what is equal to Python, True and 1, is not the same to a handler.
    differ = [name for name, first, now in pairs if first != now or _plain(first) != _plain(now)]
    if differ:
        raise FabricError(Code.KEY_TAKEN, f"what differs: {', '.join(differ)}")


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else ""
