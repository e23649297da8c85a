"""Objects of TAXII collections, an envelope after the other (TAXII 2.1, 3.7 and 5.4).

Guarantees: what was added at one moment is not lost between two envelopes, also of a server that has no `next`. A
`next` is not used after a fault: there are servers that give each page of one once, and forget it. Envelopes are in the
order of times, so it is asked again from the last of these that was taken. An envelope that is not whole is a fault; an
object in it that cannot be read is one of that object.

The mark: by the id of each collection the time from which is asked, as the server writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from fabric.protocol.base.errors import FabricError
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply, Request
from relays.gateways.pulling.pages import Mark, Page, Turns, Unreadable, canonical, check_memory, keys_of, read_json
from relays.gateways.stix.document import Document, Item, read_document
from relays.gateways.stix.markings import DEFINITION, Markings
from relays.gateways.stix.reading import read_object
from relays.gateways.taxii.finding import collections_of
from relays.gateways.taxii.settings import Settings

# Of an envelope with one object some servers say the first only.
_ADDED: Final = ("x-taxii-date-added-last", "x-taxii-date-added-first")
# The standard has Z only; there are servers that write how far it is from that.
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_YEAR_MIN: Final = 1971
_STEP: Final = timedelta(microseconds=1)
_NEXT_CHARS_MAX: Final = 4_096
# What is of one collection alone: the others are asked all the same.
_OF_ONE: Final = (403, 404)
_MEMBERS: Final = frozenset({"more", "next"})
_MARKING: Final = re.compile(rf"{DEFINITION}--[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
# Definitions that are not with what they mark: so many are asked for with one envelope, and of all.
_ASKED_AT_ONCE: Final = 16
_ASKED_MAX: Final = 1_024


class Envelope(NamedTuple):
    """What is in an answer. `next` empty: the server has none."""

    items: list[Item]
    more: bool
    next: str


class TaxiiFeed:
    """As `pages.Feed` says."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = settings.how.endpoint
        self._markings = Markings(settings.stix.markings)
        self._asked: set[str] = set()  # definitions

    def first(self, mark: Mark) -> Mark:
        """As `pages.Feed` says: a mark is always at one."""
        return mark

    def id_of(self, record: Mapping[str, Any]) -> str:
        """As `pages.Feed` says: another version of an object is another record, and so is one with another label."""
        return canonical(record)

    def pages(self, mark: Mark, ask: Asking, now_ms: Callable[[], int]) -> Generator[Page, int, None]:
        """As `pages.Feed` says."""
        found = collections_of(self._settings, ask, lambda reply: read_json(reply, self._settings.how))
        failed: NoAnswerError | None = None
        marks = {id_: str(mark[id_]) for id_ in found if id_ in mark}
        for id_, url in found.items():
            try:
                yield from self._collection(id_, url, marks, ask, now_ms)
            except NoAnswerError as error:
                if error.status not in _OF_ONE or len(found) == 1:
                    raise
                failed = failed or error
        if failed is not None:
            raise failed

    def _collection(
        self, id_: str, url: str, marks: dict[str, str], ask: Asking, now_ms: Callable[[], int]
    ) -> Generator[Page, int, None]:
        """`marks` is what was taken of each."""
        turns = Turns(self._where)
        after = marks.get(id_, "")
        if not after and self._settings.start_s is not None:
            after = written(_at(now_ms()) - timedelta(seconds=self._settings.start_s))
        next_, last = "", None
        while True:
            params = {"limit": str(self._settings.limit)}
            params |= ({"added_after": after} if after else {}) | ({"next": next_} if next_ else {})
            reply = ask(Request(f"{url}objects/", params=params))
            envelope = envelope_in(reply, self._settings)
            turns.once(f"{params}".encode() + reply.body)
            last = later(last, *(time_of(reply.headers.get(name)) for name in _ADDED))
            if last is not None:
                # Of what was added at one moment some may be on the next page. Never after our own time: what a server
                # adds when it has set its clock right would be before it.
                until = min(last - _STEP if envelope.more else last, _at(now_ms()))
                marks[id_] = written(later(time_of(marks.get(id_)), until) or until)
            yield Page(list(self._records(envelope.items, url, ask)), dict(marks))
            if not envelope.more:
                return
            next_ = envelope.next
            if not next_:
                if last is None:
                    raise NoAnswerError(f"{self._where}: it has more, and does not say from where",
                                        "ask for all at once: raise limit")
                after = written(last - _STEP)

    def _records(self, items: list[Item], url: str, ask: Asking) -> Iterator[Mapping[str, Any] | Unreadable]:
        objects = [item.value for item in items]
        self._markings.learn(objects)
        self._ask_for_definitions(objects, url, ask)
        for item in items:
            read = item.fault or read_object(item.value, self._markings, self._settings.stix)
            if isinstance(read, FabricError):
                yield Unreadable(item.text.encode("utf-8", "replace"), read)
            else:
                yield read

    def _ask_for_definitions(self, objects: list[Any], url: str, ask: Asking) -> None:
        """Those that are not known: of an earlier envelope, of an earlier run. What is not found is RED."""
        wanted = [
            ref for ref in dict.fromkeys(ref for each in objects for ref in _refs(each))
            if not self._markings.meaning(ref).known and ref not in self._asked
        ]
        for ref in wanted[:_ASKED_AT_ONCE]:
            if len(self._asked) >= _ASKED_MAX:
                return
            self._asked.add(ref)
            try:
                reply = ask(Request(f"{url}objects/{quote(ref)}/"))
                self._markings.learn(item.value for item in envelope_in(reply, self._settings).items)
            except NoAnswerError:
                continue


def envelope_in(reply: Reply, settings: Settings) -> Envelope:
    """What an answer has. Raises NoAnswerError where it is no envelope, or not a whole one."""
    where = settings.how.endpoint
    check_memory(reply, settings.how)
    try:
        document: Document = read_document(reply.body)
        items = list(document.items())
    except FabricError as error:
        raise NoAnswerError(f"{where}: its answer: {error.detail}") from None
    if not document.is_whole or reply.body.lstrip()[:1] != b"{":
        document_or_fault = read_json(reply, settings.how)  # raises what is wrong with it, unless it is another JSON
        raise NoAnswerError(f"{where}: its answer is no envelope: {keys_of(document_or_fault)}")
    members = document.members
    if items and items[0].value is members:  # it has no `objects`
        if not members.keys() <= _MEMBERS:
            raise NoAnswerError(f"{where}: its answer is no envelope: {keys_of(members)}",
                                "look whether the url is right, and what the server says")
        items = []
    next_ = members.get("next")
    if next_ is not None and (not isinstance(next_, str | int) or len(str(next_)) > _NEXT_CHARS_MAX):
        raise NoAnswerError(f"{where}: the next of its answer is none")
    return Envelope(items, members.get("more") is True, "" if next_ is None else str(next_))


def time_of(text: Any) -> datetime | None:
    """A time of TAXII (2.1, 3.1), to the microsecond, never later than it is; None for what is none."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(f"{found[1]}{found[3].replace('Z', '+00:00')}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if at.year < _YEAR_MIN:  # of a clock that was never set
        return None
    return at + timedelta(microseconds=int((found[2] or "0").ljust(6, "0")[:6]))


def written(at: datetime) -> str:
    """As TAXII has it."""
    return f"{at.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def later(*times: datetime | None) -> datetime | None:
    """The latest of those that are known."""
    return max((each for each in times if each is not None), default=None)


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _refs(each: Any) -> Iterator[str]:
    """Markings of an object."""
    if not isinstance(each, dict):
        return
    refs, granular = each.get("object_marking_refs"), each.get("granular_markings")
    found = list(refs) if isinstance(refs, list) else []
    for inner in granular if isinstance(granular, list) else ():
        found.append(inner.get("marking_ref") if isinstance(inner, dict) else None)
    yield from (ref for ref in found if isinstance(ref, str) and _MARKING.fullmatch(ref))
