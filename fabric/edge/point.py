"""ControlPoint: what a control point's program imports. The asyncio face; `blocking` has the other.

    async with ControlPoint("zeek-1") as point:
        await point.publish("detections.zeek.conn", {"uid": "C1"}, severity="high")
        async for message in point.subscribe("detections.>"):
            ...

Guarantees: `publish` returns when the relay holds the record on disk; a message is acknowledged after its handler, or
the turn of the loop that took it, is over; it reconnects by itself; a refusal is a `FabricError` with its code.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from fabric.edge.acting.executing import AT_ONCE, Executing, Use
from fabric.edge.acting.handlers import Handler, Handlers
from fabric.edge.arguments.checks import to_handler, to_map, to_record, to_seconds, to_text
from fabric.edge.arguments.suggestions import known_instead
from fabric.edge.identity.identity import Identity, find_identity, load_identity
from fabric.edge.leaving import CLOSE_TIMEOUT_S, Leaving
from fabric.edge.logging.faults import place_of
from fabric.edge.logging.log import edge_log
from fabric.edge.loop import EdgeLoop
from fabric.edge.messages import Action, Message, Outcome
from fabric.edge.publishing.composer import Draft
from fabric.edge.publishing.labelling import Labelling
from fabric.edge.publishing.options import action_stamp, check_wanted, publish_stamp, to_position
from fabric.edge.receiving.iterators import AsyncMessages
from fabric.edge.receiving.notices import Notice
from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.tracking import Tracker
from fabric.edge.until import ending_signals, raise_unless_closed
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.vocabulary.arguments import check_args
from fabric.protocol.vocabulary.openc2 import parse_action
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label

CONNECT_TIMEOUT_S = 15.0
# How long after an action's ttl a result is still waited for, before silence is `unknown`.
RESULT_WAIT_MS = 5_000
# Of what was typed, as much as is shown where it is wrong.
_TYPED_CHARS_MAX = 80
# Each is a thread, and most handlers are a command or a call to a product.
ACTIONS_MAX = 256
# Threads in which `publish` waits for room.
_WAITERS = 8


def as_identity(identity: Identity | str | Path) -> Identity:
    """The identity itself, the one in this folder, or the one with this id on this machine. Raises FabricError."""
    if isinstance(identity, Identity):
        return identity
    return load_identity(identity) if isinstance(identity, Path) else find_identity(identity)


def at_once(actions: object) -> int:
    """How many actions may be at work at a time. Raises USAGE."""
    if not isinstance(actions, int) or isinstance(actions, bool) or actions not in range(1, ACTIONS_MAX + 1):
        raise FabricError(Code.USAGE, f"actions_at_once={actions!r}", f"give a number from 1 to {ACTIONS_MAX}")
    return actions


def is_async(handler: object) -> bool:
    """Whether calling it makes something to be awaited."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


class Request:
    """A response action on its way: iterate for each target's outcome, in the order in which they end."""

    def __init__(self, action_id: str) -> None:
        self.action_id = action_id
        self.targets: tuple[str, ...] | None = None
        self.nobody = False
        self.outcomes: dict[str, Outcome] = {}


def request_arguments(
    action: str, target: str, to: str, args: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """The action's spec and record, checked before anything is signed."""
    spec = parse_action(
        to_text(action, "an action", "deny"), to_text(target, "a target", "ipv4_net=203.0.113.9")
    )
    if isinstance(spec, Reject):
        typed = f"{action} {target.partition('=')[0]}"[:_TYPED_CHARS_MAX]
        raise FabricError(spec.code, f"{typed}: {spec.detail}", known_instead(action, target.partition("=")[0]))
    selector = parse_selector(to_text(to, "a selector", "role=firewall"))
    if isinstance(selector, Reject):
        raise FabricError(selector.code, selector.detail)
    if selector.selects_nobody:
        raise FabricError(Code.NOBODY, "the selector is empty", "write e.g. 'role=firewall', or 'all'")
    args_ = to_map(args or {}, "the arguments")
    record = {"action": spec.action, "target": {spec.target_type: spec.target_value}, "args": args_}
    problem = check_args(record["args"])
    if problem is not None:
        raise FabricError(problem.code, problem.detail)
    return spec, record


class ControlPoint:
    """A connected control point. `identity`: an id, a "fabric/id", an identity's folder, or an `Identity`.

    `outbox`: a file that keeps what is published until the relay holds it. With one, `publish` is done when the record
    is on this machine's disk, a relay that cannot be reached does not stop the program, and the next start goes on.
    `connect_timeout_s`: how long connecting may take; None: as long as it takes. `wait_for_relay`: a relay that does
    not answer is waited for that long; else it is an error at once.
    `actions_at_once`: how many handlers of actions run at a time; more actions wait, within their time to live.
    """

    def __init__(
        self,
        identity: Identity | str | Path,
        *,
        outbox: Path | str | None = None,
        connect_timeout_s: float | None = CONNECT_TIMEOUT_S,
        wait_for_relay: bool = False,
        actions_at_once: int = AT_ONCE,
    ) -> None:
        self.identity = as_identity(identity)
        self._loop = EdgeLoop(self.identity, None if outbox is None else Path(outbox))
        self._connect_timeout_s = connect_timeout_s
        self._labelling = Labelling()
        self._wait_for_relay = wait_for_relay
        self._handlers = Handlers(self.identity.credential.grants.execute, self._loop.denied)
        self._waiters = ThreadPoolExecutor(_WAITERS, f"fabric {self.identity.id} publish")
        self._tasks: dict[asyncio.Task[None], AsyncMessages] = {}  # of `on_message`
        self._awaited: dict[Future[Any], None] = {}  # of async handlers at work
        self._log = edge_log(self.identity.id)
        self._executing = Executing(self._loop, self._handlers, self._call, self._log, at_once(actions_at_once))
        self._leaving = Leaving(self._loop, self._executing, self._log)

    async def __aenter__(self) -> ControlPoint:
        await self.connect()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._leave_at_once()

    async def connect(self) -> None:
        """Connect, or raise the reason: unreachable, or what the relay has against this identity."""
        self._asyncio = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._loop.start)
            self._leaving.begin()
            wait = partial(self._loop.wait_connected, self._connect_timeout_s, patient=self._wait_for_relay)
            await asyncio.to_thread(wait)
        except BaseException:
            await self._leave_at_once()
            raise

    async def flush(self, timeout_s: float | None = None) -> None:
        """Until all that was published is durable, or whoever published it was told why not.

        Durable: in the outbox where there is one, else at the relay. Raises TIMED_OUT, with how many are not.
        """
        await asyncio.to_thread(self._leaving.flush, to_seconds(timeout_s, "a timeout_s"))

    async def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Leave: handlers at work end and are answered for, what was published is durable, then the connection ends.

        It takes no longer than `timeout_s` (None: as long as it takes), and next to no time with an outbox. Raises
        NOT_HELD with the number of records that are not known to be held, and will not be sent any more. Leaving
        `async with` is this; with an exception it waits for nothing, and the number stands in the log.
        """
        bound_s = to_seconds(timeout_s, "a timeout_s")
        began_s = time.monotonic()
        try:
            await self._finish_reading(bound_s)
            lost = await self._leave(None if bound_s is None else max(0.0, bound_s - time.monotonic() + began_s))
        except BaseException:  # it was cancelled while it waited
            await self._leave_at_once()
            raise
        if lost:
            raise self._leaving.not_held(lost)

    async def _finish_reading(self, timeout_s: float | None) -> None:
        """Functions at work return, and how far they came is kept, while there is a connection to say it to."""
        reading = {task for task in self._tasks if task is not asyncio.current_task()}
        for task in reading:
            self._tasks[task].close_later()
        if reading and self._loop.runs:
            await asyncio.wait(reading, timeout=timeout_s)

    async def _leave(self, timeout_s: float | None) -> int:
        try:
            return await asyncio.to_thread(self._leaving.leave, timeout_s)
        finally:
            self._loop.stop(0.0)  # where this was cancelled, the thread that waits is let go
            for awaited in list(self._awaited):
                awaited.cancel()
            for task in list(self._tasks):
                task.cancel()
            self._waiters.shutdown(wait=False, cancel_futures=True)

    async def _leave_at_once(self) -> None:
        self._leaving.tell_left(await self._leave(0.0))

    async def run_forever(self) -> None:
        """Until Ctrl-C, SIGTERM, or `close` in another task. Raises what else ended the connection for good.

        Signals end it where asyncio runs in a program's main thread; a handler of the program's own is put back.
        """
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def over() -> None:
            with suppress(RuntimeError):  # the event loop was closed meanwhile
                loop.call_soon_threadsafe(stop.set)

        self._loop.when_over(over)
        try:
            with ending_signals(over):
                await stop.wait()
        finally:
            self._loop.not_when_over(over)
        raise_unless_closed(self._loop)

    # -- publish ----------------------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        content: Mapping[str, Any],
        *,
        severity: Severity | str = Severity.INFORMATIONAL,
        phase: Phase | str | None = None,
        ttl: int | str | None = None,
        label: Label | str | None = None,
        labels: Mapping[str, Label | str] | None = None,
        labels_required: bool = True,
        position: tuple[str, str] | None = None,
        wait_s: float | None = None,
    ) -> str:
        """The record's id, once it is durable: in the outbox where there is one, else at the relay.

        `labels`: field to label, for those that bear their own: `id.orig_h` names that key, and `orig_h` in `id`;
        `hosts.ip` each `ip` in an array `hosts`; exactly as it is written (SPEC 3.3). One that names no field of the
        content raises UNMATCHED_LABEL, and nothing was taken; `labels_required=False` where fields may be missing.

        `position`: (source, how far it is read with this
        record), committed together with the record; `position_of` has it after a restart. While too much of its lane
        waits it waits too; longer than `wait_s` for a place raises BUSY, and the record was not taken. Nor is it when
        this is cancelled while it waits, for a place or for its turn; after that it goes its way.

        Several may be published at a time: positions of one source are kept in the order in which they began.
        """
        stamp = publish_stamp(
            topic, self.identity.defaults, severity=severity, phase=phase, ttl=ttl, label=label, labels=labels
        )
        wait_s, record = to_seconds(wait_s, "a wait_s"), to_record(content)
        if labels_required:
            self._labelling.require(stamp.rules, record)
        draft = self._loop.begin(stamp, record, to_position(position))
        try:
            await self._add(draft, wait_s)
            published: str = await asyncio.wrap_future(draft.token)
        except BaseException:
            draft.token.cancel()
            raise
        return published

    async def _add(self, draft: Draft, wait_s: float | None) -> None:
        try:
            self._loop.add(draft, 0.0)
        except FabricError as error:
            if error.code is not Code.BUSY or wait_s == 0.0:
                raise
            # There is no room at the moment. Whatever else runs on this event loop goes on.
            # In threads of their own: closing needs one of asyncio's, and it is what ends a wait.
            await asyncio.get_running_loop().run_in_executor(self._waiters, self._loop.add, draft, wait_s)

    @property
    def waiting(self) -> int:
        """Records that the relay does not hold yet."""
        return self._loop.outgoing.waiting

    @property
    def put_off(self) -> Code | None:
        """Why the relay last said that it takes nothing now: BUSY or RATE_EXCEEDED. None since it took something."""
        return self._loop.core.put_off

    @property
    def held_up(self) -> FabricError | None:
        """Why what is published goes no further at the moment: the outbox's disk is short (DISK_SHORT), no relay is
        connected, or the relay takes nothing in; or why handlers get no actions: another process executes as this
        identity. None while all goes on, as far as is known."""
        return self._loop.held_up

    async def renew(self) -> None:
        """Ask this identity's issuer for a newer credential now. By itself it does so when two thirds are over.

        Raises FabricError: NO_ISSUER where it is not online, USAGE where the authority itself vouches for it.
        """
        await asyncio.wrap_future(self._loop.renewing.renew())

    def position_of(self, source: str) -> str | None:
        """How far this source was read, as far as the outbox knows."""
        return self._loop.position(source)

    def on_refused(self, tell: Callable[[str, int, FabricError], None]) -> None:
        """Be told (envelope id, records, why) when what was in the outbox ends without delivery.

        On the connection's thread: it must not block.
        """
        self._loop.outgoing.on_refused = tell

    def on_notice(self, tell: Callable[[Notice], None]) -> None:
        """Be told what relays further up held and could not deliver: expired, denied, withheld, unroutable, no room.

        Counts, some time after it happened. On the connection's thread: it must not block.
        """
        self._loop.deliveries.on_notice = tell

    def on_end(self, tell: Callable[[FabricError], None]) -> None:
        """Be told, once, what ended the connection for good: nothing comes or goes any more, and calls raise it.

        On the connection's thread: it must not block.
        """
        self._loop.on_end = tell

    async def drain(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        return await asyncio.to_thread(self._loop.outgoing.wait_empty, timeout_s)

    # -- subscribe --------------------------------------------------------------------------------------

    def subscribe(self, pattern: str, *, durable: bool = False) -> AsyncMessages:
        """Messages as they come, urgent first, from now on, a record at a time.

        A record is taken when the program comes back for the next one, or closes: `async with`, or `aclose()`. One at
        which it raised inside `async with` is not taken. With its last record a message is acknowledged; what is not
        acknowledged comes again to the next session, and to a durable reader without the records that were taken. To
        break out of the loop and let the iterator go wants no more, and leaves the last record untaken.

        `durable`, with an outbox: what comes while this program is not there waits at the relay, within time to live
        and quota, and what an earlier run handled does not come again. A message of kind "gap" says how many were
        lost to the quota (`content["lost"]`). `forget` ends it.
        """
        check_wanted(to_text(pattern, "a pattern", "detections.>"))
        return AsyncMessages(self._loop.attaching, pattern, durable)

    def forget(self, pattern: str) -> None:
        """Nothing waits for this durable subscription any more."""
        self._loop.attaching.forget(pattern)

    def on_message(
        self, pattern: str, handler: Callable[[Message], Awaitable[None] | None], *, durable: bool = False
    ) -> asyncio.Task[None]:
        """Call a function, plain or async, for each message; it is acknowledged after the function returned.

        A message at which the function raises is logged, by id and error type, and counts as handled: it would raise
        again. `durable` as in `subscribe`: so does a message of kind "gap" reach the function.
        """

        to_handler(handler)
        messages = self.subscribe(pattern, durable=durable)

        async def consume() -> None:
            async with messages:
                async for message in messages:
                    try:
                        returned = handler(message)
                        if inspect.isawaitable(returned):
                            await returned
                    except Exception as error:  # noqa: BLE001 - one message must not silence all that follow
                        self._log.error("on_message raised", id=message.id, **place_of(error))

        task = asyncio.ensure_future(consume())
        self._tasks[task] = messages

        def over(ended: asyncio.Task[None]) -> None:
            self._tasks.pop(ended, None)

        task.add_done_callback(over)
        return task

    async def wait_ready(self) -> None:
        """Until the relay has what this control point takes by now: its subscriptions, and whether it executes."""
        await asyncio.to_thread(self._loop.standing.wait_attached, self._connect_timeout_s)

    # -- actions ----------------------------------------------------------------------------------------

    def on_action(self, action: str, target_type: str) -> Callable[[Handler], Handler]:
        """Decorator: this function, plain or async, executes actions like ("deny", "ipv4_net"); `*` is any.

        A plain one runs on a thread of its own. It returns a map, the result; or None; or an `Answer`. What cannot be
        sent of a result is left out, and named as the reason. What it raises is in this program's log, and the action
        failed.
        """

        def register(handler: Handler) -> Handler:
            first = not self._handlers
            self._handlers.add(
                to_text(action, "an action", "deny"), to_text(target_type, "a target", "*"), to_handler(handler)
            )
            if first:
                self._loop.ledger.execute(self._executing.take)
            return handler

        return register

    def _call(self, handler: Handler, action: Action) -> Any:
        """On a thread of `Executing`, which waits here for an async handler too."""
        returned = handler(action)
        if not inspect.isawaitable(returned):
            return returned

        async def awaited() -> Any:
            return await returned

        future = asyncio.run_coroutine_threadsafe(awaited(), self._asyncio)
        self._awaited[future] = None
        try:
            return future.result()
        finally:
            self._awaited.pop(future, None)

    @property
    def executing(self) -> Use:
        """How many actions are at work and wait, and how many may be at work at a time (`actions_at_once`)."""
        return self._executing.use

    async def finish_actions(self, timeout_s: float | None) -> int:
        """Begin no more actions, refuse what comes and what waits, and wait for those at work: how many still are."""
        return await asyncio.to_thread(self._executing.finish, to_seconds(timeout_s, "a timeout_s"))

    async def request(
        self,
        action: str,
        target: str,
        *,
        to: str,
        args: Mapping[str, Any] | None = None,
        severity: Severity | str = Severity.HIGH,
        ttl: int | str | None = None,
        label: Label | str | None = None,
        wait_ms: int = RESULT_WAIT_MS,
        watch: Callable[[Request], None] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Ask for a response action; yields each target's outcome. Raises NOBODY when the selector selects none.

        `target` as "ipv4_net=203.0.113.9". `watch` is told when the targets are known and whenever one ends.
        """
        spec, record = request_arguments(action, target, to, args)
        stamp = action_stamp(
            spec, to, self.identity.defaults, severity=severity, ttl=ttl, label=label
        )
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(told.set)

        waiting: Latest[tuple[tuple[str, ...] | None, bool, list[Outcome], bool]] = Latest(wake)

        def tell(tracker: Tracker) -> None:
            waiting.put(snapshot(tracker))

        begun = self._loop.request(stamp, record, wait_ms, tell)
        request = Request((await asyncio.wrap_future(begun)).hex())
        seen = 0
        while True:
            await told.wait()
            told.clear()
            newest = waiting.take()
            if newest is None:
                continue
            targets, nobody, outcomes, done = newest
            request.targets, request.nobody = targets, nobody
            request.outcomes = {outcome.target: outcome for outcome in outcomes}
            if watch is not None:
                watch(request)
            for outcome in outcomes[seen:]:
                yield outcome
            seen = max(seen, len(outcomes))
            if nobody:
                raise FabricError(Code.NOBODY, to)
            if done:
                return


def snapshot(tracker: Tracker) -> tuple[tuple[str, ...] | None, bool, list[Outcome], bool]:
    """What a tracker knows, copied for another thread: targets, nobody, outcomes, done."""
    return tracker.targets, tracker.nobody, tracker.outcomes(), tracker.done
