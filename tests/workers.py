"""Several files of tests at a time: all are collected once, and each worker is a fork of the process that did.

To read the modules and to collect costs a process more than most files of tests do, so it is done once:
`pytest -p tests.workers --workers N` (fabric/decisions/0069).

Files are in two queues: those that mostly wait for processes (`WAITING`), and those that compute. As many workers as
there are processors begin with what computes, at most half of them, and the others with what waits; whose queue is
empty goes on with the other one. So the processors are busy from the beginning to the end.

Guarantees: the files of a queue are begun in the order in which they were collected, and a file is run by one worker,
so what is made once for a file or a session is made as few times as there are workers; what becomes of a test is told
to every plugin of the first process as if it had run there; a worker that dies costs the test that it was at, which has
failed, and another one goes on after it. A run that ends early (`-x`, Ctrl-C) waits until each worker has ended its
test and taken down what it had set up.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn

import pytest

# How a worker is told of a file: its number, little enough that the pipe takes those of all files at once.
_NUMBER_BYTES = 2
_FILES_MAX = 4_096 // _NUMBER_BYTES
# Whoever knows them sets it while tests are collected: the files whose tests wait for processes.
WAITING = pytest.StashKey[frozenset[Path]]()
# How long one that is to end may be at its test, and take down what it had set up.
_PATIENCE_S = 150


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--workers", type=int, default=0, metavar="N", help="run N files of tests at a time, in forks")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = session.config.getoption("workers")
    if not count or not session.items or session.config.option.collectonly or session.testsfailed:
        return None
    assert threading.active_count() == 1, "a fork would keep the locks of other threads for ever"
    _Crew(session).run(count)
    return True


@dataclass(eq=False)
class _Worker:
    """`queues`: what it takes files from, the first one first. `ended`: readable when it has. `at`, `then`: the places
    of the test that it began last, and of its next one."""

    queues: Sequence[int]
    pid: int
    ended: int
    told: Connection | None
    at: int | None = None
    then: int | None = None
    is_within: bool = False
    is_done: bool = False


@dataclass
class _Crew:
    """The side of the first process: begins workers, and passes on what they tell."""

    session: pytest.Session
    files: list[list[int]] = field(default_factory=list)
    workers: list[_Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        items = self.session.items
        self.files = [list(places) for _, places in groupby(range(len(items)), lambda place: items[place].path)]
        assert len(self.files) <= _FILES_MAX
        waiting = self.session.config.stash.get(WAITING, frozenset())
        of_queue: tuple[list[int], list[int]] = [], []
        for number, places in enumerate(self.files):
            of_queue[items[places[0]].path in waiting].append(number)
        self.computing, self.waiting = map(_queue, of_queue)

    def run(self, count: int) -> None:
        count = min(count, len(self.files))
        compute = min(os.cpu_count() or 1, (count + 1) // 2)
        try:
            for n in range(count):
                self._begin((self.computing, self.waiting) if n < compute else (self.waiting, self.computing), [])
            while self.workers and not (self.session.shouldfail or self.session.shouldstop):
                self._hear()
        finally:
            self._end()
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def _begin(self, queues: Sequence[int], first: Sequence[int]) -> None:
        """One more, which has these tests before it takes a file."""
        told, tell = Pipe(duplex=False)
        folder: Path = self.session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if not (pid := os.fork()):
            told.close()
            _Work(self.session, self.files, queues, tell).run(first, folder)
        tell.close()
        self.workers.append(_Worker(queues, pid, os.pidfd_open(pid), told))

    def _hear(self) -> None:
        """All that there is to be heard now, of each one thing; that a worker has ended only after all that it told."""
        ready = set(wait([each for worker in self.workers for each in (worker.told, worker.ended) if each is not None]))
        for worker in list(self.workers):
            if worker.told in ready:
                self._hear_of(worker)
            elif worker.ended in ready:
                self._ended(worker)

    def _hear_of(self, worker: _Worker) -> None:
        assert worker.told is not None
        try:
            told = worker.told.recv()
        except (EOFError, OSError):
            worker.told.close()
            worker.told = None
            return
        for what, said in told:
            self._hear_that(worker, what, said)

    def _hear_that(self, worker: _Worker, what: str, said: Any) -> None:
        hook, config = self.session.config.hook, self.session.config
        match what:
            case "begins":
                worker.at, worker.then, location = said
                worker.is_within = True
                hook.pytest_runtest_logstart(nodeid=self.session.items[worker.at].nodeid, location=location)
            case "report":
                hook.pytest_runtest_logreport(
                    report=hook.pytest_report_from_serializable(config=config, data=said)
                )
            case "ends":
                worker.is_within = False
                hook.pytest_runtest_logfinish(nodeid=self.session.items[worker.at].nodeid, location=said)
            case "warning":
                hook.pytest_warning_recorded.call_historic(kwargs=said)
            case "stop":
                self.session.shouldstop = said
            case "done":
                worker.is_done = True

    def _ended(self, worker: _Worker) -> None:
        code = self._forget(worker)
        if worker.is_done:
            return
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        if worker.at is None or not worker.is_within:
            raise RuntimeError(f"a worker ended {how} at no test")
        hook, item = self.session.config.hook, self.session.items[worker.at]
        hook.pytest_runtest_logreport(report=pytest.TestReport(
            item.nodeid, item.location, keywords={}, outcome="failed", longrepr=f"its worker ended {how}", when="call",
        ))
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        left = [place for place in self._file_of(worker.at) if place > worker.at]
        if worker.then is not None and worker.then not in left:
            left += self._file_of(worker.then)
        if left:
            self._begin(worker.queues, left)

    def _file_of(self, place: int) -> list[int]:
        return next(file for file in self.files if place in file)

    def _forget(self, worker: _Worker) -> int:
        """It has ended; how."""
        self.workers.remove(worker)
        if worker.told is not None:
            worker.told.close()
        os.close(worker.ended)
        return os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])

    def _end(self) -> None:
        """Whom nobody hears any more ends by itself."""
        for worker in self.workers:
            if worker.told is not None:
                worker.told.close()
                worker.told = None
        for worker in list(self.workers):
            if not wait([worker.ended], _PATIENCE_S):
                os.kill(worker.pid, signal.SIGKILL)
            self._forget(worker)
        for queue in (self.computing, self.waiting):
            os.close(queue)


def _queue(numbers: Sequence[int]) -> int:
    """A descriptor: whoever reads a number from it has that file, and nobody else."""
    left, give = os.pipe()
    os.write(give, b"".join(number.to_bytes(_NUMBER_BYTES) for number in numbers))
    os.close(give)
    return left


@dataclass
class _Terminal:
    """What plugins ask for under the name of the one that shows what is told, which is the first process's part."""

    _tw: Any


class _Work:
    """The side of a worker."""

    def __init__(
        self, session: pytest.Session, files: list[list[int]], queues: Sequence[int], tell: Connection
    ) -> None:
        self._session, self._config = session, session.config
        self._files, self._queues, self._teller = files, queues, _Teller(session.config, tell)

    def run(self, first: Sequence[int], folder: Path) -> NoReturn:
        code = 1
        capture = self._config.pluginmanager.getplugin("capturemanager")
        try:
            self._set_up(folder / f"w{os.getpid()}", capture)
            self._run_all(first)
            code = 0
        except (BrokenPipeError, KeyboardInterrupt):  # nobody hears us any more
            pass
        except BaseException:  # noqa: BLE001 - what is no test's fault, and would be shown to nobody
            capture.suspend_global_capture(in_=True)
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                self._session._setupstate.teardown_exact(None)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def _set_up(self, folder: Path, capture: Any) -> None:
        """What would be the same in all of them, and must be each one's own."""
        random.seed()
        os.environ["FABRIC_TESTS_WORKER"] = f"gw{os.getpid()}"
        folder.mkdir(mode=0o700)
        self._config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
        capture.stop_global_capturing()
        capture.start_global_capturing()
        shown = self._config.pluginmanager.unregister(name="terminalreporter")
        assert shown is not None
        self._config.pluginmanager.register(_Terminal(shown._tw), "terminalreporter")  # type: ignore[attr-defined]
        self._config.pluginmanager.register(self._teller)

    def _run_all(self, first: Sequence[int]) -> None:
        session = self._session
        places = self._places(first)
        place = next(places, None)
        while place is not None and not (session.shouldfail or session.shouldstop):
            then = next(places, None)
            item = session.items[place]
            self._teller.tell("begins", (place, then, item.location))
            self._teller.send()
            try:
                item.config.hook.pytest_runtest_protocol(
                    item=item, nextitem=None if then is None else session.items[then]
                )
            except pytest.exit.Exception as asked:
                self._teller.tell("stop", str(asked))
                break
            self._teller.tell("ends", item.location)
            place = then
        self._teller.tell("done", None)
        self._teller.send()

    def _places(self, first: Sequence[int]) -> Iterator[int]:
        yield from first
        for queue in self._queues:
            while number := os.read(queue, _NUMBER_BYTES):
                yield from self._files[int.from_bytes(number)]


class _Teller:
    """Tells the first process what the plugins of this one are told: of a test all at once, when the next begins."""

    def __init__(self, config: pytest.Config, tell: Connection) -> None:
        self._config, self._tell = config, tell
        self._said: list[tuple[str, Any]] = []

    def tell(self, what: str, said: Any) -> None:
        self._said.append((what, said))

    def send(self) -> None:
        self._tell.send(self._said)
        self._said = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tell("report", self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        if not nodeid and when in ("config", "collect"):  # it was told before there were workers
            return
        said = warning_message.message
        try:
            pickle.loads(pickle.dumps(said))
        except Exception:  # noqa: BLE001 - whatever is in it
            said = pytest.PytestWarning(f"{type(said).__name__}: {said}")
        plain = warnings.WarningMessage(said, type(said), warning_message.filename, warning_message.lineno)
        said_of = {"when": when, "nodeid": nodeid, "location": location}
        self.tell("warning", {"warning_message": plain, **said_of})
