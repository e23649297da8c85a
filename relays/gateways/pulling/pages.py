"""What a kind of sources that pull knows of its server: which page is asked for next, and what is in one."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.records import memory_of
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply
from relays.gateways.pulling.settings import How
from relays.wording import shown

# How far a source is with its server: small, and JSON.
Mark = Mapping[str, Any]
# Of one pull: whatever is behind them waits for the next one.
PAGES_MAX: Final = 10_000
_KEYS_SHOWN: Final = 5
# `{},{},{}` is 25 times as large when it is read; what people send is 5 to 10 times.
_READ_FACTOR: Final = 32


class Unreadable(NamedTuple):
    """What stands where a record belongs, and is none."""

    raw: bytes
    error: FabricError


def unreadable(value: Any, why: str, next_step: str = "") -> Unreadable:
    """For what was read as JSON, whatever it is."""
    try:
        raw = json.dumps(value).encode()
    except (ValueError, RecursionError):
        raw = b"..."
    return Unreadable(raw, FabricError(Code.BAD_INPUT, why, next_step))


class Page(NamedTuple):
    """`mark`: behind its records."""

    records: Sequence[Mapping[str, Any] | Unreadable]
    mark: Mark


class Feed(Protocol):
    """What a kind knows of its server."""

    def pages(self, mark: Mark, ask: Asking, now_ms: Callable[[], int]) -> Generator[Page, int, None]:
        """From a mark on, until there are no more. Each is taken when the next one is asked for, and what is sent is
        how many of its records were new. Raises NoAnswerError."""

    def first(self, mark: Mark) -> Mark:
        """The same, at its first page."""

    def id_of(self, record: Mapping[str, Any]) -> str:
        """What a record is known by, when it comes again."""


class Turns:
    """Pages that came in one pull. That one leads on with the same word (a cursor, `next`) is no circle: the server may
    know how far it is; that the same page comes again is one."""

    def __init__(self, where: object) -> None:
        self._where = where
        self._seen: set[int] = set()

    def once(self, turn: bytes) -> None:
        """What led there, and what came. Raises NoAnswerError where that was there already."""
        if hash(turn) in self._seen:
            raise NoAnswerError(
                f"{self._where}: its pages lead in a circle", "tell who runs it; what is new on them is taken",
                anew=True,
            )
        self._seen.add(hash(turn))


def read_json(reply: Reply, how: How) -> Any:
    """What an answer says. Integers and keys are as JSON has them; what no message can hold, its mapping refuses.
    Raises NoAnswerError."""
    where = how.endpoint
    check_memory(reply, how)
    try:
        return document_of(reply.body)
    except UnicodeDecodeError:
        raise NoAnswerError(f"{where}: its answer is not UTF-8") from None
    except ValueError:
        pass
    if reply.body.lstrip()[:1] == b"<":
        raise NoAnswerError(f"{where}: its answer is a page for people, or XML, and no JSON",
                            "look whether the url is right, and whether it wants a login first")
    what = "empty" if not reply.body.strip() else "no JSON, or not all of it"
    raise NoAnswerError(f"{where}: its answer is {what}")


def document_of(data: bytes) -> Any:
    """What JSON says, of an answer or of a sample of one. Raises ValueError."""
    try:
        return json.loads(data.decode().removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def check_memory(reply: Reply, how: How) -> None:
    """Raises NoAnswerError where there is more in an answer than may be read."""
    if memory_of(reply.body) > _READ_FACTOR * how.answer_max:
        raise NoAnswerError(
            f"{how.endpoint}: its answer would take more than {_READ_FACTOR} times answer_max when it is read",
            "ask for less at a time, with limit or params, or raise answer_max",
        )


def behind(mark: Mark, at: str | int | None, newest_ms: int | None, overlap_ms: int) -> Mark:
    """The mark behind a page: `at` leads to the next one, None where it was the last. While there are more, `high` is
    the newest time of their records; then `since`, from which is asked next, is a little before it, and never goes
    back."""
    after = {name: value for name, value in mark.items() if name != "at"}
    if newest_ms is not None:
        after["high"] = max(newest_ms, int(after.get("high", newest_ms)))
    if at is not None:
        return {**after, "at": at}
    if "high" in after:
        until_ms = int(after.pop("high")) - overlap_ms
        after["since"] = max(until_ms, int(after.get("since", until_ms)))
    return after


def at_first(mark: Mark) -> Mark:
    """The same, at its first page."""
    return {name: value for name, value in mark.items() if name != "at"}


def keys_of(document: Any) -> str:
    """What an answer has instead of what was looked for, without what is in it."""
    if isinstance(document, Mapping):
        names = [shown(name) for name in list(document)[:_KEYS_SHOWN]]
        return f"it has {', '.join(names)}" if names else "it has nothing"
    return "it is a list" if isinstance(document, list) else "it is a single value"


def canonical(record: Mapping[str, Any]) -> str:
    """The same text for the same record, whatever the order of its keys."""
    try:
        return json.dumps(record, sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return repr(record)
