"""A source that pulls: asks its server every so often, and when it is told to, and gives what is new.

Guarantees: a record is durable together with how far the pages were read, so that after kill -9 nothing is missing and
nothing comes twice (`seen`). A fault of the server, of the way to it, or of an answer is no answer: what was taken is
kept, and it is asked again from there, never sooner than it is declared, and less often while the fault lasts.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from typing import Any, Final, NamedTuple

from fabric.documents import parse_object
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import lane_of
from fabric.protocol.vocabulary.topics import kind_of_topic
from relays.gateways.kinds import Given, Intake, Place, Pulled
from relays.gateways.mapping import Mapped
from relays.gateways.pulling.asking import Asking, NoAnswerError
from relays.gateways.pulling.pace import RETRY_AFTER_MOST_S, Pace
from relays.gateways.pulling.pages import PAGES_MAX, Feed, Mark, Page, Unreadable, unreadable
from relays.gateways.pulling.seen import PAGE_RECORDS_MAX, Seen, digest_of
from relays.gateways.pulling.settings import How
from relays.reading.records import is_too_deep
from relays.wall import wall_ms

# Given at a time.
_AT_ONCE: Final = 512
_LOOK_S: Final = 0.5


class _Where(NamedTuple):
    """A position: how many records of which page were taken, and the mark of the page, or behind it."""

    page: int
    taken: int
    mark: Mark


class PullSource:
    """`declared`: what, when it is changed, makes what is known of the pages worthless."""

    def __init__(
        self, how: How, feed: Feed, declared: object, place: Place, now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._how = how
        self._feed = feed
        self._of = hashlib.sha256(repr(declared).encode()).hexdigest()[:16]
        self._place = place
        self._now_ms = now_ms
        self._name = f"pull {place.name}"
        self._pace = Pace(how.every_s, random.random)
        self._mark: Mark = {}
        self._wake = threading.Condition()
        self._asked: list[Future[Pulled]] = []
        self._is_awake = False
        self._is_over = False
        self._alone_until_s = 0.0  # the server wants to be left alone, also by who asks for a pull

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """As `kinds.Source` says."""
        where = self._position(intake.position_of(self._name))
        self._mark = where.mark
        seen = Seen(self._place.folder, self._how.remember, where.page, where.taken)
        try:
            while not stop.is_set():
                asked = self._take_asked()
                wait_s = self._once(intake, stop, seen, asked)
                self._rest(wait_s, stop)
        except FabricError as error:
            if not (error.code is Code.CLOSED and stop.is_set()):
                raise
        finally:
            seen.close()
            with self._wake:
                self._is_over = True
            _answer(self._take_asked(), FabricError(Code.STOPPING))

    # -- from any thread --------------------------------------------------------------------------------

    def pull(self) -> Future[Pulled]:
        """As `kinds.Pulls` says."""
        future: Future[Pulled] = Future()
        left_s = self._alone_until_s - time.monotonic()
        if left_s > 0.0:
            future.set_exception(NoAnswerError(f"{self._how.endpoint}: it wants to be left alone for {left_s:.0f} s"))
            return future
        with self._wake:
            if not self._is_over:
                self._asked.append(future)
                self._wake.notify_all()
                return future
        future.set_exception(FabricError(Code.STOPPING))
        return future

    def wake(self) -> None:
        """As `kinds.Pulls` says."""
        with self._wake:
            self._is_awake = True
            self._wake.notify_all()

    # -- its own thread ---------------------------------------------------------------------------------

    def _take_asked(self) -> list[Future[Pulled]]:
        with self._wake:
            asked, self._asked = self._asked, []
        return asked

    def _rest(self, wait_s: float, stop: threading.Event) -> None:
        until_s = time.monotonic() + wait_s
        with self._wake:
            while not self._asked and not self._is_awake and not stop.is_set():
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    break
                self._wake.wait(left_s)
            self._is_awake = False

    def _once(self, intake: Intake, stop: threading.Event, seen: Seen, asked: list[Future[Pulled]]) -> float:
        """One pull; how long to rest. Raises CLOSED when it is to stop."""
        began = self._mark
        counts = _Counts()
        try:
            try:
                with Asking(self._how, stop) as ask:
                    self._through(ask, intake, stop, seen, counts)
            except OSError as error:  # of `seen`: nothing of the page was given
                why = (error.strerror or type(error).__name__).lower()
                raise FabricError(Code.SOURCE_AWAY, f"what it takes cannot be written down: {why}",
                                  "make room on the disk of the identity's folder: it goes on by itself") from None
        except FabricError as error:
            if error.code is Code.CLOSED or stop.is_set():
                _answer(asked, FabricError(Code.STOPPING))
                raise FabricError(Code.CLOSED) from None
            if isinstance(error, NoAnswerError) and error.anew:
                self._mark = self._feed.first(began)
            intake.waits(error)
            _answer(asked, error)
            wanted_s = error.retry_after_s if isinstance(error, NoAnswerError) else 0.0
            self._alone_until_s = time.monotonic() + min(wanted_s, RETRY_AFTER_MOST_S)
            return self._pace.faulty(wanted_s)
        except BaseException as error:
            _answer(asked, FabricError(Code.SOURCE_FAILED, type(error).__name__))
            raise
        intake.waits(None)
        _answer(asked, Pulled(counts.taken, counts.known, counts.rejected))
        return self._pace.well()

    def _through(
        self, ask: Asking, intake: Intake, stop: threading.Event, seen: Seen, counts: _Counts
    ) -> None:
        pages = self._feed.pages(self._mark, ask, self._now_ms)
        page = next(pages, None)
        for _ in range(PAGES_MAX):
            if page is None:
                return
            fresh = self._take(page, intake, stop, seen, counts)
            try:
                page = pages.send(fresh)
            except StopIteration:
                return
        pages.close()
        intake.note(f"{self._how.endpoint}: more than {PAGES_MAX:,} pages: it goes on with the next pull")

    def _take(self, page: Page, intake: Intake, stop: threading.Event, seen: Seen, counts: _Counts) -> int:
        """What is new of it, and how much that is."""
        fresh: dict[bytes, Mapping[str, Any] | Unreadable] = {}
        for found in page.records:
            record = unreadable(found, "it is nested deeper than a message may be") if is_too_deep(found) else found
            text = record.raw.decode("latin-1") if isinstance(record, Unreadable) else self._feed.id_of(record)
            digest = digest_of(text)
            if digest not in seen:
                fresh.setdefault(digest, record)
        counts.known += len(page.records) - len(fresh)
        # As they leave: a position is exact where none overtakes another.
        items = sorted(fresh.items(), key=lambda item: _lane(item[1], intake))
        for at in range(0, len(items), PAGE_RECORDS_MAX):
            part = items[at : at + PAGE_RECORDS_MAX]
            digests = [digest for digest, _ in part]
            number = seen.begin(digests)
            after = page.mark if at + len(part) == len(items) else self._mark
            self._give([record for _, record in part], number, after, intake, stop, counts)
            seen.took(digests)
            self._mark = after
        if seen.forgot and len(page.records) > self._how.remember:
            intake.note(f"a page has more than {self._how.remember:,} records: some come again; raise remember")
        if page.mark != self._mark:  # it has nothing new
            intake.pass_over((self._name, self._text(_Where(seen.page, PAGE_RECORDS_MAX, page.mark))))
            self._mark = page.mark
        return len(items)

    def _give(
        self, records: list[Mapping[str, Any] | Unreadable], number: int, after: Mark, intake: Intake,
        stop: threading.Event, counts: _Counts,
    ) -> None:
        """All of them, in order, until it is known what became of each. Raises CLOSED when it is to stop."""
        waiting: list[Given] = []
        ended: list[Future[list[str | FabricError]]] = []

        def give() -> None:
            if waiting:
                taken = intake.take_many(list(waiting))
                ended.append(taken.ended)
                if taken.taken < len(waiting):
                    raise FabricError(Code.CLOSED)
                waiting.clear()

        inner = _prefix(self._of, number, self._mark)
        for count, record in enumerate(records, 1):
            text = f"{inner}{count}}}" if count < len(records) else self._text(_Where(number, count, after))
            position, where = (self._name, text), f"{self._how.endpoint} page {number} record {count}"
            if isinstance(record, Unreadable):
                give()  # places are passed in their order
                intake.reject(record.raw, record.error, where, position)
                counts.rejected += 1
                continue
            waiting.append(Given(record, position, where))
            if len(waiting) >= _AT_ONCE:
                give()
        give()
        for future in ended:
            for outcome in _result(future, stop):
                counts.taken += isinstance(outcome, str)
                counts.rejected += not isinstance(outcome, str)

    def _text(self, where: _Where) -> str:
        return f"{_prefix(self._of, where.page, where.mark)}{where.taken}}}"

    def _position(self, text: str | None) -> _Where:
        """What was kept; of another declaration the mark is worthless, and what was taken is not."""
        try:
            kept = parse_object(text or "")
            mark = kept["mark"] if kept["of"] == self._of else {}
            return _Where(int(kept["page"]), int(kept["taken"]), dict(mark))
        except (ValueError, KeyError, TypeError):
            return _Where(0, 0, {})


def _lane(record: Mapping[str, Any] | Unreadable, intake: Intake) -> int:
    mapped = None if isinstance(record, Unreadable) else intake.mapped(record)
    if not isinstance(mapped, Mapped):
        return -1
    return lane_of(kind_of_topic(mapped.topic), mapped.severity, mapped.phase)


class _Counts:
    """Of one pull, in records."""

    def __init__(self) -> None:
        self.taken = self.known = self.rejected = 0


def _prefix(of: str, page: int, mark: Mark) -> str:
    return f'{{"of": "{of}", "mark": {json.dumps(mark)}, "page": {page}, "taken": '


def _result(future: Future[list[str | FabricError]], stop: threading.Event) -> list[str | FabricError]:
    while True:
        try:
            return future.result(_LOOK_S)
        except LateError:
            if stop.is_set():
                raise FabricError(Code.CLOSED) from None


def _answer(asked: list[Future[Pulled]], outcome: Pulled | FabricError) -> None:
    for future in asked:
        if isinstance(outcome, Pulled):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
