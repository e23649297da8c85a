"""What a block list is made of: the newest version of each indicator, on disk.

Guarantees: an origin changes its own indicators and no other's, and a feed of it, which its topics tell, those of no
other feed. A topic of one kind gives values of that kind only, since whoever publishes there was granted no other. An
older version never takes the place of a newer one, so that what was revoked stays so; nor does a copy out of which
parts were taken that of a whole one. Bounded, in fair shares: who publishes more than the others loses its own, on the
list the values of its older versions, on disk what came longest ago.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from fabric.edge.messages import Message
from fabric.files import make_private, open_database
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label, label_from_wire
from relays.gateways.blocklist.never import Never
from relays.gateways.mapping.times import time_ms
from relays.gateways.stix.reading import OURS, fault_of_object, label_over
from relays.gateways.stix.values import KINDS, OTHER, VALUE_KINDS, VALUES_MAX, kind_of_values, plain_value

_T = TypeVar("_T")
# Of each value of `max`: versions without a value, which keep older ones from coming back, too.
_ROWS_FOR_EACH: Final = 4
# How many rows one counts for: of many values, for several.
_SIZES: Final = "SELECT origin, sum(1 + length(found) / 128) FROM versions GROUP BY origin"
_OLDEST: Final = (
    "SELECT feed, id, 1 + length(found) / 128 FROM versions WHERE origin = ? ORDER BY seen_ms, modified_ms"
)
# Where there is no more room so much of it is made at once: to look for it takes as long as to read all.
_SPARE: Final = 16
_ID_CHARS_MAX: Final = 256
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS versions (
    origin TEXT NOT NULL, feed TEXT NOT NULL, id TEXT NOT NULL, modified_ms INTEGER NOT NULL, from_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, label INTEGER NOT NULL, found TEXT NOT NULL,
    PRIMARY KEY (origin, feed, id)
) WITHOUT ROWID;
"""
_EVER_MS: Final = 2**62


class Indicator(NamedTuple):
    """One version. `feed`: which of its origin's, for ids are a feed's own. `values`: by their kinds, none where it is
    revoked; `label`: of these. `is_partial`: something of it is withheld, and it has none."""

    origin: str
    feed: str
    id: str
    modified_ms: int
    from_ms: int
    until_ms: int
    label: Label
    values: Mapping[str, Sequence[str]]
    is_partial: bool = False


class Listed(NamedTuple):
    """What is to be on the list. `label`: the highest among them; `left`: values for which it has no room; `next_ms`:
    when that changes by itself."""

    values: list[str]
    label: Label
    left: int
    next_ms: int


def indicator_of(message: Message) -> Indicator | None:
    """What a message says of one; None where it is about none."""
    content, ours = message.content, message.content.get(OURS)
    is_stix = not fault_of_object(content)
    id_ = content.get("id" if is_stix else "uuid")  # an attribute of MISP is known by that
    if not isinstance(ours, Mapping) or not isinstance(id_, str) or not 0 < len(id_) <= _ID_CHARS_MAX:
        return None
    if content.get("type") != "indicator" if is_stix else ours.get("kind") not in (*KINDS, OTHER):
        return None
    given = {} if content.get("revoked", False) is not False else ours.get("values", {})
    told = next((word for word in message.topic.split(".") if word in (*KINDS, OTHER)), OTHER)
    values = {
        kind: [value for text in given[kind] if isinstance(text, str) and (value := plain_value(kind, text))]
        for kind in VALUE_KINDS if isinstance(given, Mapping) and isinstance(given.get(kind), list)
        and told in (OTHER, kind_of_values([kind]))
    }
    if sum(map(len, values.values())) > VALUES_MAX:  # no source makes such a one
        values = {}
    changed_ms = _ms(content, "modified", _ms(content, "created", message.issued_at_ms))
    return Indicator(
        message.origin, _feed(message.topic, ours.get("kind")), id_,
        changed_ms if is_stix else _ms(content, "timestamp", message.issued_at_ms, "s"),
        _ms(content, "valid_from", 0), _ms(content, "valid_until", _EVER_MS),
        label_over(f"{OURS}.values", message.labels, message.label), values,
        bool(message.withheld) and not any(values.values()),
    )


def _feed(topic: str, kind: Any) -> str:
    """The topic without the kind, which another version may have another of."""
    words = topic.split(".")
    if kind in words:
        words.remove(kind)
    return ".".join(words)


def _ms(content: Mapping[str, Any], name: str, otherwise: int, unit: str = "") -> int:
    """A time that nobody can read is none at which anything is valid: 0."""
    value = content.get(name)
    if value is None:
        return otherwise
    at_ms = time_ms(value, unit)
    return 0 if at_ms is None else at_ms


class Entries:
    """`kind`: whose values are listed, but for `never`. For one thread at a time. Raises SINK_AWAY where its file is of
    no use."""

    def __init__(self, folder: Path, kind: str, values_max: int, label_max: Label, never: Never) -> None:
        self._path = make_private(folder) / "indicators.sqlite"
        self._kind = kind
        self._values_max = values_max
        self._label_max = label_max
        self._never = never
        self._size_most: int | None = None  # of all that is there; None where nobody looked
        self._db = open_database(self._path, any_thread=True)
        self._run(lambda: self._db.executescript(_TABLE))

    def close(self) -> None:
        """Once."""
        with suppress(sqlite3.Error):
            self._db.close()

    def take(self, indicators: Iterable[Indicator], now_ms: int) -> int:
        """On disk when this returns; how many older ones were forgotten for them. Raises OSError where there is no
        room."""
        rows = [
            (each.origin, each.feed, each.id, each.modified_ms, each.from_ms, each.until_ms, now_ms, int(each.label),
             json.dumps(each.values), each.is_partial)
            for each in indicators
        ]
        return self._run(lambda: self._keep(rows))

    def listed(self, now_ms: int, age_max_ms: int) -> Listed:
        """What is valid now, came within that time, and may be written: the newest first, sorted."""
        return self._run(lambda: self._listed(now_ms, age_max_ms))

    def _keep(self, rows: Sequence[tuple[Any, ...]]) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            " ON CONFLICT (origin, feed, id) DO UPDATE SET"
            " modified_ms = excluded.modified_ms, from_ms = excluded.from_ms, until_ms = excluded.until_ms,"
            " seen_ms = excluded.seen_ms, label = excluded.label, found = excluded.found"
            " WHERE excluded.modified_ms >= versions.modified_ms + ?10", rows,
        )
        size_max = _ROWS_FOR_EACH * self._values_max
        if self._size_most is not None:  # what they take the place of is still counted
            self._size_most += sum(1 + len(row[8]) // 128 for row in rows)
        gone = 0
        if self._size_most is None or self._size_most > size_max:
            sizes = dict(self._db.execute(_SIZES))
            if sum(sizes.values()) > size_max:
                gone = self._forget(sizes, _share(sizes.values(), size_max - size_max // _SPARE))
                sizes = dict(self._db.execute(_SIZES))
            self._size_most = sum(sizes.values())
        self._db.execute("COMMIT")
        return gone

    def _forget(self, sizes: Mapping[str, int], share: int) -> int:
        """What came longest ago, of each origin that has more than its share."""
        gone: list[tuple[str, str, str]] = []
        for origin, size in sizes.items():
            rows = self._db.execute(_OLDEST, (origin,)) if size > share else ()
            left = size
            for feed, id_, freed in rows:
                if left <= share:
                    break
                gone.append((origin, feed, id_))
                left -= freed
        self._db.executemany("DELETE FROM versions WHERE (origin, feed, id) = (?, ?, ?)", gone)
        return len(gone)

    def _listed(self, now_ms: int, age_max_ms: int) -> Listed:
        label, left, next_ms = Label.CLEAR, 0, _EVER_MS
        listed: set[str] = set()
        places: dict[str, int] = {}  # by origin: how many values are before the next
        offered: list[tuple[int, str, int]] = []
        rows = self._db.execute(
            "SELECT origin, from_ms, until_ms, seen_ms, label, found FROM versions WHERE seen_ms > ? AND label <= ?"
            " ORDER BY modified_ms DESC, origin, feed, id", (now_ms - age_max_ms, int(self._label_max)),
        )
        for origin, from_ms, until_ms, seen_ms, of, found in rows:
            values = [value for value in json.loads(found).get(self._kind, ()) if not self._never.covers(value)]
            if not values:
                continue
            next_ms = min(next_ms, *(at for at in (from_ms, until_ms, seen_ms + age_max_ms) if at > now_ms), _EVER_MS)
            if not from_ms <= now_ms < until_ms:
                continue
            place = places.get(origin, 0)
            places[origin] = place + len(values)
            offered += [(place + number, value, of) for number, value in enumerate(values)]
        if len(offered) > self._values_max:  # first the newest of each origin, then the second of each
            offered.sort(key=itemgetter(0))
        for _, value, of in offered:
            if len(listed) < self._values_max or value in listed:
                listed.add(value)
                label = max(label, label_from_wire(of))
            else:
                left += 1
        return Listed(sorted(listed), label, left, next_ms)

    def _run(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except (sqlite3.Error, ValueError) as error:
            with suppress(sqlite3.Error):
                self._db.rollback()
            code = getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, "no space left on device", str(self._path)) from None
            raise FabricError(
                Code.SINK_AWAY, f"{self._path} cannot be used ({type(error).__name__})",
                "move it away, and have its intel published again: the list stays as it is until then",
            ) from None


def _share(sizes: Iterable[int], room: int) -> int:
    """What each may have at most, so that all have room: who has less than that keeps it."""
    waiting = sorted(sizes)
    for at, size in enumerate(waiting):
        share = room // (len(waiting) - at)
        if size > share:
            return share
        room -= size
    return waiting[-1] if waiting else room
