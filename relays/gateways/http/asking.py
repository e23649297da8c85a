"""Actions that are asked for: each on a thread of its own, since it may take as long as it is held.

Guarantees: what is asked for twice under one key is one action, by any run: the identity's book knows it. So many are
open at a time, and of one token no more than half of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future
from typing import Final, NamedTuple

from fabric.edge.logging.faults import place_of
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.commands import Command
from relays.gateways.kinds import Intake

# Each has a thread, until the action's time is over.
OPEN_MAX: Final = 128
TOKEN_MAX: Final = OPEN_MAX // 2


class Wanted(NamedTuple):
    """`to`: of whom, as far as the token and the command together say."""

    token: str
    request_id: str
    command: Command
    to: str


class Open:
    """An action on its way. `begun` is done when its targets are known, `ended` when all of them ended, or when it is
    known that nothing becomes of it: `error`."""

    def __init__(self, wanted: Wanted, key: str) -> None:
        self.wanted = wanted
        self.key = key
        self.request: Request | None = None
        self.error: FabricError | None = None
        self.begun: Future[None] = Future()
        self.ended: Future[None] = Future()
        self._awaited: dict[Future[None], asyncio.Future[None]] = {}

    def watch(self, request: Request) -> None:
        """Its targets are known, or one of them went on."""
        self.request = request
        if not self.begun.done():
            self.begun.set_result(None)

    def awaited(self, what: Future[None]) -> asyncio.Future[None]:
        """One of its futures, for the server's thread: the same for all who wait, however often somebody asks again."""
        if what not in self._awaited:
            self._awaited[what] = asyncio.wrap_future(what)
        return self._awaited[what]

    def end(self, error: FabricError | None) -> None:
        """Nothing more becomes of it."""
        self.error = error
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)


class Asking:
    """`source`: the name of what asks. Of any thread."""

    def __init__(self, source: str, intake: Intake) -> None:
        self._source = source
        self._intake = intake
        self._lock = threading.Lock()
        self._open: dict[str, Open] = {}
        self._count: Counter[str] = Counter()  # of open ones, by token

    def ask(self, wanted: Wanted) -> Open:
        """It is asked for, or was before. Raises HTTP_BUSY, and KEY_TAKEN where that is another command."""
        key = f"http/{self._source}/{wanted.token}/{wanted.request_id}"
        with self._lock:
            known = self._open.get(key)
            if known is not None:
                if known.wanted != wanted:
                    raise FabricError(Code.KEY_TAKEN, f"request_id {wanted.request_id}: it is another command's")
                return known
            if len(self._open) >= OPEN_MAX or self._count[wanted.token] >= TOKEN_MAX:
                raise FabricError(Code.HTTP_BUSY, f"{len(self._open)} actions are open")
            open_ = self._open[key] = Open(wanted, key)
            self._count[wanted.token] += 1
        threading.Thread(target=self._run, args=(open_,), name="http action", daemon=True).start()
        return open_

    def is_asked(self, open_: Open) -> bool:
        """Whether it is on its way, so that no crash of this process ends it."""
        return open_.request is not None or self._intake.is_asked(open_.key)

    def _run(self, open_: Open) -> None:
        wanted, command = open_.wanted, open_.wanted.command
        error: FabricError | None = None
        try:
            for _ in self._intake.request(
                command.action, command.target.to_json(), to=wanted.to, args=command.args,
                command_id=command.id or wanted.request_id, key=open_.key, watch=open_.watch,
            ):
                pass  # what ended stands in the request
        except FabricError as raised:
            error = raised
        except Exception as fault:  # noqa: BLE001 - whoever asked is told, and the others go on
            words = " ".join(f"{name}={value}" for name, value in place_of(fault).items())
            self._intake.note(f"{Code.SOURCE_FAILED.label} an action failed: {words}")
            error = FabricError(Code.SOURCE_FAILED)
        with self._lock:
            del self._open[open_.key]
            self._count[wanted.token] -= 1
            if not self._count[wanted.token]:
                del self._count[wanted.token]
        open_.end(error)
