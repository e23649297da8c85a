"""The thread of a control point: its socket, its core, and what its program asked for.

One thread owns the socket; programs talk to it through `call`, and it talks back through futures and callbacks, which
run on this thread and must not block (`ControlPoint` and its blocking face see to that). Guarantees: a future of
`publish` ends when the relay holds the record durably or refused it; deliveries that nobody finished are delivered
again; nothing that a peer does ends the thread.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import zmq

from fabric.edge.compose import Composer, Draft, Position, Stamp, estimate_bytes
from fabric.edge.identity import Dial, Identity
from fabric.edge.incoming import Incoming, Subscription
from fabric.edge.logs import edge_log
from fabric.edge.messages import messages_of
from fabric.edge.nearby import Nearby
from fabric.edge.notices import Notice, notice_of
from fabric.edge.outbox import EdgeOutbox
from fabric.edge.outgoing import Outgoing
from fabric.edge.renewal import Renewal
from fabric.edge.requests import Requests
from fabric.edge.spool.file import beside
from fabric.edge.standing import Standing
from fabric.edge.tracking import Tracker
from fabric.protocol.credentials import Credential, NodeKind
from fabric.protocol.envelope import Kind
from fabric.protocol.errors import Code, FabricError, Reject
from fabric.protocol.limits import FRAME_BYTES_MAX
from fabric.protocol.links import UPLINK
from fabric.protocol.parts import Record
from fabric.protocol.point import Point
from fabric.protocol.ready import (
    Answer,
    Answered,
    Asked,
    Attach,
    Attached,
    Connected,
    Delivered,
    Delivery,
    Disconnected,
    Handled,
    KeepPosition,
    Leave,
    LinkDown,
    LinkUp,
    Parents,
    Published,
    Ready,
    Renewed,
    SubscriptionRefused,
    Tick,
)
from fabric.protocol.reports import GAP_TOPIC, NOTICE_TOPIC
from fabric.protocol.wire import SESSION_BYTES, Role
from fabric.transport.clock import Clock
from fabric.transport.dialler import Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import LinkNumbers
from fabric.transport.turns import Turn

_IDLE_MS_MAX = 1_000
_RENEW_MS = 1_000
_BACKOFF_MS_MAX = 10_000
_ONE_OR_THE_OTHER = (
    "who is away executes nothing: a control point has durable subscriptions or handlers of actions",
    "open a second one, with the same identity, for the other",
)


class EdgeLoop:
    """`outbox`: the file that keeps what is published until the relay holds it."""

    def __init__(self, identity: Identity, outbox: Path | None = None) -> None:
        if not identity.dials:
            raise FabricError(Code.BAD_IDENTITY, f"{identity.id} names no relay to dial")
        self.identity = identity
        self.clock = Clock(None if outbox is None else beside(outbox, "clock"))
        self.core = Point(
            identity.credential, identity.signer, identity.authority_key, os.urandom(SESSION_BYTES), os.urandom,
            tuple(dial.id for dial in identity.dials),
        )
        self._log = edge_log(identity.id)
        self._nearby = Nearby(identity, self._wake) if identity.nearest else None
        if self._nearby is not None:
            self.core.take_directory(self._nearby.of_folder().raw)
            self.core.step(Parents((), False), self.clock.now_ms())  # nobody, until it has looked around
        self.outgoing = Outgoing(
            self.core, Composer(identity.credential, self.core.signer, os.urandom, self.core.fabric_now), self._log
        )
        self._renewal = Renewal(identity, os.urandom)
        self.on_asked: Callable[[Asked, int], Answer] | None = None  # of an issuer
        self._outbox_path = outbox
        self._outbox: EdgeOutbox | None = None
        self._opened: Future[None] = Future()
        self._calls: deque[Callable[[int, Ready], None]] = deque()
        self._incoming = Incoming(self._handled)
        self._actions: Callable[[Delivery], None] | None = None
        self._requests = Requests()
        self.on_notice: Callable[[Notice], None] | None = None
        self._epoch = 0
        self._renew_at_ms = 0
        self._waiting_for_renewal: dict[bytes, Future[None]] = {}
        self.standing = Standing([dial.address for dial in identity.dials])
        self._stopping = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"fabric {identity.id}", daemon=True)

    # -- from any thread --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises when the outbox cannot be opened; a relay is not waited for."""
        self._thread.start()
        self._opened.result()

    def call(self, function: Callable[[int, Ready], None]) -> None:
        """Run on the loop's thread, with the time and the turn's `Ready`."""
        self._calls.append(function)
        self._wake()

    def wait_connected(self, timeout_s: float) -> None:
        """As `Standing` says; with an outbox there is something to do without a relay."""
        self.standing.wait_connected(timeout_s, needed=self._outbox is None)

    def publish(
        self, stamp: Stamp, record: Record, position: Position | None = None, wait_s: float | None = None
    ) -> Future[str]:
        """The record's id, when it is durable: in the outbox where there is one, else at the relay.

        Blocks while too much waits, but no longer than `wait_s`: then it raises BUSY. `position` is kept with the
        record, in the same commit.
        """
        if position is not None and self._outbox is None:
            raise FabricError(Code.USAGE, "a position needs an outbox to be kept in", "open the control point with one")
        future: Future[str] = Future()
        draft = Draft(stamp, record, self.clock.now_ms(), future, estimate_bytes(record), position)
        if self._stopping:
            future.set_exception(FabricError(Code.CLOSED))
        else:
            self.outgoing.add(draft, wait_s)
            self._wake()
        return future

    def position(self, source: str) -> str | None:
        """How far the outbox's records of this source go."""
        return self._outbox.position(source) if self._outbox is not None else None

    def subscribe(self, subscription: Subscription) -> None:
        if subscription.durable and self._outbox is None:
            raise FabricError(
                Code.USAGE, "a durable subscription needs an outbox to be remembered in",
                "open the control point with one",
            )
        if subscription.durable and self._actions is not None:
            raise FabricError(Code.USAGE, *_ONE_OR_THE_OTHER)

        def add(now_ms: int, ready: Ready) -> None:
            if self._incoming.add(subscription):
                self._attach(now_ms, ready)
                subscription.epoch = self._epoch

        self.standing.attached.clear()
        self.call(add)

    def unsubscribe(self, subscription: Subscription) -> None:
        def drop(now_ms: int, ready: Ready) -> None:
            if self._incoming.drop(subscription):
                self._attach(now_ms, ready)

        self.call(drop)

    def stopped_in(self, batch: str, records: int) -> None:
        """The program stops with so many records of an unfinished batch taken: the next run begins behind them."""
        if self._outbox is not None and self._incoming.is_single:
            self.call(lambda _now, ready: ready.persist.append(KeepPosition(_batch(batch), str(records))))

    def forget(self, pattern: str) -> None:
        """A durable pattern ends: nothing waits for it any more."""

        def drop(now_ms: int, ready: Ready) -> None:
            self._incoming.forget(pattern)
            self._attach(now_ms, ready)

        self.standing.attached.clear()
        self.call(drop)

    def execute(self, take: Callable[[Delivery], None]) -> None:
        """From now on actions are for this session; `take` runs on the loop's thread."""
        if self._incoming.keep_ms:
            raise FabricError(Code.USAGE, *_ONE_OR_THE_OTHER)

        def begin(now_ms: int, ready: Ready) -> None:
            self._actions = take
            self._attach(now_ms, ready)

        self.standing.attached.clear()
        self.call(begin)

    def request(self, stamp: Stamp, record: Record, wait_ms: int, tell: Callable[[Tracker], None]) -> Future[bytes]:
        """Submit an action; `tell` runs on the loop's thread whenever the tracker has learnt something."""
        begun: Future[bytes] = Future()

        def begin(now_ms: int, ready: Ready) -> None:
            draft = Draft(stamp, record, now_ms, begun)
            try:
                message = self.outgoing.submit_one(draft, now_ms, ready)
            except FabricError as error:
                begun.set_exception(error)
                return
            self._requests.add(Tracker(message.leaf, now_ms, now_ms + stamp.ttl_ms + wait_ms), tell)

        self.call(begin)
        return begun

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Asked immediately before a handler runs (SPEC 5): in time, and by a clock that can be believed."""
        now_ms = self.clock.now_ms()
        if self.core.clock_suspect:
            return Reject(Code.CLOCK_SUSPECT)
        age_ms = delivery.age_ms + max(0, now_ms - arrived_ms)
        return Reject(Code.EXPIRED) if self.core.is_expired(delivery.message, age_ms, now_ms) else None

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say goodbye and end. What was published and is not yet held gets a few seconds' chance."""
        if self._stopping:
            return
        self._stopping = True
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _wake(self) -> None:
        # A full pipe wakes it too; a closed one has nobody to wake.
        with suppress(OSError):
            self._wake_writer.send(b"\0")

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
            self.standing.problem = error
            self._fail_all(error)
        except Exception as error:  # noqa: BLE001 - a thread that dies silently would leave every caller waiting
            self._log.error("control point stopped", error=type(error).__name__)
            self.standing.problem = FabricError(Code.CLOSED, f"internal error: {type(error).__name__}")
            self._fail_all(self.standing.problem)
            raise
        finally:
            self._stopping = True
            if not self._opened.done():
                self._opened.set_exception(self.standing.problem or FabricError(Code.CLOSED))
            self._diallers.close()
            self._context.destroy(linger=0)
            if self._outbox is not None:
                self._outbox.close()
            self._wake_reader.close()
            self._wake_writer.close()

    def _open_outbox(self) -> None:
        if self._outbox_path is not None:
            now_ms = self.clock.now_ms()
            self._outbox = EdgeOutbox(self._outbox_path, self.identity, now_ms)
            self.core.session = self._outbox.session
            for words in self._outbox.restore(self.core, now_ms):
                self._log.warning("quarantined", what=words)
            self._incoming.restore(self.core.wanted.subscriptions)
            self._epoch = self.core.wanted.epoch
            self.outgoing.durable = True
            self.outgoing.restored(self.core.outboxes[UPLINK].rows())
        self._opened.set_result(None)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_reader.fileno(), zmq.POLLIN)
        wait_ms = 0
        while not self._stopping:
            self._diallers.register(poller)
            poller.poll(wait_ms)
            self._drain_wakes()
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
            ready.merge(self.core.step(LinkDown(event.link), now_ms))
            if not self.core.connected:
                self._log.debug("not connected", code=event.code.label, why=event.words)
                self.standing.has_no_answer(peer.id, FabricError(event.code, event.words))
        while self._calls:
            self._calls.popleft()(now_ms, ready)
        if self._outbox is not None:
            was_open = self.core.custody.intake_open
            self._outbox.upkeep(self.core, now_ms)
            if self.core.custody.intake_open != was_open:
                self._log.warning("disk is short: publish waits" if was_open else "disk has room again")
        self._renew(now_ms, ready)
        self.outgoing.compose(now_ms, ready)
        reading = Turn()
        for link, payload in self._diallers.receive():
            arrived = self.core.read(link, payload)
            now_ms = self.clock.now_ms()  # it may have been sent since the turn began, and would seem to arrive before
            ready.merge(self.core.step(arrived, now_ms))
            if reading.over_after(arrived):
                break
        self._requests.time_out(now_ms)
        ready.merge(self.core.step(Tick(), now_ms))
        return ready

    def _apply(self, ready: Ready, now_ms: int) -> None:
        if self._outbox is not None:
            self._outbox.commit(ready.persist, now_ms)
        self.outgoing.committed()
        for link, payload in ready.send:
            self._diallers.send(link, payload)
        for delivered in sorted(ready.deliver, key=_urgency):
            self._deliver(delivered, now_ms)
        for link, code in ready.close:
            self._diallers.end(link, code.reason)
        for note in ready.notes:
            self._log.debug(note.event, **note.fields)

    def _drain_wakes(self) -> None:
        with suppress(OSError):
            while len(self._wake_reader.recv(4096)) == 4096:
                continue

    def _wait_ms(self, ready: Ready, now_ms: int) -> int:
        if self._calls:
            return 0
        wakes = [now_ms + _IDLE_MS_MAX]
        if ready.wake_at_ms is not None:
            wakes.append(ready.wake_at_ms)
        due = (self._diallers.next_wake_ms(now_ms), self._outbox.due_ms if self._outbox is not None else None)
        wakes += [wake for wake in due if wake is not None]
        return max(0, min(wakes) - now_ms)

    def _goodbye(self) -> None:
        now_ms = self.clock.now_ms()
        # What was published and handled until now is sealed, committed and acknowledged.
        self._apply(self._turn(now_ms), now_ms)
        ready = self.core.step(Leave(), now_ms)
        for link, payload in ready.send:
            self._diallers.send(link, payload)
        # LINGER is 0 everywhere else; a BYE deserves the milliseconds that it takes to leave.
        threading.Event().wait(0.05)
        self._fail_all(FabricError(Code.CLOSED))

    def _fail_all(self, error: FabricError) -> None:
        self.outgoing.close(error)
        self._incoming.fail_all(error)
        self._requests.close()

    # -- the nearest relay ------------------------------------------------------------------------------

    def _look_around(self, now_ms: int, ready: Ready) -> None:
        if self._nearby is None:
            return
        core = self.core
        order = self._nearby.look(
            now_ms, core.fabric_now(now_ms), core.directory, core.trust.revocations, connected=core.connected
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

    # -- what this node takes ---------------------------------------------------------------------------

    def _attach(self, now_ms: int, ready: Ready) -> None:
        self._epoch = max(self._epoch + 1, now_ms)
        self.standing.attached.clear()
        incoming = self._incoming
        wanted = Attach(self._epoch, self._actions is not None, incoming.patterns, incoming.keep_ms)
        ready.merge(self.core.step(wanted, now_ms))

    # -- this node's credential -------------------------------------------------------------------------

    def _renew(self, now_ms: int, ready: Ready) -> None:
        """A few times a minute: take up a newer one from the folder, or ask for one when it is time."""
        if now_ms < self._renew_at_ms:
            return
        self._renew_at_ms = now_ms + _RENEW_MS
        fresh = self._renewal.newer()
        if fresh is not None:
            self._renewed(fresh, now_ms, ready)
        elif self.core.connected and (ask := self._renewal.due(self.core.fabric_now(now_ms))) is not None:
            ready.merge(self.core.step(ask, now_ms))

    def renew(self) -> Future[None]:
        """Ask this node's issuer for a newer credential now; the future ends when it is in force, or with why not."""
        future: Future[None] = Future()
        if not self._renewal.held.issuers:
            raise FabricError(
                Code.USAGE, f"the authority itself vouches for {self.identity.id}",
                f"run `fabric credential renew {self.identity.id}` where the authority is",
            )

        def ask(now_ms: int, ready: Ready) -> None:
            question = self._renewal.ask(self.core.fabric_now(now_ms))
            self._waiting_for_renewal[question.id] = future
            ready.merge(self.core.step(question, now_ms))

        self.call(ask)
        return future

    def _answered(self, answered: Answered) -> None:
        try:
            fresh = self._renewal.answered(answered)
        except OSError as error:
            fresh = self._renewal.held
            self._log.warning("renewed credential not kept", why=type(error).__name__)
        waiting = self._waiting_for_renewal.pop(answered.id, None)
        if isinstance(fresh, Credential):
            renewed = fresh
            self.call(lambda now_ms, ready: self._renewed(renewed, now_ms, ready))
            if waiting is not None:
                waiting.set_result(None)
        elif fresh is not None:
            self._log.warning("not renewed", code=fresh.code.label, why=fresh.detail, next=fresh.code.next_step)
            if waiting is not None:
                waiting.set_exception(FabricError(fresh.code, fresh.detail))

    def _renewed(self, fresh: Credential, now_ms: int, ready: Ready) -> None:
        self.outgoing.renewed(fresh)
        ready.merge(self.core.step(Renewed(fresh), now_ms))

    # -- in ---------------------------------------------------------------------------------------------

    def _deliver(self, delivered: Delivered, now_ms: int) -> None:
        match delivered:
            case Delivery():
                self._take(delivered, now_ms)
            case Published():
                self.outgoing.published(delivered)
            case Connected(relay):
                self.standing.is_connected()
                self._log.debug("connected", relay=relay)
                if self._nearby is not None and self._nearby.is_cleared_for_less(relay):
                    self._log.warning("the nearest relay is cleared for less than this control point", relay=relay)
            case Disconnected(reason, final):
                self._log.debug("not connected", code=reason.code.label, why=reason.detail)
                problem = FabricError(reason.code, reason.detail)
                # An id that was revoked is never used again: whoever waits here would wait for ever. Of a relay that
                # was revoked the same says nothing: there may be others.
                over = reason.code is Code.REVOKED and reason.detail in (self.core.me.id, *self.core.me.issuers)
                self.standing.is_refused(problem, final=final, over=over)
                if over:
                    raise problem
            case SubscriptionRefused(reason):
                if self._incoming.refused(reason) or self._actions is not None:
                    self.call(self._attach)
            case Asked():
                if self.on_asked is not None:
                    answer = self.on_asked(delivered, self.core.fabric_now(now_ms))
                    self.call(lambda now, ready: ready.merge(self.core.step(answer, now)))
            case Answered():
                self._answered(delivered)
            case Attached(epoch):
                if epoch >= self._epoch:
                    self.standing.attached.set()
                self._incoming.confirmed(epoch)

    def _take(self, delivery: Delivery, now_ms: int) -> None:
        header, id_ = delivery.message.header, delivery.message.id
        if header.kind is Kind.ACTION:
            if self._actions is not None:
                self._actions(delivery)
            return
        messages = messages_of(delivery)
        if isinstance(messages, Reject):
            problem = messages
            self.call(lambda now, ready: ready.merge(self.core.step(Handled(id_, problem), now)))
            return
        by_relay = delivery.message.credential.kind is NodeKind.RELAY
        if header.kind is not Kind.RESULT:
            taken = int(self.position(_batch(id_.hex())) or 0)
            self._incoming.take(id_, header.topic, messages[taken:])
        elif header.topic == GAP_TOPIC and by_relay and header.origin in self.core.parents:
            # Its own relays alone know what they had no room for.
            self._incoming.gap(id_, messages)
        else:
            if header.topic == NOTICE_TOPIC and by_relay:
                self._take_notice(notice_of(messages[0]))
            elif header.topic not in (GAP_TOPIC, NOTICE_TOPIC):  # anybody else's word of these is let go
                self._requests.take(delivery.message, messages, now_ms)
            self._handled(id_)

    def _take_notice(self, notice: Notice) -> None:
        for code, records in notice.by_code().items():
            self._log.warning("not delivered", relay=notice.relay, code=code, records=records)
        if self.on_notice is not None:
            try:
                self.on_notice(notice)
            except Exception as error:  # noqa: BLE001 - a program's fault is not this connection's end
                self._log.error("on_notice raised", error=type(error).__name__)

    def _handled(self, id_: bytes) -> None:
        def handled(now_ms: int, ready: Ready) -> None:
            ready.merge(self.core.step(Handled(id_), now_ms))
            if self.position(_batch(id_.hex())):
                ready.persist.append(KeepPosition(_batch(id_.hex()), ""))

        self.call(handled)


def _peers(dials: Sequence[Dial]) -> list[Peer]:
    return [Peer(dial.id, dial.address, dial.curve_key, Role.POINT) for dial in dials]


def _urgency(delivered: Delivered) -> int:
    """What a turn brought is unpacked in the order of lanes; what is said of this node itself comes before it."""
    return delivered.message.header.lane if isinstance(delivered, Delivery) else -1


def _batch(id_: str) -> str:
    """Under this name the outbox keeps how many records of an unfinished batch were taken."""
    return f"batch {id_}"
