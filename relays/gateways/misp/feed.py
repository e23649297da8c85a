"""Events of a MISP instance, a page after the other: `POST /events/restSearch`, as its API is documented.

The mark: `since`, ms, from which the pages at hand are; `high`, the newest of their events; `at`, a page's number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from relays.gateways.misp.events import newest_s, records_of
from relays.gateways.misp.settings import Settings
from relays.gateways.pulling.asking import Asking, NoAnswerError, Request
from relays.gateways.pulling.pages import (
    Mark,
    Page,
    Turns,
    at_first,
    behind,
    canonical,
    keys_of,
    read_json,
)

_PATH: Final = "/events/restSearch"
# Events are published by jobs that may take a while, and two in one second have one time.
_OVERLAP_MS: Final = 300_000


class MispFeed:
    """As `pages.Feed` says."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = f"{settings.how.url.rstrip('/')}{_PATH}"
        # One that is published later than it was changed would be behind a mark of changes.
        self._time = "publish_timestamp" if settings.published else "timestamp"

    def first(self, mark: Mark) -> Mark:
        """As `pages.Feed` says."""
        return at_first(mark)

    def id_of(self, record: Mapping[str, Any]) -> str:
        """As `pages.Feed` says: an attribute that is as it was is known, whatever else of its event changed."""
        return canonical(record)

    def pages(self, mark: Mark, ask: Asking, now_ms: Callable[[], int]) -> Generator[Page, int, None]:
        """As `pages.Feed` says."""
        turns = Turns(self._settings.how.endpoint)
        if "since" not in mark and self._settings.start_s is not None:
            mark = {**mark, "since": now_ms() - int(self._settings.start_s * 1000)}
        while True:
            number = int(mark.get("at", 1))
            reply = ask(Request(
                self._url, "POST", headers={"Content-Type": "application/json"}, body=self._question(mark, number)
            ))
            events = events_in(read_json(reply, self._settings.how), self._settings.how.endpoint)
            if events:
                turns.once(reply.body)
            # There are versions that leave out limit and page, and give all at once: the next page would be the same.
            has_more = 0 < len(events) <= self._settings.limit
            newest = newest_s(events, self._time, now_ms() // 1000)
            after = behind(
                mark, number + 1 if has_more else None, None if newest is None else newest * 1000, _OVERLAP_MS
            )
            records = [record for event in events for record in records_of(event, self._settings.unmarked)]
            yield Page(records, after)
            if not has_more:
                return
            mark = after

    def _question(self, mark: Mark, number: int) -> bytes:
        settings = self._settings
        question = {**settings.search, "returnFormat": "json", "limit": settings.limit, "page": number,
                    "deleted": [0, 1]}
        if settings.published:
            question["published"] = 1
        if "since" in mark:
            question[self._time] = int(mark["since"]) // 1000
        return json.dumps(question).encode()


def events_in(document: Any, where: object) -> list[Any]:
    """The events of an answer. Raises NoAnswerError where there is no list of them."""
    events = document.get("response") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise NoAnswerError(f"{where}: its answer has no events: {keys_of(document)}",
                            "look whether the url is that of a MISP instance, and what its key may read")
    return events
