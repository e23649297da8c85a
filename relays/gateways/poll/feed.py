"""The pages of an API, one after the other: records, and what to ask for next, as it is declared.

Guarantees: what is asked for next time is never after this machine's own time, whatever times records have. A list
that is not there is a fault, and never "nothing new"; an empty one ends the pages. Two pages that lead to each other
end in a fault; what was new on them is taken.

The mark: `since`, ms, from which the pages at hand are; `high`, the newest of their records; `at`, a cursor, a link or
a page's number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from relays.gateways.mapping.paths import Path
from relays.gateways.mapping.times import time_ms
from relays.gateways.poll.settings import LINK_HEADER, Settings, Since
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply, Request
from relays.gateways.pulling.pages import (
    Mark,
    Page,
    Turns,
    Unreadable,
    at_first,
    behind,
    canonical,
    keys_of,
    read_json,
    unreadable,
)

_CURSOR_CHARS_MAX: Final = 4_096
# What a server says to a cursor or a link that it does not know any more.
_STALE: Final = (400, 404, 410, 422)
# RFC 9110, 8.8.2.2.
_SETTLED_S: Final = 2.0
_NO_CONTENT, _NOT_MODIFIED = 204, 304
# RFC 8288: the target of a link, and its parameters up to the next one.
_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")
_REL_NEXT: Final = re.compile(r';\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)', re.IGNORECASE)


class _Validators(NamedTuple):
    """Of an answer that was all there was, by which the next one can say that nothing changed."""

    params: Mapping[str, str]
    headers: Mapping[str, str]


class PollFeed:
    """As `pages.Feed` says."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = settings.how.endpoint
        self._validators = _Validators({}, {})

    def first(self, mark: Mark) -> Mark:
        """As `pages.Feed` says."""
        return at_first(mark)

    def id_of(self, record: Mapping[str, Any]) -> str:
        """As `pages.Feed` says."""
        found = [path.value(dict(record)) for path in self._settings.id]
        return canonical(record) if not found or None in found else json.dumps(found, sort_keys=True)

    def pages(self, mark: Mark, ask: Asking, now_ms: Callable[[], int]) -> Generator[Page, int, None]:
        """As `pages.Feed` says."""
        turns = Turns(self._where)
        if self._settings.since is not None and "since" not in mark:
            start_s = self._settings.since.start_s
            mark = {**mark, **({} if start_s is None else {"since": now_ms() - int(start_s * 1000)})}
        is_first = True
        while True:
            reply = self._reply(mark, ask, is_first)
            if reply.status in (_NO_CONTENT, _NOT_MODIFIED):
                return
            document = read_json(reply, self._settings.how)
            records = records_in(document, self._settings.records, self._where)
            at = self._next(document, reply, mark, ask, is_empty=not records)
            after = self._after(mark, at, records, now_ms())
            fresh = yield Page(records, after)
            if is_first and at is None:
                self._validators = _Validators(self._params(mark), _validators(reply))
            if at is None or not records or (at == mark.get("at") and not fresh):
                return
            turns.once(reply.body if self._settings.page is not None else json.dumps(at).encode() + reply.body)
            mark, is_first = after, False

    def _reply(self, mark: Mark, ask: Asking, is_first: bool) -> Reply:
        params = self._params(mark)
        headers = self._validators.headers if is_first and self._validators.params == params else {}
        at = mark.get("at")
        url = at if self._settings.next and isinstance(at, str) else self._settings.how.url
        try:
            return ask(Request(url, params=params, headers=headers))
        except NoAnswerError as error:
            if at is not None and error.status in _STALE:
                raise error.at_first() from None
            raise

    def _params(self, mark: Mark) -> dict[str, str]:
        settings, at = self._settings, mark.get("at")
        if settings.next and at is not None:
            return {}  # the link has all of it
        params = {}
        if settings.since is not None and "since" in mark:
            params[settings.since.param] = written(int(mark["since"]), settings.since.format)
        if settings.cursor is not None and at is not None:
            params[settings.cursor.param] = str(at)
        if settings.page is not None:
            params[settings.page.param] = str(settings.page.first if at is None else at)
        return params

    def _next(self, document: Any, reply: Reply, mark: Mark, ask: Asking, *, is_empty: bool) -> str | int | None:
        """What leads to the next page; None where this is the last one."""
        settings = self._settings
        if settings.page is not None:
            return None if is_empty else int(mark.get("at", settings.page.first)) + 1
        if settings.cursor is not None:
            return self._cursor(settings.cursor.path, document)
        if settings.next == LINK_HEADER:
            link: Any = link_in(reply.headers.get("link", ""))
        elif isinstance(settings.next, Path) and isinstance(document, dict):
            link = settings.next.value(document)
        else:
            return None
        if link is None or link == "":
            return None
        if not isinstance(link, str):
            raise NoAnswerError(f"{self._where}: the link to its next page is no text")
        return ask.there(link, reply.url)

    def _cursor(self, path: Path, document: Any) -> str | int | None:
        value = path.value(document) if isinstance(document, dict) else None
        if value is None or value == "" or value is False:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > _CURSOR_CHARS_MAX:
            raise NoAnswerError(f"{self._where}: {path.text} of its answer is no cursor")
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):  # no address can hold it
            raise NoAnswerError(f"{self._where}: {path.text} of its answer is no cursor")
        return value

    def _after(self, mark: Mark, at: str | int | None, records: list[Any], now_ms: int) -> Mark:
        since = self._settings.since
        if since is None:
            return behind(mark, at, None, 0)
        return behind(mark, at, newest(since, records, now_ms), int(since.overlap_s * 1000))


def newest(since: Since, records: list[Any], now_ms: int) -> int | None:
    """The newest time of these records, as far as it is not after ours; None where no record has one."""
    found = [time_ms(since.field.value(record)) for record in records if isinstance(record, dict)]
    times = [min(at_ms, now_ms) for at_ms in found if at_ms is not None]
    return max(times, default=None)


def written(at_ms: int, format_: str) -> str:
    """A time as the server reads it, never later than it is."""
    if format_ == "ms":
        return str(at_ms)
    if format_ == "s":
        return str(at_ms // 1000)
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def records_in(document: Any, path: Path | None, where: object) -> list[Mapping[str, Any] | Unreadable]:
    """The records of an answer: objects; a text or number alone becomes {"value": it}. Raises NoAnswerError where there
    is no list of them."""
    found = document
    if path is not None:
        trail = path.trail(document) if isinstance(document, dict) else None
        if trail is None:
            raise NoAnswerError(f"{where}: its answer has no {path.text}: {keys_of(document)}",
                                "look what it answers, and name where its records are: records")
        found = path.value(document)
        if found is None:  # how some write an empty list
            return []
    if not isinstance(found, list):
        what = f"{path.text} of its answer" if path is not None else "its answer"
        raise NoAnswerError(f"{where}: {what} is no list: {keys_of(found)}",
                            'name where its records are: records = "data.items"')
    return [_record(each) for each in found]


def _record(value: Any) -> Mapping[str, Any] | Unreadable:
    if isinstance(value, dict):
        return value
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return {"value": value}
    return unreadable(value, "it is no JSON object")


def link_in(header: str) -> str | None:
    """The next page in a header Link (RFC 8288); None where it names none."""
    for link, parameters in _LINK.findall(header[: 4 * _CURSOR_CHARS_MAX]):
        if _REL_NEXT.search(parameters):
            return str(link)
    return None


def _validators(reply: Reply) -> dict[str, str]:
    found = {}
    if etag := reply.headers.get("etag"):
        found["If-None-Match"] = etag
    modified = reply.headers.get("last-modified", "")
    # It counts seconds: of what changed in the second in which it was read, it would say that it did not.
    if _seconds(reply.headers.get("date", "")) - _seconds(modified) >= _SETTLED_S:
        found["If-Modified-Since"] = modified
    return found


def _seconds(date: str) -> float:
    """A date of HTTP, in seconds since 1970; no number for what is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return math.nan
