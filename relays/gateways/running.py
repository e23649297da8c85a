"""Runs all that is declared for one identity: a thread for each source and sink, begun again when it fails.

Guarantees: one that fails stops no other and no handler; it is begun again after 1 second, later up to 60, with what it
took before settled first, so that nothing is read twice. Told to stop, each ends in order.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

import structlog

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity
from fabric.edge.logging.faults import place_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.board import Alone, Board, Change, Entry, State
from relays.gateways.deadletter import DeadLetters
from relays.gateways.declared import Declared, DeclaredSink, DeclaredSource
from relays.gateways.forgetting import Forgetting, left_behind, outbox_of
from relays.gateways.intake import PointIntake
from relays.gateways.kinds import Place, Pulled, Pulls, Source
from relays.gateways.outtake import PointOuttake
from relays.wording import shown

FIRST_S, MOST_S = 1.0, 60.0
# One that ran so long had not failed at its beginning: its next failure is a first one again.
_WELL_S = 60.0
# One that says nothing is said to run when it took something, or did not fail for so long.
_SETTLED_S = 5.0
_LOOK_S = 0.5


class _Job(Protocol):
    """One source or sink. `attempt` returns when it ended in order, and raises what else ended it."""

    entry: Entry
    stop: threading.Event

    def attempt(self) -> None: ...
    def interrupt(self) -> None: ...
    def look(self) -> None: ...


class _SourceJob:
    def __init__(
        self, declared: DeclaredSource, place: Place, intake: PointIntake, entry: Entry, stop: threading.Event,
    ) -> None:
        self._declared = declared
        self._place = place
        self._source: Source | None = None
        self.intake = intake
        self.entry = entry
        self.stop = stop

    def attempt(self) -> None:
        _check_needs(self._declared)
        source = self._source = self._declared.kind.open(self._declared.settings, self._place)
        try:
            source.run(self.intake, self.stop)
        finally:
            self._source = None
            self.intake.settle()

    def pull(self) -> Future[Pulled]:
        """Have it look now. Raises FabricError where it cannot be told."""
        if not self._declared.kind.pulls:
            raise FabricError(Code.NO_HANDLER, f"a source of the kind {self._declared.kind.name} looks by itself")
        source = self._source
        if not isinstance(source, Pulls):
            why = self.entry.error
            raise why if why is not None else FabricError(Code.SOURCE_AWAY, f"{self.entry.name} does not run now")
        return source.pull()

    def interrupt(self) -> None:
        """One that rests for long is woken; the others look at `stop` by themselves."""
        source = self._source
        if isinstance(source, Pulls):
            source.wake()

    def look(self) -> None:
        """Its state is said by the intake."""


class _SinkJob:
    def __init__(
        self, declared: DeclaredSink, place: Place, make: Callable[[], PointOuttake], entry: Entry,
        stop: threading.Event,
    ) -> None:
        self._declared = declared
        self._place = place
        self._make = make
        self._outtake: PointOuttake | None = None
        self.entry = entry
        self.stop = stop

    def attempt(self) -> None:
        _check_needs(self._declared)
        sink = self._declared.kind.open(self._declared.settings, self._place)
        outtake = self._outtake = self._make()
        error: BaseException | None = None
        try:
            outtake.open()
            sink.run(outtake, self.stop)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._outtake = None
            outtake.close(error)

    def interrupt(self) -> None:
        outtake = self._outtake
        if outtake is not None:
            outtake.stop()

    def look(self) -> None:
        outtake = self._outtake
        if outtake is not None:
            outtake.look()


class Runner:
    """`tell` gets every change of a state, on any thread. `known`: names of all that is declared, where not all of it
    runs here. Raises ALREADY_RUNNING."""

    def __init__(
        self, identity: Identity, declared: Declared, tell: Callable[[Change], None], known: Collection[str] = (),
    ) -> None:
        self._identity = identity
        self._known = frozenset([*declared.names, *known])
        self._declared = declared
        labels = {each.name: each.mapping.label_max(identity.defaults.label) for each in declared.sources}
        sinks = frozenset(each.name for each in declared.sinks)
        self._rejects = DeadLetters(identity.folder, {**labels, **dict.fromkeys(sinks, Label.RED)}, sinks)
        self._alone = Alone(identity)
        self.folder = self._alone.folder
        self.board = Board(tell)
        self._stop = threading.Event()
        self._jobs: list[_Job] = []
        self._intakes: list[PointIntake] = []
        self._forgetting: list[Forgetting] = []
        self._threads: list[threading.Thread] = []
        self._began_s: dict[str, float] = {}  # by name: those at work, since when
        self._log = structlog.get_logger()

    def start(self, point: ControlPoint) -> None:
        """Begin all. `point` has an outbox, in which positions of sources are kept."""
        point.on_refused(lambda id_, records, _error: self.board.refuse(id_, records))
        for unfit in self._declared.unfit:
            entry = self.board.add(unfit.name, unfit.section, "")
            self.board.enter(entry, State.UNFIT, unfit.error)
        for source in self._declared.sources:
            entry = self.board.add(source.name, "sources", source.kind.name)
            intake = PointIntake(source, point, entry, self.board, self._rejects, self._stop)
            self._intakes.append(intake)
            self._jobs.append(_SourceJob(source, self._place(source.name), intake, entry, self._stop))
        for sink in self._declared.sinks:
            entry = self.board.add(sink.name, "sinks", sink.kind.name)
            self._jobs.append(_SinkJob(sink, self._place(sink.name), self._outtake(sink, entry), entry, self._stop))
        self._threads = [
            threading.Thread(target=self._run, args=(job,), name=f"{job.entry.section} {job.entry.name}", daemon=True)
            for job in self._jobs
        ]
        self._threads.append(threading.Thread(target=self._tend, name="gateways", daemon=True))
        self._forgetting = [Forgetting(self._identity, path) for path in left_behind(self.folder, self._known)]
        self._threads += [
            threading.Thread(target=each.run, name="a sink that is declared no more", daemon=True)
            for each in self._forgetting
        ]
        for thread in self._threads:
            thread.start()

    def _outtake(self, sink: DeclaredSink, entry: Entry) -> Callable[[], PointOuttake]:
        outbox = outbox_of(self.folder, sink.name)
        return lambda: PointOuttake(
            sink, self._identity, outbox, entry, self.board, self._rejects, self._stop
        )

    def _place(self, name: str) -> Place:
        return Place(self._identity.id, name, self.folder / name, self._log.bind(gateway=name))

    def pull(self, name: str) -> Future[Pulled]:
        """Have this source look now. From any thread. Raises FabricError where there is none, or it cannot be told."""
        for job in self._jobs:
            if isinstance(job, _SourceJob) and job.entry.name == name:
                return job.pull()
        for unfit in self._declared.unfit:
            if unfit.name == name:
                raise unfit.error
        raise FabricError(Code.NOT_THERE, f"no source that runs here is named {shown(name)}")

    def ended(self, error: FabricError) -> None:
        """The control point's connection is over for good. From any thread."""
        for intake in self._intakes:
            intake.ended = error
        self.stop()

    def stop(self) -> None:
        """All are to end. From any thread, and from a handler of signals."""
        self._stop.set()

    def close(self, timeout_s: float) -> None:
        """Wait until all ended, for so long at most, and let go of the identity."""
        self.stop()
        deadline_s = time.monotonic() + timeout_s
        for job in self._jobs:
            job.interrupt()
        for each in self._forgetting:
            each.stop()
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self.board.save(self.folder)
        with suppress(OSError):
            self._rejects.close()
        self._alone.close()

    def _run(self, job: _Job) -> None:
        delay_s = FIRST_S
        while not self._stop.is_set():
            began_s = self._began_s[job.entry.name] = time.monotonic()
            try:
                job.attempt()
                self.board.enter(job.entry, State.ENDED)
                return
            except FabricError as error:
                failure = error
            except OSError as error:
                words = (error.strerror or type(error).__name__).lower()
                code = Code.SOURCE_AWAY if job.entry.section == "sources" else Code.SINK_AWAY
                failure = FabricError(code, f"{error.filename}: {words}" if error.filename else words)
            except Exception as error:  # noqa: BLE001 - whatever a kind does, the others go on
                place = place_of(error)
                self._log.error("a source or sink failed", name=job.entry.name, **place)
                failure = FabricError(Code.SOURCE_FAILED, " ".join(f"{key}={value}" for key, value in place.items()))
            self._began_s.pop(job.entry.name, None)
            if self._stop.is_set():
                self.board.enter(job.entry, State.ENDED)
                return
            if time.monotonic() - began_s > _WELL_S:
                delay_s = FIRST_S
            job.entry.restarts += 1
            self.board.enter(job.entry, State.FAILED, failure)
            self._stop.wait(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that many do not come back at once
            delay_s = min(MOST_S, 2 * delay_s)

    def _tend(self) -> None:
        """Keep the file of states, and say what changed by itself."""
        while not self._stop.wait(_LOOK_S):
            for job in self._jobs:
                job.look()
                began_s = self._began_s.get(job.entry.name)
                is_new = job.entry.state in (State.STARTING, State.FAILED)
                if is_new and began_s is not None and time.monotonic() - began_s > _SETTLED_S:
                    self.board.enter(job.entry, State.RUNNING)
            for intake in self._intakes:
                intake.keep_up()
            self.board.save(self.folder)
            with suppress(OSError):  # of a rejection that was not kept its source is told
                self._rejects.sync()


def _check_needs(declared: DeclaredSource | DeclaredSink) -> None:
    for need in declared.missing():
        raise FabricError(Code.SOURCE_UNFIT, f"{declared.kind.name}: {need.what}: {need.problem}", need.next_step)
