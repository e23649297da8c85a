"""What a kind of source or sink is: what may be declared of one, what it needs, how it is made, and what it gets.

Guarantees: a declaration is read strictly and whole, so every fault of it is named at once, with its key and what to
write instead; nothing has a default because it was misspelled. A secret is never in a declaration, only where it is
(`{ file = "PATH" }` or `{ env = "NAME" }`), and no fault says again what stands where one belongs.

A source or sink runs on a thread of its own, and knows of its control point what its `Intake` or `Outtake` gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import structlog

from fabric.edge.identity.identity import Identity
from fabric.edge.messages import Message, Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.mapping import Mapped, Preset, Unfit
from relays.gateways.options import Options
from relays.reading import parse_record


class Option(NamedTuple):
    """`name = metavar`, as a topology has it. `needed`: without it nothing can be opened."""

    name: str
    metavar: str
    help: str
    needed: bool = False


class Need(NamedTuple):
    """What a machine must have. `problem` is empty where it is there; `next_step`: what to do where it is not."""

    what: str
    problem: str = ""
    next_step: str = ""


class Place(NamedTuple):
    """What a source or sink knows of where it is. `folder`: private, for what it keeps, and not made yet."""

    id: str
    name: str
    folder: Path
    log: structlog.typing.FilteringBoundLogger


class Given(NamedTuple):
    """One of many records, as `Intake.take` takes them. `by`: whom it came from, where several share the source: of
    the room for what is rejected each has a share."""

    record: Mapping[str, Any]
    position: tuple[str, str] | None = None
    where: str = ""
    raw: bytes | None = None
    severity: Severity | None = None
    checked: bool = False
    by: str = ""


class Taken(NamedTuple):
    """`taken`: how many of many were, from the first on; fewer than were given only where the source is to stop.
    `ended` is done when it is known what became of those: an id or a FabricError for each, in their order."""

    taken: int
    ended: Future[list[str | FabricError]]


class Read(NamedTuple):
    """What a source hands on of what its control point reads. `key`: where it is declared, within the source.
    `clearance`: nothing above it; None: what its control point is cleared for."""

    key: tuple[str, ...]
    topics: Sequence[str]
    clearance: Label | None = None


class Feed(Protocol):
    """What comes on some topics from now on."""

    def run(self, take: Callable[[list[Message]], None]) -> None:
        """Give what comes to `take`, on this thread, until it is stopped. Raises FabricError when it cannot go on, and
        also when it was stopped."""

    def stop(self) -> None:
        """It ends. From any thread, once or again."""


class Intake(Protocol):
    """What a running source gets. Of any thread."""

    identity: Identity

    def take(
        self, record: Mapping[str, Any], *, position: tuple[str, str] | None = None, where: str = "",
        raw: bytes | None = None, severity: Severity | None = None, checked: bool = False,
    ) -> Future[str]:
        """Map and publish a record: the future is done with its id when it is durable, and raises what refused it.

        A record that does not fit, or is refused, is in the dead letters by then, as `raw` or as it is, with `where`
        it came from ("conn.log:17"). `position`: (name, place), kept in the same commit as the record. `severity`: what
        the source itself knows of it, where its declaration says none. `checked`: it came through `parse_record`.
        Blocks while no more is taken in; raises FabricError(CLOSED) when it is to stop meanwhile, and the record was
        not taken.
        """

    def take_many(self, given: Sequence[Given]) -> Taken:
        """As `take` does with each, in order, for a fraction of the time. Nobody changes these records any more. What
        is refused hinders no other, and is passed. Blocks while no more is taken in; raises FabricError(CLOSED) when it
        is to stop and none was taken."""

    def mapped(
        self, record: Mapping[str, Any], *, topic: str = "", severity: Severity | None = None, checked: bool = False
    ) -> Mapped | Unfit:
        """The first half of `take`: what the record becomes, for a source that says itself what became of it. `topic`:
        instead of the one that is declared."""

    def publish_many(self, given: Sequence[Given], mapped: Sequence[Mapped], wait_s: float) -> list[str | FabricError]:
        """The other half, of many in order: an id of each that is durable, or why it is not. What was refused is in the
        dead letters, and hinders no other. What is BUSY or CLOSED found no place within `wait_s`: it was not taken, and
        is never published later. Nobody changes these records any more. Raises FabricError where none was taken:
        CLOSED when it is to stop, SOURCE_AWAY while the disk has no room for dead letters."""

    def position_of(self, name: str) -> str | None:
        """The place that was kept under this name, by any run."""

    def request(
        self, action: str, target: Mapping[str, Any], *, to: str, args: Mapping[str, Any], command_id: str, key: str,
        watch: Callable[[Request], None],
    ) -> Iterator[Outcome]:
        """Ask for an action, in the name of the control point, and wait for its end, as `ControlPoint.request` does.
        Raises what that raises."""

    def is_asked(self, key: str) -> bool:
        """Whether an action was asked for under this key, by any run: it is in the identity's book. Raises
        BOOK_FAILED."""

    def feed(self, topics: Sequence[str], tell: Callable[[FabricError | None], None]) -> Feed:
        """What others publish on these patterns, for a source that hands it on: nothing waits for it while it is not
        there. `tell` hears each time that a relay has the subscription (None), and that it is gone (why); on any
        thread, and must not block."""

    def read_by(self, readers: int, away: FabricError | None) -> None:
        """So many read from the source now. `away`: why nothing comes for them."""

    def left_out(self, files: int) -> None:
        """So many files are there by now that it does not read."""

    def reject(
        self, raw: bytes | Mapping[str, Any], error: FabricError, where: str,
        position: tuple[str, str] | None = None, waits: bool = True, by: str = "",
    ) -> None:
        """Into the dead letters, and counted. `position`: its place, which need not be read again. `by`: see `Given`.

        Blocks while the disk has no room for it; with a position raises FabricError(CLOSED) when it is to stop
        meanwhile, and the place was not passed. Without `waits`, and without a position, it raises SOURCE_AWAY instead,
        and it is not there.
        """

    def pass_over(self, position: tuple[str, str]) -> None:
        """Nothing up to this place is wanted: it is kept, without a record. Raises BUSY."""

    def waits(self, why: FabricError | None) -> None:
        """There is nothing to take, and why: a file that is not there. None: it goes on, or has begun; who listens says
        so as soon as senders reach it, since people wait for that."""

    def lost(self, error: FabricError) -> None:
        """Something of the source is gone for good: counted, shown and logged."""

    def note(self, words: str) -> None:
        """Shown and logged, escaped."""


class Source(Protocol):
    """Reads something, and gives it to its intake."""

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """Returns when `stop` is set, or when there is nothing more to read for good. Raises FabricError or OSError
        when it cannot go on: it is run again after a while."""


@dataclass(frozen=True)
class Pulled:
    """What became of the records that a source was given: `taken` are durable, `known` were taken before."""

    taken: int
    known: int
    rejected: int


@runtime_checkable
class Pulls(Protocol):
    """A source that can be told to look now. Of any thread."""

    def pull(self) -> Future[Pulled]:
        """It looks at once, or when it has ended what it is at; raises why it could not."""

    def wake(self) -> None:
        """It looks whether it is to stop."""


class Outtake(Protocol):
    """What a running sink gets. For its thread."""

    identity: Identity

    def groups(self, records_max: int) -> Iterator[list[Message]]:
        """Messages as they come, so many at most at a time; ends when it is to stop. A group is acknowledged when the
        sink comes for the next one, or is told to stop then: what it took must be durable where it goes. What was not
        acknowledged comes again, with the same ids."""

    def waits(self, why: FabricError | None) -> None:
        """It cannot write now, and why. None: it goes on."""

    def count(self, reason: str, count: int) -> None:
        """So many more that it did not write, or removed again. `reason`: one of a few words of its kind, which
        `fabric edge status` shows."""

    def reject(self, message: Message, error: FabricError) -> None:
        """It will never be written: into the dead letters, and counted."""

    def note(self, words: str) -> None:
        """Shown and logged, escaped."""


class Sink(Protocol):
    """Writes what its outtake gives."""

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """Returns when there is nothing more to take. Raises FabricError or OSError as a source does."""


@dataclass(frozen=True)
class SourceKind:
    """A kind of sources. `read`: its settings, from what was declared; it reads all its options, and says every fault
    to them. `claims`: what no second source of one control point may use ("path /var/log/x", "port 514"). `parse`: the
    record that it makes of one line, for `fabric source test` and for what was rejected and is replayed; JSON unless it
    says otherwise. It raises FabricError for what is no record. `parse_all`: for `fabric source test`, where a file is
    one document with many records: each, or why it is none. `preset`: reads what its records say of themselves.
    `reads`: what it hands on to others. `publishes`: whether it does at all, so that it needs a topic and a grant.
    `pulls`: its sources are `Pulls`."""

    name: str
    summary: str
    options: Sequence[Option]
    read: Callable[[Options], Any]
    open: Callable[[Any, Place], Source]
    needs: Callable[[Any], Sequence[Need]] = lambda _settings: ()
    claims: Callable[[Any], Sequence[str]] = lambda _settings: ()
    parse: Callable[[Any, bytes], Mapping[str, Any]] = lambda _settings, line: parse_record(line)
    preset: Preset | None = None
    parse_all: Callable[[Any, bytes], Iterator[Mapping[str, Any] | FabricError]] | None = None
    reads: Callable[[Any], Sequence[Read]] = lambda _settings: ()
    publishes: Callable[[Any], bool] = lambda _settings: True
    pulls: bool = False


@dataclass(frozen=True)
class SinkKind:
    """A kind of sinks, likewise. `hands_over`: to another system, so that one message can be handed over to try it."""

    name: str
    summary: str
    options: Sequence[Option]
    read: Callable[[Options], Any]
    open: Callable[[Any, Place], Sink]
    needs: Callable[[Any], Sequence[Need]] = lambda _settings: ()
    claims: Callable[[Any], Sequence[str]] = lambda _settings: ()
    hands_over: bool = False
