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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from fabric.edge.approving.iterating import requests_async
from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.approving.verdict import Verdict
from fabric.edge.arguments.checks import check_wanted, to_handler, to_seconds, to_text
from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.face import VERDICT_WAIT_MS, Face, Options
from fabric.edge.fetching.fetch import TIMEOUT_S, FetchProgress
from fabric.edge.handling.handlers import Handler
from fabric.edge.identity.identity import Identity
from fabric.edge.leaving import CLOSE_TIMEOUT_S
from fabric.edge.logging.faults import place_of
from fabric.edge.messages import Action, Message, Outcome
from fabric.edge.publishing.drafts import Draft
from fabric.edge.publishing.options import ActionOptions, PublishOptions, to_position
from fabric.edge.receiving.iterators import AsyncMessages
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

# Threads in which `publish` waits for room.
_WAITERS = 8


class ControlPoint(Face):
    """A connected control point, for asyncio."""

    def __init__(self, identity: Identity | str | Path, **options: Unpack[Options]) -> None:
        super().__init__(identity, **options)
        self._waiters = ThreadPoolExecutor(_WAITERS, f"fabric {self.identity.id} publish")
        self._tasks: dict[asyncio.Task[None], AsyncMessages] = {}  # of `on_message`
        self._awaited: dict[Future[Any], None] = {}  # of async handlers at work

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
            return await asyncio.to_thread(self._end, timeout_s)
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

        self._loop.ending.when_over(over)
        try:
            with ending_signals(over):
                await stop.wait()
        finally:
            self._loop.ending.not_when_over(over)
        raise_unless_closed(self._loop)

    # -- publish ----------------------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        content: Mapping[str, Any],
        *,
        labels_required: bool = True,
        position: tuple[str, str] | None = None,
        wait_s: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> str:
        """The record's id, once it is durable: in the outbox where there is one, else at the relay.

        `options` as in `PublishOptions`: severity, phase, ttl, label, labels, audience. `labels_required=False` where a
        field that is labelled may be missing. `position`: (source, how far it is read with this record), committed
        together with the record; `position_of` has it after a restart. While too much of its lane waits it waits too;
        longer than `wait_s` for a place raises BUSY, and the record was not taken. Nor is it when this is cancelled
        while it waits, for a place or for its turn; after that it goes its way.

        Several may be published at a time: positions of one source are kept in the order in which they began.
        """
        wait_s = to_seconds(wait_s, "a wait_s")
        stamp, taken = self._stamped(topic, content, labels_required, options)
        return await self._durable(self._loop.intake.begin(stamp, taken, to_position(position)), wait_s)

    async def publish_many(
        self,
        topic: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        labels_required: bool = True,
        positions: Sequence[tuple[str, str] | None] | None = None,
        wait_s: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> list[str | FabricError]:
        """The id of each record, or why it was refused, when that is known of all: cheaper than one by one.

        Options are for all of them, and `positions` has one for each, as in `publish`. A record that is refused hinders
        no other, and its position is passed. Those for which there is no place within `wait_s` are not taken: BUSY, the
        last ones of the list; their positions are not kept. Cancelled while it waits for a place, it takes no more a
        second later; what was taken goes its way.
        """
        bound_s = to_seconds(wait_s, "a wait_s")
        until_s = None if bound_s is None else time.monotonic() + bound_s
        entries = self._entries_of(topic, contents, labels_required, positions, options)
        outcomes: list[str | FabricError] = []
        left_s = 0.0
        while True:
            add = partial(self._loop.intake.publish_many, entries, left_s)
            many = add() if not left_s else await asyncio.get_running_loop().run_in_executor(self._waiters, add)
            ended = await asyncio.wrap_future(many.future)
            outcomes += ended[: many.taken]
            entries = entries[many.taken :]
            left_s = 1.0 if until_s is None else min(1.0, until_s - time.monotonic())
            if not entries or left_s <= 0.0:
                return outcomes + ended[many.taken :]

    async def relabel(
        self, message: Message, *, label: Label | str, fields: Iterable[str] | None = None,
        audience: Audience | Mapping[str, Sequence[str]] | None = None, ttl: int | str | None = None,
        wait_s: float | None = None,
    ) -> str:
        """Re-issue a message that was received at a lower label, as one of this control point's own that names it: the
        new one's id, once it is durable, as in `publish`. It takes a declassify grant, and a publish grant as well.

        All of it bears the label. `fields`: names at the top of its content, where not all of them are to be re-issued.
        Topic, severity and phase stay, and so do whom it is for and the time to live, which begins anew, unless
        `audience` and `ttl` say otherwise. Audit logs of this node and of relays have it, and readers see what it
        `relabels`. Raises DECLASSIFY_DENIED or PUBLISH_DENIED where no grant covers it, NOT_LOWERED for a label that is
        not lower, NOT_WHOLE where something of it was withheld here and `fields` are not named.
        """
        wait_s = to_seconds(wait_s, "a wait_s")
        stamp, taken = self._relabelled(message, label, fields, audience, ttl)
        return await self._durable(self._loop.intake.begin(stamp, taken, None), wait_s)

    async def _durable(self, draft: Draft, wait_s: float | None) -> str:
        """The id of what was begun, once it is durable. Where that is not awaited to its end, it is not taken."""
        try:
            await self._add(draft, wait_s)
            published: str = await asyncio.wrap_future(draft.token)
        except BaseException:
            self._loop.intake.drop(draft)
            raise
        return published

    async def _add(self, draft: Draft, wait_s: float | None) -> None:
        try:
            self._loop.intake.add(draft, 0.0)
        except FabricError as error:
            if error.code is not Code.BUSY or wait_s == 0.0:
                raise
            # There is no room at the moment. Whatever else runs on this event loop goes on.
            # In threads of their own: closing needs one of asyncio's, and it is what ends a wait.
            await asyncio.get_running_loop().run_in_executor(self._waiters, self._loop.intake.add, draft, wait_s)

    async def renew(self) -> None:
        """Ask this identity's issuer for a newer credential now. By itself it does so when two thirds are over.

        Raises FabricError: NO_ISSUER where it is not online, USAGE where the authority itself vouches for it.
        """
        await asyncio.wrap_future(self._loop.renewing.renew())

    async def drain(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        return await asyncio.to_thread(self._loop.lanes.counts.wait_empty, to_seconds(timeout_s, "a timeout_s"))

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
        await asyncio.to_thread(self._loop.status.wait_attached, self._connect_timeout_s)

    # -- actions ----------------------------------------------------------------------------------------

    def on_action(
        self, action: str, target_type: str, *, idempotent: bool = False, revert: Handler | None = None,
        ends_itself: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Decorator: this function, plain or async, executes actions like ("deny", "ipv4_net"); `*` is any.

        A plain one runs on a thread of its own. It returns a map, the result; or None; or an `Answer`. What cannot be
        sent of a result is left out, and named as the reason. What it raises is in this program's log, and the action
        failed.

        An action at which this program ended before it had an answer ends as unknown. `idempotent`: to call the
        function twice does no harm; then the next run calls it again instead, while the action is in time and in force.

        `revert`: the inverse of the function, called with the same action, in time, when what that did is to end. A
        handler may be an object with a method `revert` instead. It is called at least once: calling it again does no
        harm, nor where there is nothing to revert. `ends_itself`: the function ends by itself what has a duration, not
        while another action keeps the same up; when its time is over its requester is told `ended`, and nobody looks.
        """

        def register(handler: Handler) -> Handler:
            self._execute(action, target_type, handler, idempotent, revert, ends_itself)
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

    async def finish_actions(self, timeout_s: float | None) -> int:
        """Begin no more actions, refuse what comes and what waits, and wait for those at work: how many still are."""
        return await asyncio.to_thread(self._executing.finish, to_seconds(timeout_s, "a timeout_s"))

    async def request(
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
    ) -> AsyncIterator[Outcome]:
        """Ask for a response action; yields each target's outcome. Raises NOBODY when the selector selects none.

        `target` as "ipv4_net=203.0.113.9", {"file": {"name": "a.exe"}} or `Target`. `args` as in OpenC2: a duration and
        times in milliseconds; other names are for the handler. `command_id`: what you call it. `options` as in
        `ActionOptions`: severity, ttl, label. `watch` is told when the targets are known and whenever one goes on or
        ends.

        `key`: the same key again, also in another process after whatever end, is the same action, never a second one;
        its results are kept by the relay while no program is there. An action with a duration is given one, since the
        end of its effect comes long after: `collect` has it written down. Raises KEY_TAKEN where the key is
        another action's, and BOOK_FAILED, before anything is sent, where the action cannot be written down.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(told.set)

        waiting: Latest[Progress] = Latest(wake, Progress.followed_by)
        key = key_for(key, args, dry_run=options.get("dry_run", False))
        ask = self._request(action, target, to, args, command_id, wait_ms, options, waiting, key)
        begun = await (asyncio.to_thread(self._collector.while_kept, ask) if key else asyncio.wrap_future(ask()))
        request = Request(begun.hex())
        while not request.done:
            await told.wait()
            told.clear()
            progress = waiting.take()
            if progress is None:
                continue
            for outcome in request.learn(progress, watch):
                yield outcome
            if request.nobody:
                raise FabricError(Code.NOBODY, to)

    def cancel(
        self, action_id: str, *, wait_ms: int = RESULT_WAIT_MS, watch: Callable[[Request], None] | None = None,
        **options: Unpack[ActionOptions],
    ) -> AsyncIterator[Outcome]:
        """End an action by its id, one's own or by a grant to request `cancel command`: what each answers to whom it
        may have gone. Its result says whether the action `was` "waiting", "running" or "not at work" there.

        What was sent to nobody yet is not sent any more; where nobody has it, NOBODY is raised after that. Severity and
        label are the action's where the book has it; give them otherwise, so that it comes after it.
        """
        options = self._as_cancelled(action_id, options)
        return self.request(
            CANCEL_ACTION, cancel_target(action_id), to="all", wait_ms=wait_ms, watch=watch, **options
        )

    async def collect(self) -> None:
        """Have what becomes of this identity's actions with a key, and of their effects, written into its book from now
        on, what came while no program was there first. `action(id)` has it then. Raises UNREACHABLE, TIMED_OUT."""
        await asyncio.to_thread(self._collector.collect)

    async def fetch(
        self, artifact: Artifact, path: Path | str, *, progress: FetchProgress | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Path:
        """Fetch what an action left at a target, one of an outcome's `artifacts`, into a file that is not there yet, or
        a folder that is. What came is kept beside it, and the next call goes on with that, also in another process.

        `progress` is told how far it is, on another thread: `bytes` of `size`, and what it `waits` for. Raises
        FETCH_STOPPED after `timeout_s` without a byte, ARTIFACT_GONE, ARTIFACT_CHANGED, WITHHELD and FILE_THERE.
        """
        fetch, file = self._fetch(artifact, path, progress, timeout_s)
        try:
            return await asyncio.to_thread(fetch.into, file)
        finally:
            fetch.stop.set()

    # -- approvals --------------------------------------------------------------------------------------

    def approvals(self, *, timeout_s: float | None = None) -> AsyncIterator[ApprovalRequest]:
        """Actions that wait for this approver: first what is open, then what comes, each once; it ends quietly after
        `timeout_s` in all, never if that is None. Look at `targets` and `args` too, and at `withheld`."""
        return requests_async(self._loop.approver, to_seconds(timeout_s, "a timeout_s"))

    async def approve(self, request: ApprovalRequest | str, *, wait_ms: int = VERDICT_WAIT_MS) -> Verdict:
        """Approve an action that is held: a request of `approvals`, or its id, or as much of its beginning as no other
        has. What is signed is all that the request says: this action, these targets, this rule, these policies.

        Returns when the relay that holds it counts the approval. Raises the reason where it does not (a code of 4xx),
        NOT_OPEN where nobody asks for it within `wait_ms`, TIMED_OUT where no verdict comes; it may still count then.
        """
        return await asyncio.wrap_future(self._decide(request, True, "", wait_ms))

    async def deny(self, request: ApprovalRequest | str, *, why: str, wait_ms: int = VERDICT_WAIT_MS) -> Verdict:
        """Deny it: it ends as refused, for all its targets. `why` is signed with it. The rest as in `approve`."""
        return await asyncio.wrap_future(self._decide(request, False, why, wait_ms))
