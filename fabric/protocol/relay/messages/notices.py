"""Tells origins which of their messages ended at this relay undelivered (SPEC 7.9): counted together, sent seldom.

Guarantees: what is counted is told once, or is still counted; thousands of ends a second become one notice; memory is
bounded, whatever topics and origins there are. Counts of one notice are about messages of one label and one audience,
so that whoever may know of the messages, and nobody else, may know of their ends. Knows no routes, links or keys: it
counts, and says what is due.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgpack

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject, code_of
from fabric.protocol.base.shares import Holdings
from fabric.protocol.core.ready import KeepNotice
from fabric.protocol.custody.outbox import Row
from fabric.protocol.custody.sessions import is_point
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.vocabulary.tlp import Audience, Label

# What ends together is told together.
FIRST_MS: Final = 1_000
# Who goes on doing what ends badly is told of it as often as this.
EVERY_MS: Final = 30_000
# An origin that is not below any more is looked for elsewhere after this.
SEEK_MS: Final = 60_000
# An origin that never came back for so long will not miss it.
KEEP_MS: Final = 7 * 86_400_000
_TALLIES_MAX: Final = 4_096
# An audience is its origin's choice: nobody's choices push other origins' counts out, or fill a disk.
_ORIGIN_TALLIES_MAX: Final = 64
# Topics named in one notice, and in all of them together; more are counted without their names.
_ENDINGS_MAX: Final = 64
_NAMED_MAX: Final = 32_768


class EndedKind(NamedTuple):
    """What is counted together. `towards`: where it was to go: "up", "down", or to a "reader" here."""

    code: Code
    kind: Kind
    topic: str
    towards: str


class About(NamedTuple):
    """What one notice is about: whose messages, and who else may know of them."""

    origin: str
    label: Label
    audience: Audience

    @property
    def name(self) -> str:
        """Under this name it is kept on disk."""
        names = [self.origin, str(int(self.label)), *map("\0".join, self.audience_names)]
        return f"{self.origin} {hashlib.sha256('/'.join(names).encode()).hexdigest()[:32]}"

    @property
    def audience_names(self) -> tuple[tuple[str, ...], ...]:
        return self.audience.organisations, self.audience.communities, self.audience.recipients


@dataclass(slots=True)
class Tally:
    """What is counted for one notice since `since_ms`, by how it ended. It is due at `due_ms`."""

    since_ms: int
    due_ms: int
    counts: dict[EndedKind, tuple[int, int]] = field(default_factory=dict)  # messages and records

    def add(self, ending: EndedKind, messages: int, records: int, *, named: bool = True) -> None:
        """`named`: whether there is room for another topic's name."""
        if ending not in self.counts and (len(self.counts) >= _ENDINGS_MAX or not named):
            ending = ending._replace(topic="")
        known_messages, known_records = self.counts.get(ending, (0, 0))
        self.counts[ending] = known_messages + messages, known_records + records


# How rows of events and intel end at a reader, without anything being lost by it.
_OF_READERS = (Code.SUBSCRIBER_GONE, Code.NO_INTEREST, Code.WITHHELD)


def ending_of(row: Row, refused: Reject) -> EndedKind | None:
    """How this row's end is told its origin; None where it is nothing that an origin could miss.

    Readers come and go, and some may not see what others do: that is no loss. Actions have reports of their own, relays
    hear nothing of what they said themselves, and who was revoked hears nothing at all.
    """
    header, reader = row.held.message.header, is_point(row.destination)
    unheard = _OF_READERS if reader and header.kind is not Kind.RESULT else ()
    if refused.code is Code.REVOKED or refused.code in unheard:
        return None
    towards = "reader" if reader else "up" if row.destination == UPLINK else "down"
    return EndedKind(refused.code, header.kind, header.topic, towards)


class Notices:
    """The counts that origins are yet to be told, and when each was told last."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[About, Tally] = OrderedDict()
        self._origins: Holdings[str] = Holdings()  # how many tallies each has
        self._endings = 0  # in all tallies
        self._told_ms: OrderedDict[About, int] = OrderedDict()
        self._unsaved: dict[About, None] = {}
        self.dropped = 0  # tallies that found no room, or nobody to hear them

    def note(self, header: Header, ending: EndedKind, now_ms: int) -> None:
        """A message of this origin ended like this."""
        about = About(header.origin, header.label, header.audience)
        tally = self._tallies.get(about)
        if tally is None:
            told_ms = self._told_ms.get(about)
            due_ms = now_ms + FIRST_MS if told_ms is None else max(now_ms + FIRST_MS, told_ms + EVERY_MS)
            tally = self._tallies[about] = Tally(now_ms, due_ms)
            self._origins.add(about.origin, 1)
            self._make_room(about.origin)
        self._add(tally, ending, 1, header.records)
        self._unsaved[about] = None

    def _make_room(self, origin: str) -> None:
        """Who has the most loses its oldest: nobody's many push others' few out."""
        if self._origins[origin] <= _ORIGIN_TALLIES_MAX:
            if len(self._tallies) <= _TALLIES_MAX:
                return
            origin = max(self._origins, key=self._origins.__getitem__)
        self._drop(next(known for known in self._tallies if known.origin == origin))

    def _add(self, tally: Tally, ending: EndedKind, messages: int, records: int) -> None:
        self._endings -= len(tally.counts)
        tally.add(ending, messages, records, named=self._endings + len(tally.counts) < _NAMED_MAX)
        self._endings += len(tally.counts)

    def due(self, now_ms: int) -> list[tuple[About, Tally]]:
        """What is to be told now. Whoever can tell it calls `told`; else it stays, and is offered again."""
        while self._told_ms and next(iter(self._told_ms.values())) + EVERY_MS <= now_ms:
            self._told_ms.popitem(last=False)
        for about in [a for a, tally in self._tallies.items() if now_ms - tally.since_ms > KEEP_MS]:
            self._drop(about)
        return [(about, tally) for about, tally in self._tallies.items() if tally.due_ms <= now_ms]

    def told(self, about: About, now_ms: int) -> None:
        self._forget(about)
        self._told_ms.pop(about, None)
        self._told_ms[about] = now_ms
        if len(self._told_ms) > _TALLIES_MAX:
            self._told_ms.popitem(last=False)

    def _drop(self, about: About) -> None:
        self.dropped += 1
        self._forget(about)

    def _forget(self, about: About) -> None:
        self._endings -= len(self._tallies.pop(about).counts)
        self._origins.add(about.origin, -1)
        self._unsaved[about] = None

    # -- what survives a restart ------------------------------------------------------------------------

    def unsaved(self) -> list[KeepNotice]:
        """What has changed since the last call, to be persisted together with what changed it."""
        changed, self._unsaved = self._unsaved, {}
        return [KeepNotice(about.name, self._saved(about)) for about in changed]

    def _saved(self, about: About) -> bytes:
        tally = self._tallies.get(about)
        if tally is None:
            return b""
        counts = [
            [e.code.number, int(e.kind), e.topic, e.towards, messages, records]
            for e, (messages, records) in tally.counts.items()
        ]
        return pack([about.origin, int(about.label), *map(list, about.audience_names), tally.since_ms, counts])

    def restore(self, saved: KeepNotice, now_ms: int) -> None:
        """What an earlier process counted and had yet to tell. What another version wrote in another way is let go."""
        try:
            origin, label, organisations, communities, recipients, since_ms, counts = msgpack.unpackb(saved.body)
            about = About(origin, Label(label), Audience(tuple(organisations), tuple(communities), tuple(recipients)))
            since_ms = min(since_ms, now_ms)  # the machine may have started anew, with another clock
            endings = [
                (EndedKind(code_of(number), Kind(kind), topic, towards), messages, records)
                for number, kind, topic, towards, messages, records in counts
            ]
        except (ValueError, TypeError):
            self.dropped += 1
            return
        tally = self._tallies[about] = Tally(since_ms, now_ms + FIRST_MS)
        self._origins.add(about.origin, 1)
        for ending, messages, records in endings:
            self._add(tally, ending, messages, records)
        self._make_room(about.origin)


def entries_of(tally: Tally) -> Sequence[dict[str, object]]:
    """The counts as a notice says them."""
    return [
        {
            "code": e.code.label, "reason": e.code.reason, "kind": e.kind.word, "topic": e.topic,
            "towards": e.towards, "messages": messages, "records": records,
        }
        for e, (messages, records) in tally.counts.items()
    ]
