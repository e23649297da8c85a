"""The same control point for programs without asyncio: every call blocks until it is done.

    with ControlPoint("zeek-1") as point:
        point.publish("detections.zeek.conn", {"uid": "C1"}, severity="high")
        for message in point.subscribe("detections.>", timeout_s=10):
            ...
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from fabric.edge.approving.iterating import requests
from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.approving.verdict import Verdict
from fabric.edge.arguments.checks import check_wanted, to_handler, to_seconds, to_text
from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.face import VERDICT_WAIT_MS, Face, Options
from fabric.edge.fetching.fetch import TIMEOUT_S, FetchProgress
from fabric.edge.handling.handlers import Handler
from fabric.edge.identity.identity import Identity
from fabric.edge.leaving import CLOSE_TIMEOUT_S
from fabric.edge.locks import Event
from fabric.edge.logging.faults import place_of
from fabric.edge.messages import Message, Outcome
from fabric.edge.publishing.options import ActionOptions, PublishOptions, to_position
from fabric.edge.publishing.publications import Publication
from fabric.edge.publishing.receipts import Many
from fabric.edge.receiving.iterators import Messages
from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.request import (
    CANCEL_ACTION,
    RESULT_WAIT_MS,
    AnyTarget,
    Progress,
    Request,
    cancel_target,
    key_for,
)
from fabric.edge.until import ending_signals, raise_unless_closed
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Audience, Label


def is_async(handler: object) -> bool:
    """Whether calling it makes something to be awaited."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


class Handling:
    """What `on_message` began: a thread that calls a function for each message."""

    def __init__(self, messages: Messages, thread: threading.Thread) -> None:
        self._messages = messages
        self.thread = thread
        thread.start()

    def close(self) -> None:
        """Want no more. The thread ends, unawaited, when the function returns from the message that it has."""
        self._messages.close_later()

    def join(self, timeout_s: float | None) -> None:
        """Until it has ended, unless it is its own function that asks."""
        if self.thread is not threading.current_thread():
            self.thread.join(timeout_s)


class ControlPoint(Face):
    """A connected control point, whose calls block."""

    def __init__(self, identity: Identity | str | Path, **options: Unpack[Options]) -> None:
        super().__init__(identity, **options)
        self._handlings: list[Handling] = []  # that run, and some that ended

    def __enter__(self) -> ControlPoint:
        self.connect()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._leave_at_once()

    def connect(self) -> None:
        """Connect, or raise the reason: unreachable, or what the relay has against this identity."""
        try:
            self._loop.start()
            self._leaving.begin()
            self._loop.wait_connected(self._connect_timeout_s, patient=self._wait_for_relay)
        except BaseException:
            self._leave_at_once()
            raise

    def flush(self, timeout_s: float | None = None) -> None:
        """Until all that was published is durable, `publish_later` too, or its future says why not.

        Durable: in the outbox where there is one, else at the relay. Raises TIMED_OUT, with how many are not.
        """
        self._leaving.flush(to_seconds(timeout_s, "a timeout_s"))

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Leave: handlers at work end and are answered for, what was published is durable, then the connection ends.

        It takes no longer than `timeout_s` (None: as long as it takes), and next to no time with an outbox. Raises
        NOT_HELD with the number of records that are not known to be held, and will not be sent any more. Leaving
        `with` is this; with an exception it waits for nothing, and the number stands in the log.
        """
        bound_s = to_seconds(timeout_s, "a timeout_s")
        began_s = time.monotonic()

        def left_s() -> float | None:
            return None if bound_s is None else max(0.0, bound_s - time.monotonic() + began_s)

        try:
            # Functions at work return, and how far they came is kept, while there is a connection to say it to.
            for handling in self._handlings:
                handling.close()
            for handling in self._handlings if self._loop.runs else ():
                handling.join(left_s())
            lost = self._end(left_s())
        except BaseException:  # Ctrl-C while it waited
            self._leave_at_once()
            raise
        if lost:
            raise self._leaving.not_held(lost)

    def _leave_at_once(self) -> None:
        self._leaving.tell_left(self._end(0.0))

    def run_forever(self) -> None:
        """Until Ctrl-C, SIGTERM, or `close` in another thread. Raises what else ended the connection for good.

        Signals end it where it is called in a program's main thread; a handler of the program's own is put back.
        """
        stop = Event()
        self._loop.ending.when_over(stop.set)
        try:
            with ending_signals(stop.set):
                stop.wait()
        finally:
            self._loop.ending.not_when_over(stop.set)
        raise_unless_closed(self._loop)

    def publish(
        self, topic: str, content: Mapping[str, Any], *, labels_required: bool = True,
        position: tuple[str, str] | None = None, wait_s: float | None = None, **options: Unpack[PublishOptions],
    ) -> str:
        """The record's id, once it is durable: in the outbox where there is one, else at the relay.

        `options` as in `PublishOptions`: severity, phase, ttl, label, labels, audience. The rest as in asyncio's face.
        """
        return self.publish_later(
            topic, content, labels_required=labels_required, position=position, wait_s=wait_s, **options
        ).result()

    def publish_later(
        self, topic: str, content: Mapping[str, Any], *, labels_required: bool = True,
        position: tuple[str, str] | None = None, wait_s: float | None = None, **options: Unpack[PublishOptions],
    ) -> Future[str]:
        """The same without waiting; many of these travel in batches.

        Blocks only while too much of its lane waits; longer than `wait_s` raises BUSY, and the record was not taken.
        """
        stamp, taken = self._stamped(topic, content, labels_required, options)
        return self._loop.intake.publish(stamp, taken, to_position(position), to_seconds(wait_s, "a wait_s"))

    def publish_many(
        self, topic: str, contents: Sequence[Mapping[str, Any]], *, labels_required: bool = True,
        positions: Sequence[tuple[str, str] | None] | None = None, wait_s: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> list[str | FabricError]:
        """The id of each record, or why it was refused, as in the asyncio face."""
        return self.publish_many_later(
            topic, contents, labels_required=labels_required, positions=positions, wait_s=wait_s, **options
        ).result()

    def publish_many_later(
        self, topic: str, contents: Sequence[Mapping[str, Any]], *, labels_required: bool = True,
        positions: Sequence[tuple[str, str] | None] | None = None, wait_s: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> Many:
        """The same without waiting: one receipt for all. Its `taken` says at once for how many there was room."""
        entries = self._entries_of(topic, contents, labels_required, positions, options)
        return self._loop.intake.publish_many(entries, to_seconds(wait_s, "a wait_s"))

    def publish_each_later(
        self, publications: Sequence[Publication], *, labels_required: bool = True, wait_s: float | None = None,
        tell: Callable[[int, FabricError], None] | None = None,
    ) -> Many:
        """The same for records that have each a topic and options of its own.

        `tell` gets the number of a record that is refused, and why, before its position is kept. On any thread: it must
        not block.
        """
        entries = self._entries(publications, labels_required)
        return self._loop.intake.publish_many(entries, to_seconds(wait_s, "a wait_s"), tell)

    def relabel(
        self, message: Message, *, label: Label | str, fields: Iterable[str] | None = None,
        audience: Audience | Mapping[str, Sequence[str]] | None = None, ttl: int | str | None = None,
        wait_s: float | None = None,
    ) -> str:
        """Re-issue a message that was received at a lower label: the new one's id, once it is durable. It takes a
        declassify grant. What stays as it was, and what is refused, as in the asyncio face."""
        return self.relabel_later(
            message, label=label, fields=fields, audience=audience, ttl=ttl, wait_s=wait_s
        ).result()

    def relabel_later(
        self, message: Message, *, label: Label | str, fields: Iterable[str] | None = None,
        audience: Audience | Mapping[str, Sequence[str]] | None = None, ttl: int | str | None = None,
        wait_s: float | None = None,
    ) -> Future[str]:
        """The same without waiting, as `publish_later`."""
        stamp, taken = self._relabelled(message, label, fields, audience, ttl)
        return self._loop.intake.publish(stamp, taken, None, to_seconds(wait_s, "a wait_s"))

    def renew(self) -> None:
        """Ask this identity's issuer for a newer credential now, as in the asyncio face."""
        self._loop.renewing.renew().result()

    def drain(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        return self._loop.lanes.counts.wait_empty(to_seconds(timeout_s, "a timeout_s"))

    def subscribe(
        self, pattern: str, *, timeout_s: float | None = None, durable: bool = False, also: Sequence[str] = (),
    ) -> Messages:
        """Messages as they come, urgent first, from now on: returns when the relay has the subscription.

        `durable`, and when a message is acknowledged, as in the asyncio face. Iteration ends quietly after `timeout_s`
        in all. `also`: more patterns; what several of them match comes once.
        """
        for each in (pattern, *also):
            check_wanted(to_text(each, "a pattern", "detections.>"))
        return Messages(self._loop.attaching, pattern, timeout_s, durable, also)

    def on_message(
        self, pattern: str, handler: Callable[[Message], None], *, durable: bool = False
    ) -> Handling:
        """Call a function for each message, on a thread of its own; acknowledged after it returned.

        A message at which it raises, and `durable`, as in the asyncio face. The calls end with the connection, or when
        what is returned is closed.
        """
        to_handler(handler)
        messages = self.subscribe(pattern, durable=durable)

        def consume() -> None:
            with suppress(FabricError), messages:
                for message in messages:
                    try:
                        handler(message)
                    except Exception as error:  # noqa: BLE001 - one message must not silence all that follow
                        self._log.error("on_message raised", id=message.id, **place_of(error))

        handling = Handling(messages, threading.Thread(target=consume, name=f"fabric {pattern}", daemon=True))
        self._handlings = [*(h for h in self._handlings if h.thread.is_alive()), handling]
        return handling

    def wait_ready(self) -> None:
        """Until the relay has what this control point takes by now: its subscriptions, and whether it executes."""
        self._loop.status.wait_attached(self._connect_timeout_s)

    def on_action(
        self, action: str, target_type: str, *, idempotent: bool = False, revert: Handler | None = None,
        ends_itself: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Decorator: this function executes actions like ("deny", "ipv4_net"), on a thread of its own; `*` is any.

        It returns a map, the result; or None; or an `Answer`. What cannot be sent of a result is left out, and named
        as the reason. What it raises is in this program's log, and the action failed.

        An action at which this program ended before it had an answer ends as unknown. `idempotent`: to call the
        function twice does no harm; then the next run calls it again instead, while the action is in time and in force.

        `revert`, its inverse, and `ends_itself`, as in the asyncio face.
        """

        def register(handler: Handler) -> Handler:
            if is_async(handler) or is_async(revert or getattr(handler, "revert", None)):
                raise FabricError(
                    Code.USAGE, "an async function handles actions in fabric.edge.ControlPoint only",
                    "give a plain function here",
                )
            self._execute(action, target_type, handler, idempotent, revert, ends_itself)
            return handler

        return register

    def finish_actions(self, timeout_s: float | None) -> int:
        """Begin no more actions, refuse what comes and what waits, and wait for those at work: how many still are."""
        return self._executing.finish(to_seconds(timeout_s, "a timeout_s"))

    def request(
        self,
        action: str,
        target: AnyTarget,
        *,
        to: str,
        args: Mapping[str, Any] | None = None,
        command_id: str = "",
        wait_ms: int = RESULT_WAIT_MS,
        watch: Callable[[Request], None] | None = None,
        key: str | None = None,
        **options: Unpack[ActionOptions],
    ) -> Iterator[Outcome]:
        """Each target's outcome, in the order in which they end. Raises NOBODY when the selector selects none.

        The arguments as in the asyncio face.
        """
        waiting: Latest[Progress] = Latest(join=Progress.followed_by)
        key = key_for(key, args, dry_run=options.get("dry_run", False))
        ask = self._request(action, target, to, args, command_id, wait_ms, options, waiting, key)
        request = Request((self._collector.while_kept(ask) if key else ask().result()).hex())
        while not request.done:
            yield from request.learn(waiting.get(), watch)
            if request.nobody:
                raise FabricError(Code.NOBODY, to)

    def cancel(
        self, action_id: str, *, wait_ms: int = RESULT_WAIT_MS, watch: Callable[[Request], None] | None = None,
        **options: Unpack[ActionOptions],
    ) -> Iterator[Outcome]:
        """End an action: what each answers to whom it may have gone, as in the asyncio face."""
        options = self._as_cancelled(action_id, options)
        return self.request(
            CANCEL_ACTION, cancel_target(action_id), to="all", wait_ms=wait_ms, watch=watch, **options
        )

    def collect(self) -> None:
        """Have what becomes of this identity's actions with a key, and of their effects, written into its book from now
        on, what came while no program was there first. `action(id)` has it then. Raises UNREACHABLE, TIMED_OUT."""
        self._collector.collect()

    def fetch(
        self, artifact: Artifact, path: Path | str, *, progress: FetchProgress | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Path:
        """Fetch what an action left at a target into a file, or a folder, as in the asyncio face; `progress` is told on
        this thread."""
        fetch, file = self._fetch(artifact, path, progress, timeout_s)
        return fetch.into(file)

    def approvals(self, *, timeout_s: float | None = None) -> Iterator[ApprovalRequest]:
        """Actions that wait for this approver: what is open, and what comes within `timeout_s`, as in the asyncio face.
        """
        return requests(self._loop.approver, to_seconds(timeout_s, "a timeout_s"))

    def approve(self, request: ApprovalRequest | str, *, wait_ms: int = VERDICT_WAIT_MS) -> Verdict:
        """Approve an action that is held, as in the asyncio face."""
        return self._decide(request, True, "", wait_ms).result()

    def deny(self, request: ApprovalRequest | str, *, why: str, wait_ms: int = VERDICT_WAIT_MS) -> Verdict:
        """Deny it: it ends as refused."""
        return self._decide(request, False, why, wait_ms).result()
