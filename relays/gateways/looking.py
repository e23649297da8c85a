"""The action that has a source look at its server now: `query x-fabric:source=NAME`, where that is granted.

Guarantees: it completes when the source was at its server and what was new there is durable; else its answer says why
not, with a code. Asked by several at once it looks once, or once more for those who came while it did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Final

from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End, Status
from relays.gateways.kinds import Pulled
from relays.wording import shown

ACTION: Final = "query"
TARGET_TYPE: Final = "x-fabric:source"
PAIR: Final = f"{ACTION} {TARGET_TYPE}"
_STATUSES: Final = {
    Code.NOT_THERE: Status.NOT_FOUND, Code.NO_HANDLER: Status.NOT_FOUND, Code.BAD_ACTION: Status.BAD_REQUEST,
}


class LookHandler:
    """Of any thread. `pull`: by a source's name; raises FabricError where there is none that can be told."""

    def __init__(self, pull: Callable[[str], Future[Pulled]], now_ms: Callable[[], int]) -> None:
        self._pull = pull
        self._now_ms = now_ms

    def __call__(self, action: Action) -> Answer:
        name, over, cancelled = action.target.value, threading.Event(), threading.Event()
        if not isinstance(name, str):
            return _failed(FabricError(Code.BAD_ACTION, f"{shown(name)} is no name of a source"), End.REFUSED)

        def cancel() -> None:
            cancelled.set()
            over.set()

        action.control.on_cancel(cancel)
        try:
            pulling = self._pull(name)
        except FabricError as error:
            return _failed(error)
        pulling.add_done_callback(lambda _: over.set())
        over.wait(max(0.0, (action.deadline_ms - self._now_ms()) / 1000))
        if cancelled.is_set():
            return _failed(FabricError(Code.CANCELLED, "it looks all the same"))
        if not pulling.done():
            return _failed(FabricError(Code.TIMED_OUT, "it is still looking, or cannot give what is new"))
        failure = pulling.exception()
        if failure is not None:
            return _failed(failure if isinstance(failure, FabricError) else FabricError(Code.SOURCE_FAILED))
        return Answer(result=asdict(pulling.result()))


def _failed(error: FabricError, end: End = End.FAILED) -> Answer:
    status = _STATUSES.get(error.code, Status.SERVICE_UNAVAILABLE)
    words = "".join(char if char.isprintable() else "?" for char in error.detail)
    return Answer(end, int(status), code=error.code, reason=words)
