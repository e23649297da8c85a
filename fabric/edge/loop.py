"""The thread of a control point: its socket, its core, and what its program asked for.

One thread owns the socket; programs talk to it through `Calls`, and it talks back through futures and callbacks, which
run on this thread and must not block (`ControlPoint` and its blocking face see to that). Guarantees: a future of
`publish` ends when the relay holds the record durably or refused it; deliveries that nobody finished are delivered
again; nothing that a peer does ends the thread; after its end every call raises what ended it.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import cast

import zmq

from fabric.edge.acting.ledger import NAME as LEDGER
from fabric.edge.acting.ledger import Ledger
from fabric.edge.connection.mailbox import Calls, fail
from fabric.edge.connection.status import Standing
from fabric.edge.discovery.nearby import Nearby
from fabric.edge.identity.identity import Dial, Identity
from fabric.edge.identity.renewal import Renewal
from fabric.edge.identity.renewing import Renewing
from fabric.edge.logging.log import edge_log
from fabric.edge.publishing.composer import Composer, Draft, Position, Stamp, estimate_bytes
from fabric.edge.publishing.outbox import EdgeOutbox
from fabric.edge.publishing.publisher import Outgoing, Receipt
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.deliveries import Deliveries
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.core.ready import (
    Answer,
    Answered,
    Asked,
    Attached,
    Connected,
    Delivered,
    Delivery,
    Deny,
    Disconnected,
    Leave,
    LinkDown,
    LinkUp,
    Parents,
    Published,
    Ready,
    SubscriptionRefused,
    Tick,
)
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import SESSION_BYTES, Role
from fabric.spool.file import beside
from fabric.spool.named import check_outbox
from fabric.transport.clock import Clock
from fabric.transport.dialler import Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.inbox import Inbox
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import LinkNumbers
from fabric.transport.turns import Turn

_IDLE_MS_MAX = 1_000
_BACKOFF_MS_MAX = 10_000


class EdgeLoop:
    """`outbox`: the file that keeps what is published until the relay holds it."""

    def __init__(self, identity: Identity, outbox: Path | None = None) -> None:
        if not identity.dials:
            raise FabricError(Code.BAD_IDENTITY, f"{identity.id} names no relay to dial")
        if outbox is not None:
            check_outbox(outbox)  # before anything is kept beside it
        self.identity = identity
        self.clock = Clock(None if outbox is None else beside(outbox, "clock"))
        self.core = Point(
            identity.credential, identity.signer, identity.authority_key, os.urandom(SESSION_BYTES), os.urandom,
            tuple(dial.id for dial in identity.dials),
        )
        self._log = edge_log(identity.id)
        self._calls = Calls()
        self._nearby = Nearby(identity, self._calls.wake) if identity.nearest else None
        if self._nearby is not None:
            self.core.take_directory(self._nearby.of_folder().raw)
            self.core.step(Parents((), False), self.clock.now_ms())  # nobody, until it has looked around
        self.outgoing = Outgoing(
            self.core, Composer(identity.credential, self.core.signer, os.urandom, self.core.time_to_sign), self._log
        )
        self._inbox = Inbox()
        self._outbox_path = outbox
        self._outbox: EdgeOutbox | None = None
        self._opened: Future[None] = Future()
        self.standing = Standing([dial.address for dial in identity.dials])
        self.deliveries = Deliveries(self.core, self._calls, self.position, self._log)
        self.attaching = Attaching(self.core, self._calls, self.standing, self.deliveries.incoming)
        self.ledger = Ledger(identity.folder / LEDGER, self.core, self._calls, self.attaching)
        self.renewing = Renewing(
            self.core, self._calls, self.outgoing.renewed, Renewal(identity, os.urandom, self._log)
        )
        self.on_asked: Callable[[Asked, int], Answer] | None = None  # of an issuer
        self.on_end: Callable[[FabricError], None] | None = None
        self.leaving = False  # its program publishes nothing more
        self._listening = threading.Lock()
        self._listeners: list[Callable[[], None]] = []  # one for each thread or task that waits for the end
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"fabric {identity.id}", daemon=True)

    # -- from any thread --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises when the outbox cannot be opened; a relay is not waited for."""
        self._thread.start()
        self._opened.result()

    def wait_connected(self, timeout_s: float | None, *, patient: bool = False) -> None:
        """As `Standing` says; with an outbox there is something to do without a relay."""
        self.standing.wait_connected(timeout_s, needed=self._outbox is None, patient=patient)

    @property
    def held_up(self) -> FabricError | None:
        """Why what is published goes no further, or handlers get nothing; None while it does, as far as known."""
        if self._outbox is not None and not self.core.custody.intake_open:
            return FabricError(Code.DISK_SHORT, str(self._outbox_path))
        if self.standing.problem is not None:
            return self.standing.problem
        if self.core.put_off is None:
            return self.ledger.held_up
        reader = self.core.put_off_by
        return FabricError(Code.READER_FULL, reader) if reader else FabricError(self.core.put_off)

    def publish(
        self, stamp: Stamp, record: Record, position: Position | None = None, wait_s: float | None = None
    ) -> Future[str]:
        """The record's id, when it is durable: in the outbox where there is one, else at the relay.

        Blocks while too much waits, but no longer than `wait_s`: then it raises BUSY. `position` is kept with the
        record, in the same commit. Cancelled while it waits, the record is not taken.
        """
        draft = self.begin(stamp, record, position)
        try:
            self.add(draft, wait_s)
        except FabricError:
            draft.token.cancel()
            raise
        return cast("Future[str]", draft.token)

    def begin(self, stamp: Stamp, record: Record, position: Position | None) -> Draft:
        """The first half of `publish`, which does not block: its source goes no further until it is taken.

        Whoever does not add it cancels its token, a future.
        """
        if position is not None and self._outbox is None:
            raise FabricError(Code.USAGE, "a position needs an outbox to be kept in", "open the control point with one")
        if position is not None and self._outbox is not None:
            position = Position(_source(position.source), _position(position.position))
            self._outbox.check_source(position.source)
        if self.leaving:
            raise self._calls.ended or FabricError(Code.CLOSED)
        draft = Draft(stamp, record, self.clock.now_ms(), Receipt(), estimate_bytes(record), position)
        self.outgoing.begin(draft)
        return draft

    def add(self, draft: Draft, wait_s: float | None) -> None:
        """The second half, which blocks. After BUSY it may be tried again."""
        if self._stopping:
            error = self._calls.ended or FabricError(Code.CLOSED)
            fail(draft.token, error)
            raise error
        self.outgoing.add(draft, wait_s)
        self._calls.wake()

    def position(self, source: str) -> str | None:
        """How far the outbox's records of this source go."""
        return self._outbox.position(_source(source)) if self._outbox is not None else None

    def request(self, stamp: Stamp, record: Record, wait_ms: int, tell: Callable[[Tracker], None]) -> Future[bytes]:
        """Submit an action; `tell` runs on the loop's thread whenever the tracker has learnt something."""
        begun: Future[bytes] = Future()

        def begin(now_ms: int, ready: Ready) -> None:
            if not begun.set_running_or_notify_cancel():
                return
            draft = Draft(stamp, record, now_ms, begun)
            try:
                self.deliveries.requests.check_room()
                message = self.outgoing.submit_one(draft, now_ms, ready)
            except FabricError as error:
                begun.set_exception(error)
                return
            self.deliveries.requests.add(Tracker(message.leaf, now_ms, now_ms + stamp.ttl_ms + wait_ms), tell)

        self._calls.call(begin, lambda error: fail(begun, error))
        return begun

    def denied(self, code: Code) -> None:
        """This program was not let do something here: its relay counts that."""
        self._calls.call_if_room(lambda now_ms, ready: ready.merge(self.core.step(Deny(code), now_ms)))

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Asked immediately before a handler runs (SPEC 5): in time, and by a clock that can be believed."""
        now_ms = self.clock.now_ms()
        if self.core.clock_suspect:
            return Reject(Code.CLOCK_SUSPECT)
        refused = self.core.may_not_act(delivery.message, now_ms) or self.ledger.why_not(
            delivery.message.header, now_ms
        )
        if refused is not None:
            return refused
        age_ms = delivery.age_ms + max(0, now_ms - arrived_ms)
        return self.core.check_time(delivery.message.header, age_ms, now_ms)

    @property
    def ended(self) -> FabricError | None:
        """What ended the connection for good."""
        return self._calls.ended

    @property
    def runs(self) -> bool:
        """Whether its thread is there for others to wait for: it is not for itself."""
        return self._thread.is_alive() and threading.current_thread() is not self._thread

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call this when the connection has ended for good, on its thread; now, where it has."""
        with self._listening:
            if self._calls.ended is None:
                self._listeners.append(tell)
                return
        tell()

    def not_when_over(self, tell: Callable[[], None]) -> None:
        """Nobody waits for that any more."""
        with self._listening, suppress(ValueError):
            self._listeners.remove(tell)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say goodbye and end. Nobody waits here for what is not held yet: `Leaving` does."""
        if not self._stopping:
            self.leaving = self._stopping = True
            self._calls.wake()
            if not self._thread.ident:  # it was never started: what was added has nobody else to be ended by
                self._end(FabricError(Code.CLOSED))
        if self.runs:
            self._thread.join(timeout_s)

    # -- the loop's thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        self._context = zmq.Context()
        keys = CurveKeys(self.identity.credential.curve_key, self.identity.curve_secret)
        peers = [] if self._nearby is not None else _peers(self.identity.dials)
        self._diallers = Diallers(
            self._context, peers, keys, FRAME_BYTES_MAX, LinkNumbers(), random.random, _BACKOFF_MS_MAX
        )
        try:
            self._open_outbox()
            self._serve()
        except FabricError as error:
            if self._opened.done():  # else `start` raises it
                self._log.warning("control point stopped", code=error.code.label, why=error.detail)
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a thread that dies silently would leave every caller waiting
            self._log.error("control point stopped", error=type(error).__name__)
            self._end(FabricError(Code.CLOSED, f"internal error: {type(error).__name__}"))
            raise
        finally:
            self._stopping = True
            if not self._opened.done():
                self._opened.set_exception(self._calls.ended or FabricError(Code.CLOSED))
            self._diallers.close()
            self._context.destroy(linger=0)
            self.ledger.close()
            if self._outbox is not None:
                self._outbox.close()
            self._calls.close()

    def _open_outbox(self) -> None:
        if self._outbox_path is not None:
            now_ms = self.clock.now_ms()
            self._outbox = EdgeOutbox(self._outbox_path, self.identity, now_ms)
            self.core.session = self._outbox.session
            for words in self._outbox.restore(self.core, now_ms):
                self._log.warning("quarantined", what=words)
            self.attaching.restore()
            self.outgoing.durable = True
            self.outgoing.restored(self.core.outboxes[UPLINK].rows())
        self._opened.set_result(None)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._calls.fileno(), zmq.POLLIN)
        wait_ms = 0
        while not self._stopping:
            self._diallers.register(poller)
            poller.poll(wait_ms)
            self._calls.awake()
            now_ms = self.clock.now_ms()
            self.core.wall_ahead_ms = self.clock.wall_ahead_ms()
            ready = self._turn(now_ms)
            self._apply(ready, now_ms)
            wait_ms = self._wait_ms(ready, now_ms)
        self._goodbye()

    def _turn(self, now_ms: int) -> Ready:
        ready = Ready()
        self._look_around(now_ms, ready)
        self._diallers.want(self.core.parents_wanted(now_ms))
        for peer, event in self._diallers.service(now_ms):
            if isinstance(event, Up):
                up = LinkUp(event.link, peer.curve_key, os.urandom(SESSION_BYTES), peer.role, peer.id)
                ready.merge(self.core.step(up, now_ms))
                continue
            if self._inbox.end(event.link, b""):
                ready.merge(self.core.step(LinkDown(event.link), now_ms))
            if not self.core.connected:
                self._log.debug("not connected", code=event.code.label, why=event.words)
                problem = FabricError(event.code, event.words)
                if event.link == 0 and event.code is Code.CLOSED:
                    self.standing.was_cut_off(problem)
                else:
                    self.standing.has_no_answer(peer.id, problem)
        self._calls.run(now_ms, ready)
        self.ledger.look(now_ms, ready)
        if self._outbox is not None:
            was_open = self.core.custody.intake_open
            self._outbox.upkeep(self.core, now_ms)
            if self.core.custody.intake_open != was_open:
                words = "disk is short: publish waits" if was_open else "disk has room again"
                self._log.warning(words, code=Code.DISK_SHORT.label, waiting=self.outgoing.waiting)
        self.renewing.look(now_ms, ready)
        self.outgoing.compose(now_ms, ready)
        for link, payload in self._diallers.receive():
            self._inbox.put(link, link.to_bytes(8, "big"), b"", payload)
        reading = Turn()
        while (entry := self._inbox.take()) is not None:
            now_ms = self.clock.now_ms()  # it may have been sent since the turn began, and would seem to arrive before
            if entry.payload is None:
                ready.merge(self.core.step(LinkDown(entry.link), now_ms))
                continue
            arrived = self.core.read(entry.link, entry.payload)
            made = self.core.step(arrived, now_ms)
            ready.merge(made)
            if reading.over_after(arrived, made):
                break
        self.deliveries.requests.time_out(now_ms)
        ready.merge(self.core.step(Tick(), now_ms))
        return ready

    def _apply(self, ready: Ready, now_ms: int) -> None:
        self._send(ready.early)
        if self._outbox is not None:
            self._outbox.commit(ready.persist, now_ms)
        self.ledger.commit(ready.persist)
        self.outgoing.committed()
        self._send(ready.send)
        for delivered in sorted(ready.deliver, key=_urgency):
            self._deliver(delivered, now_ms)
        for link, code in ready.close:
            self._diallers.end(link, code.reason)
        for note in ready.notes:
            (self._log.error if note.alarm else self._log.debug)(note.event, **note.fields)

    def _send(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for link, payload in frames:
            self._diallers.send(link, payload)

    def _deliver(self, delivered: Delivered, now_ms: int) -> None:
        match delivered:
            case Delivery() if delivered.message.header.kind is Kind.ACTION:
                if self.attaching.take_action is not None:
                    self.attaching.take_action(delivered)
            case Delivery():
                self.deliveries.take(delivered, now_ms)
            case Published():
                self.outgoing.published(delivered)
            case Connected(relay):
                self.standing.is_connected()
                self._log.debug("connected", relay=relay)
                if self._nearby is not None and self._nearby.is_cleared_for_less(relay):
                    self._log.warning("the nearest relay is cleared for less than this control point", relay=relay)
            case Disconnected(reason, final, relay):
                self._log.debug("not connected", code=reason.code.label, why=reason.detail)
                problem = FabricError(reason.code, reason.detail)
                # An id that was revoked is never used again: whoever waits here would wait for ever. Of a relay that
                # was revoked the same says nothing: there may be others.
                if reason.code is Code.REVOKED and reason.detail in (self.core.me.id, *self.core.me.issuers):
                    by_authority = self.core.trust.revocations.check(self.core.me) is not None
                    if self.standing.is_revoked(relay) or by_authority:
                        raise problem
                self.standing.is_refused(problem, final=final)
            case SubscriptionRefused(reason):
                self.attaching.refused(reason)
            case Asked():
                if self.on_asked is not None:
                    answer = self.on_asked(delivered, self.core.fabric_now(now_ms))
                    self._calls.later(lambda now, ready: ready.merge(self.core.step(answer, now)))
            case Answered():
                self.renewing.answered(delivered)
            case Attached():
                self.attaching.confirmed(delivered)

    def _wait_ms(self, ready: Ready, now_ms: int) -> int:
        if self._calls.waits or self._inbox:
            return 0
        wakes = [now_ms + _IDLE_MS_MAX]
        if ready.wake_at_ms is not None:
            wakes.append(ready.wake_at_ms)
        due = (
            self._diallers.next_wake_ms(now_ms), self._outbox.due_ms if self._outbox is not None else None,
            self.ledger.due_ms,
        )
        wakes += [wake for wake in due if wake is not None]
        return max(0, min(wakes) - now_ms)

    def _goodbye(self) -> None:
        now_ms = self.clock.now_ms()
        # What was published and handled until now is sealed, committed and acknowledged.
        self._apply(self._turn(now_ms), now_ms)
        self._send(self.core.step(Leave(), now_ms).send)
        # LINGER is 0 everywhere else; a BYE deserves the milliseconds that it takes to leave.
        threading.Event().wait(0.05)
        self._end(FabricError(Code.CLOSED))

    def _look_around(self, now_ms: int, ready: Ready) -> None:
        """Of a control point that names no relay: who is nearest now."""
        if self._nearby is None:
            return
        core = self.core
        order = self._nearby.look(
            now_ms, core.clocks(now_ms), core.directory, core.trust.revocations, connected=core.connected
        )
        if self._nearby.not_kept:
            self._log.warning("directory of relays not kept", why=self._nearby.not_kept)
            self._nearby.not_kept = ""
        if order is None:
            return
        dials = [ranked.dial for ranked in order.relays] or self.identity.dials
        self._log.debug("nearest", relays=[dial.id for dial in dials], moved=order.moved)
        self._diallers.change(_peers(dials))
        self.standing.relays([dial.address for dial in dials])
        ready.merge(core.step(Parents(tuple(dial.id for dial in dials), order.moved), now_ms))

    def _end(self, error: FabricError) -> None:
        self._calls.end(error)
        self.standing.has_ended(error)
        self.outgoing.close(error)
        self.deliveries.incoming.fail_all(error)
        self.deliveries.requests.close()
        self.renewing.end(error)
        with self._listening:
            listeners, self._listeners = self._listeners, []
        for tell in listeners:
            tell()
        if self.on_end is not None:
            self.on_end(error)


def _source(name: str) -> str:
    """Names of files need not be text: what cannot be kept as it is, is kept as its number."""
    return name.encode(errors="backslashreplace").decode()


def _position(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FabricError(Code.BAD_INPUT, "a position is not Unicode text") from None
    return text


def _peers(dials: Sequence[Dial]) -> list[Peer]:
    return [Peer(dial.id, dial.address, dial.curve_key, Role.POINT) for dial in dials]


def _urgency(delivered: Delivered) -> int:
    """What a turn brought is unpacked in the order of lanes; what is said of this node itself comes before it."""
    return delivered.message.header.lane if isinstance(delivered, Delivery) else -1
