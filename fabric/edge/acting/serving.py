"""Answers requesters that fetch what their actions left here (SPEC 9.9): pieces of a range, then its end.

Guarantees: only the requester of the action, or one of the same principal, gets anything of what it left, and only what
its clearance allows; whoever else asks learns no more than that it is not here. A bounded number is answered at a time,
and of each requester fewer; of each a few pieces are under way, so what is read follows what relays take. Whatever
happens, the one who asks is told how it ended. What is sent to whom is in the audit log before it is.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

import structlog

from fabric.edge.artifacts.store import Kept, Store
from fabric.edge.handling.handlers import Answer, failed, refused, stamp_about
from fabric.edge.identity.identity import Identity
from fabric.edge.logging.faults import trace_of
from fabric.edge.messages import messages_of
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.access.approvals import principal_of
from fabric.protocol.audit.kinds import ARTIFACT_FETCHED, Audited
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.shares import Holdings
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.fetching import FETCH_ACTION, FETCH_TYPE, Wanted, read_wanted
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End, Status
from fabric.transport.clock import Clock

# Each is a thread while it lasts. Of one requester two: it asks for the next range before the last one is there.
AT_ONCE: Final = 8
AT_ONCE_EACH: Final = 2
# Those that are refused are counted apart, so that who asks too often takes nothing from others: to say it may have to
# wait for a relay, too.
_REFUSED_AT_ONCE: Final = 56
_REFUSED_AT_ONCE_EACH: Final = 6
# Twice what goes in a lane's window.
_UNDER_WAY_MAX: Final = 8
# A piece that is not there by then is asked for again.
_TTL_MS: Final = 120_000
# How long a relay may take nothing in before the rest of a range is left.
_STALL_S: Final = 60.0
_SWEEP_MS: Final = 60_000


class Connection(Protocol):
    """What of a control point's connection this needs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def clock(self) -> Clock: ...

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Why an action may not begin now."""


class Serving:
    """`publish` may block; its future ends when a piece is held by somebody else. `audit`: what is told of it, from any
    thread, and in the log before what is published afterwards is sent."""

    def __init__(
        self, connection: Connection, store: Store, publish: Callable[[Stamp, Record], Future[str]],
        audit: Callable[[Audited], None], log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._connection = connection
        self._store = store
        self._publish = publish
        self._audit = audit
        self._log = log
        self._lock = threading.Lock()
        self._served: Holdings[str] = Holdings()
        self._refused: Holdings[str] = Holdings()
        self._sweep_ms = 0

    # -- the connection's thread ------------------------------------------------------------------------

    def take(self, delivery: Delivery) -> None:
        """Somebody fetches."""
        origin = delivery.message.header.origin
        with self._lock:
            is_busy = self._served[origin] >= AT_ONCE_EACH or self._served.total() >= AT_ONCE
            no_more = self._refused[origin] >= _REFUSED_AT_ONCE_EACH or self._refused.total() >= _REFUSED_AT_ONCE
            if not (is_busy and no_more):
                (self._refused if is_busy else self._served).add(origin, 1)
        if is_busy and no_more:  # who hears nothing asks again
            self._log.debug("too many fetch at a time", by=origin)
            return
        work = self._refuse if is_busy else self._serve
        self._start("fetched", lambda: work(delivery))

    def look(self, now_ms: int) -> None:
        """Each turn: now and then delete what is over."""
        if now_ms >= self._sweep_ms:
            self._sweep_ms = now_ms + _SWEEP_MS
            if self._store.has_any:
                self._start("sweeps", self._store.sweep)

    def _start(self, what: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=f"fabric {self._connection.identity.id} {what}", daemon=True).start()

    # -- threads of its own -----------------------------------------------------------------------------

    def _refuse(self, delivery: Delivery) -> None:
        self._end(delivery, None, refused(Reject(Code.HANDLERS_BUSY)), self._refused)

    def _serve(self, delivery: Delivery) -> None:
        wanted = _wanted_of(delivery)
        try:
            answer = refused(wanted) if isinstance(wanted, Reject) else self._answer(delivery, wanted)
        except FabricError as error:
            answer = refused(Reject(error.code))
        except Exception as error:  # noqa: BLE001 - whoever asks is told, whatever the disk or this program does
            self._log.error("artifact not served", error=type(error).__name__, trace=trace_of(error))
            answer = failed(Code.ARTIFACT_CHANGED if isinstance(error, OSError) else Code.INTERNAL)
        self._end(delivery, None if isinstance(wanted, Reject) else wanted, answer, self._served)

    def _answer(self, delivery: Delivery, wanted: Wanted) -> Answer:
        late = self._connection.still_valid(delivery, self._connection.clock.now_ms())
        if late is not None:
            return refused(late)
        kept = self._store.get(wanted.id)
        problem = Reject(Code.ARTIFACT_GONE) if kept is None else _may_not(delivery, kept)
        if kept is None or problem is not None:
            problem = problem or Reject(Code.ARTIFACT_GONE)
            self._tell(delivery, wanted, 0, {"code": problem.code.label})
            return refused(problem)
        if delivery.message.header.terms.dry_run:
            return Answer(End.READY)
        descriptor = self._store.open_content(kept)
        self._tell(delivery, wanted, sum(bytes_ for _, bytes_ in wanted.pieces(kept.bytes)), {})
        try:
            sent = self._send(delivery, wanted, kept, descriptor)
        finally:
            os.close(descriptor)
        if wanted.offset + sent >= kept.bytes:
            self._log.info("artifact fetched to its end", id=kept.id, action=kept.action, bytes=kept.bytes,
                           by=delivery.message.header.origin)
        return Answer(result={"bytes": sent})

    def _tell(self, delivery: Delivery, wanted: Wanted, bytes_: int, more: Mapping[str, str]) -> None:
        header = delivery.message.header
        self._audit(Audited(ARTIFACT_FETCHED, header.origin, {
            "action": header.correlation, "artifact": wanted.id, "offset": wanted.offset, "bytes": bytes_, **more,
        }))

    def _send(self, delivery: Delivery, wanted: Wanted, kept: Kept, descriptor: int) -> int:
        stamp = self._piece_stamp(delivery, wanted, kept)
        me, sent = self._connection.identity.id, 0
        under_way: deque[Future[str]] = deque()
        for offset, bytes_ in wanted.pieces(kept.bytes):
            data = os.pread(descriptor, bytes_, offset)
            if len(data) < bytes_:
                raise FabricError(Code.ARTIFACT_CHANGED, "it was cut while it was read")
            record: dict[str, Any] = {
                "state": State.RUNNING.word, "targets": [me], "by": me, "status": int(Status.PROCESSING),
                "offset": offset, "data": data,
            }
            under_way.append(self._publish(stamp, record))
            sent += bytes_
            if len(under_way) >= _UNDER_WAY_MAX:
                _settle(under_way.popleft())
        while under_way:
            _settle(under_way.popleft())
        return sent

    def _piece_stamp(self, delivery: Delivery, wanted: Wanted, kept: Kept) -> Stamp:
        """The content bears the artifact's label: where that may not go it is stripped, and the rest says so."""
        header = delivery.message.header
        rules = (("data", kept.label),) if kept.label > header.label else ()
        return Stamp(
            Kind.RESULT, header.topic, header.severity, header.phase, _TTL_MS, header.label, rules,
            wanted.answer_to(header.origin), delivery.message.leaf, header.audience, state=State.RUNNING,
        )

    def _end(self, delivery: Delivery, wanted: Wanted | None, answer: Answer, counted: Holdings[str]) -> None:
        header, me = delivery.message.header, self._connection.identity
        stamp = stamp_about(header, delivery.message.leaf, answer, me.defaults)._replace(ttl_ms=_TTL_MS)
        if wanted is not None:
            stamp = stamp._replace(to=wanted.answer_to(header.origin))
        try:
            self._publish(stamp, answer.record(me.id)).add_done_callback(lambda _: None)
        except FabricError as error:  # who asks will ask again
            self._log.debug("fetching not answered", code=error.code.label)
        finally:
            with self._lock:
                counted.add(header.origin, -1)


def _wanted_of(delivery: Delivery) -> Wanted | Reject:
    messages = messages_of(delivery)
    if isinstance(messages, Reject):
        return messages
    content = messages[0].content
    target = content.get("target")
    if content.get("action") != FETCH_ACTION or not isinstance(target, dict) or list(target) != [FETCH_TYPE]:
        return Reject(Code.BAD_ACTION, delivery.message.header.topic)
    return read_wanted(target[FETCH_TYPE])


def _may_not(delivery: Delivery, kept: Kept) -> Reject | None:
    """Why this one gets nothing of it."""
    message = delivery.message
    is_same = kept.requester == message.header.origin or kept.principal == principal_of(message.credential)
    if not is_same or message.header.correlation.hex() != kept.action:
        return Reject(Code.ARTIFACT_GONE)
    return Reject(Code.WITHHELD) if message.credential.clearance < kept.label else None


def _settle(piece: Future[str]) -> None:
    """Until somebody holds it. Raises why nobody will."""
    try:
        piece.result(_STALL_S)
    except TimeoutError:
        raise FabricError(Code.BUSY, "no relay takes it in") from None
