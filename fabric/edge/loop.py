"""The thread of a control point: it creates the components, and calls them by name.

One thread owns the sockets; programs talk to it through `Mailbox`, and it talks back through futures and callbacks,
which run on this thread and must not block (`ControlPoint` and its blocking face see to that). Guarantees: a future of
`publish` ends when the relay holds the record durably or refused it; deliveries that nobody finished are delivered
again; nothing that a peer does ends the thread; after its end every call raises what ended it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import zmq

from fabric import __version__
from fabric.audit.keeper import Keeper, fields_of_start
from fabric.edge.acting.serving import Serving
from fabric.edge.approving.approver import Approver
from fabric.edge.artifacts.store import NAME as ARTIFACTS
from fabric.edge.artifacts.store import Store
from fabric.edge.connection.dialling import Dialling
from fabric.edge.connection.end_of_connection import EndOfConnection
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.renewing import Renewing
from fabric.edge.connection.status import Status
from fabric.edge.effects.lease_list import NAME as LEASES
from fabric.edge.effects.leasing import Leasing
from fabric.edge.fetching.fetches import Fetches
from fabric.edge.identity.home import AUDIT
from fabric.edge.identity.identity import Identity
from fabric.edge.identity.kept_policies import KeptPolicies
from fabric.edge.identity.renewal import Renewal
from fabric.edge.ledger.ledger import NAME as LEDGER
from fabric.edge.ledger.ledger import Ledger
from fabric.edge.locks import Pending
from fabric.edge.logging.log import edge_log
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.in_flight import InFlight
from fabric.edge.publishing.intake import Intake
from fabric.edge.publishing.lanes import Lanes
from fabric.edge.publishing.outbox import EdgeOutbox
from fabric.edge.publishing.publisher import Publisher
from fabric.edge.publishing.recipients import Recipients
from fabric.edge.publishing.sources import Sources
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.deliveries import Deliveries
from fabric.edge.receiving.unsealing import Unsealing
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.requester import Requester
from fabric.protocol.access.permissions import fetches
from fabric.protocol.audit.kinds import LOG_STOPPED, LOG_WITNESSED, Audited
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ARTIFACTS_BYTES_MAX, PING_MS
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
    Published,
    Ready,
    Repeated,
    SubscriptionRefused,
    Tick,
)
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import SESSION_BYTES
from fabric.spool.book import NAME as BOOK
from fabric.spool.file import beside
from fabric.spool.named import check_outbox
from fabric.transport.clock import Clock

# What has no time of its own is looked at as often as an idle link is asked whether it lives.
_IDLE_MS_MAX = PING_MS
# While a request is open: others of its identity may hear of it too, and it ends in time.
_OPEN_MS_MAX = 250
# Who only publishes, and soon ends, leaves nothing in the log of its identity.
_AUDIT_PATIENCE_MS = 60_000

_HERE: WeakSet[EdgeLoop] = WeakSet()  # of this process


class EdgeLoop:
    """`outbox`: the file that keeps what is published until the relay holds it. `session`: that of an earlier run, to
    go on with; with an outbox it is the one that the outbox knows. `artifacts`: bytes for what actions leave here.
    `collects`: what becomes of all actions of this identity is written down, from the first message on."""

    def __init__(
        self, identity: Identity, outbox: Path | None = None, session: bytes = b"",
        artifacts: int = ARTIFACTS_BYTES_MAX, *, collects: bool = False,
    ) -> None:
        if not identity.dials:
            raise FabricError(Code.BAD_IDENTITY, f"{identity.id} names no relay to dial")
        if outbox is not None:
            check_outbox(outbox)  # before anything is kept beside it
        self.identity = identity
        self.clock = Clock(None if outbox is None else beside(outbox, "clock"))
        self.core = Point(
            identity.credential, identity.signer, identity.authority_key, session or os.urandom(SESSION_BYTES),
            os.urandom, tuple(dial.id for dial in identity.dials),
        )
        self._log = edge_log(identity.id)
        self._policies = KeptPolicies(identity, self.core.trust, self._log)
        self._mailbox = Mailbox()
        self.status = Status([dial.address for dial in identity.dials])
        self._dialling = Dialling(identity, self.core, self.clock, self.status, self._mailbox.wake, self._log)
        recipients = Recipients(self.core, os.urandom)
        self._awaiting_keys = AwaitingKeys(self.core, recipients)
        in_flight = InFlight(self.core)
        sources = Sources()
        self.lanes = Lanes(in_flight)
        self.publisher = Publisher(
            self.core, self.lanes, sources, in_flight,
            Composer(
                identity.credential, self.core.signer, self.core.roots, os.urandom, self.core.time.to_sign,
                recipients.keys_of,
            ),
            self._awaiting_keys, self._log,
        )
        self.intake = Intake(self.clock, self._mailbox, self.lanes, sources)
        self._outbox_path = outbox
        self._outbox: EdgeOutbox | None = None
        self._opened = Pending[None]()
        self.recorder = Recorder(identity.folder / BOOK, self._log)
        self._collects = collects
        self.approver = Approver(self.core, self._mailbox, self.publisher, self._log)
        self.fetches = Fetches(self._mailbox, self.publisher)
        self.unsealing = Unsealing(Opener(identity.id, identity.signer), self._log)
        self.deliveries = Deliveries(
            self.core, self._mailbox, self.intake.position, self.recorder, self.approver, self.fetches, self.unsealing,
            self._log,
        )
        self.requester = Requester(
            self.core, self._mailbox, self.publisher, self.deliveries.requests, self.recorder, self._awaiting_keys
        )
        self.attaching = Attaching(self.core, self._mailbox, self.status, self.deliveries.subscriptions)
        self.artifacts = Store(
            identity.folder / ARTIFACTS, self._log, artifacts, lambda: self.core.time.now(self.clock.now_ms()),
            is_sure=lambda: self.core.time.is_sure,
        )
        self.serving = Serving(self, self.artifacts, self.intake.publish, self._audit_soon, self._log)
        self._audit = Keeper(identity.folder / AUDIT, identity.credential, os.urandom, patience_ms=_AUDIT_PATIENCE_MS)
        self._audit_fails = False
        self._end_of_use: FabricError | None = None  # it was revoked
        self.leasing = Leasing(identity.id, identity.folder / LEASES, self.core.time, self._log)
        self.ledger = Ledger(
            identity.folder / LEDGER, self.core, self._mailbox, self.attaching, self.leasing, self._log,
            lambda told: self._audited(told, self.clock.now_ms()),
        )
        self.renewing = Renewing(
            self.core, self._mailbox, self.publisher.renewed, Renewal(identity, os.urandom, self._log)
        )
        self.on_asked: Callable[[Asked, int], Answer] | None = None  # of an issuer
        self._has_copy = False  # of its identity's folder, by what its relay says
        self.ending = EndOfConnection()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"fabric {identity.id}", daemon=True)
        _HERE.add(self)

    # -- from any thread --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises when the outbox, or the book of who collects, cannot be opened; a relay is not waited for."""
        self._thread.start()
        self._opened.result()

    def wait_connected(self, timeout_s: float | None, *, patient: bool = False) -> None:
        """As `Status` says; with an outbox there is something to do without a relay."""
        self.status.wait_connected(timeout_s, needed=self._outbox is None, patient=patient)

    @property
    def held_up(self) -> FabricError | None:
        """Why what is published goes no further, or handlers get nothing; None while it does, as far as known."""
        if self._outbox is not None and not self.core.custody.intake_open:
            return FabricError(Code.DISK_SHORT, str(self._outbox_path))
        if self.status.problem is not None:
            return self.status.problem
        if self.core.put_off is None:
            return self.ledger.held_up or self._clock_problem()
        reader = self.core.put_off_by
        return FabricError(Code.READER_FULL, reader) if reader else FabricError(self.core.put_off)

    def _clock_problem(self) -> FabricError | None:
        """Why no action is executed, though nothing stands in its way but the time that this machine has."""
        behind_ms = self.core.time.behind_ms
        if self.attaching.take_action is None or not self.core.time.suspect:
            return None
        off = f"{abs(behind_ms) // 1000:,} s {'behind' if behind_ms > 0 else 'ahead of'} the root's"
        return FabricError(Code.CLOCK_SUSPECT, f"this machine's is {off}, and actions are refused")

    def denied(self, code: Code) -> None:
        """This program was not let do something here: its relay counts that."""
        self._mailbox.call_if_room(lambda now_ms, ready: ready.merge(self.core.step(Deny(code), now_ms)))

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Asked immediately before a handler runs (SPEC 5): in time, and by a clock that can be believed."""
        now_ms = self.clock.now_ms()
        if self.core.time.suspect:
            return Reject(Code.CLOCK_SUSPECT)
        refused = self.core.judging.may_not_act(delivery.message, now_ms) or self.ledger.why_not(
            delivery.message.header, now_ms
        )
        if refused is not None:
            return refused
        age_ms = delivery.age_ms + max(0, now_ms - arrived_ms)
        return self.core.judging.check_time(delivery.message, age_ms, now_ms)

    @property
    def session(self) -> bytes:
        """Of this connection."""
        return self.core.session

    @property
    def connected(self) -> bool:
        """Whether there is a relay now."""
        return self.core.connected

    @property
    def ended(self) -> FabricError | None:
        """What ended the connection for good."""
        return self._mailbox.ended

    @property
    def runs(self) -> bool:
        """Whether its thread is there for others to wait for: it is not for itself."""
        return self._thread.is_alive() and threading.current_thread() is not self._thread

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say goodbye and end. Nobody waits here for what is not held yet: `Leaving` does."""
        if not self._stopping:
            self._stopping = True
            self.intake.stop()
            self._mailbox.wake()
            if not self._thread.ident:  # it was never started: what was added has nobody else to be ended by
                self._end(FabricError(Code.CLOSED))
        if self.runs:
            self._thread.join(timeout_s)

    def forked(self) -> None:
        """This process is a fork of that in which it was created: where it has begun, its thread is there. Nothing here
        waits for a lock, as who holds it may be there too."""
        if not self._thread.ident:
            self._mailbox.forked(None)
            return
        self._stopping = True
        self.intake.stop()
        whose = "it belongs to the process of which this one is a fork"
        ended = FabricError(Code.CLOSED, whose, "open a control point in each process")
        self.lanes.counts.forked()
        self.status.forked(ended)
        self._mailbox.forked(ended)

    # -- the loop's thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        self._dialling.open()
        self._audited([fields_of_start(__version__, self.identity.credential)], self.clock.now_ms())
        try:
            self._open_outbox()
            if self._collects:  # before a relay can hand over what waits: who has no book writes nothing down
                self.recorder.open()
            self._opened.set_result(None)
            self._serve()
        except FabricError as error:
            if self._opened.done():  # else `start` raises it
                self._log.warning("control point stopped", code=error.code.label, why=error.detail)
            self._end(error)
        except BaseException as error:  # `sys.exit` too: a thread that dies silently would leave every caller waiting
            self._log.error("control point stopped", error=type(error).__name__)
            self._end(FabricError(Code.CLOSED, f"internal error: {type(error).__name__}"))
            raise
        finally:
            self._stopping = True
            self.intake.stop()
            if not self._opened.done():
                self._opened.set_exception(self._mailbox.ended or FabricError(Code.CLOSED))
            self._dialling.close()
            self.ledger.close()
            now_ms = self.clock.now_ms()
            self._audit.close(now_ms, self.core.time.now(now_ms), Audited(LOG_STOPPED, "", {}))
            self.recorder.close()
            if self._outbox is not None:
                self._outbox.close()
            self._mailbox.close()

    def _open_outbox(self) -> None:
        if self._outbox_path is not None:
            now_ms = self.clock.now_ms()
            self._outbox = EdgeOutbox(self._outbox_path, self.identity, now_ms)
            self.core.resume(self._outbox.session)
            for words in self._outbox.restore(self.core, now_ms):
                self._log.warning("quarantined", what=words)
            self.attaching.restore()
            self.intake.keeps(self._outbox)
            self.publisher.keeps(self.core.outboxes[UPLINK].rows())

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._mailbox.fileno(), zmq.POLLIN)
        wait_ms = 0
        while not self._stopping:
            waiting = self._dialling.wait(poller, wait_ms)
            self._mailbox.awake(waiting)
            now_ms = self.clock.now_ms()
            self.core.time.wall_is_ahead(self.clock.wall_ahead_ms())
            ready = self._turn(waiting, now_ms)
            self._apply(ready, now_ms)
            self._end_if_unused()
            wait_ms = self._wait_ms(ready, now_ms, nothing_came=not waiting)
        self._goodbye()

    def _turn(self, waiting: Collection[Any] | None, now_ms: int) -> Ready:
        ready = Ready()
        self._dialling.connect(waiting, now_ms, ready)
        self._mailbox.run(now_ms, ready)
        self.ledger.look(now_ms, ready)
        if self._outbox is not None:
            was_open = self.core.custody.intake_open
            self._outbox.upkeep(self.core, now_ms)
            if self.core.custody.intake_open != was_open:
                words = "disk is short: publish waits" if was_open else "disk has room again"
                self._log.warning(words, code=Code.DISK_SHORT.label, waiting=self.lanes.counts.waiting)
        self.renewing.look(now_ms, ready)
        self.publisher.compose(now_ms, ready)
        # An answer is published right after the ledger was asked to keep it, by a thread that does not wait. What was
        # sealed just now may have come since the mailbox was looked at: then so did what is to be on disk before it.
        self._mailbox.run(now_ms, ready)
        now_ms = self._dialling.read(waiting, now_ms, ready)
        self._policies.look()
        self.requester.look(now_ms)
        self.deliveries.requests.time_out(now_ms)
        self.approver.look(now_ms)
        self.serving.look(now_ms)
        self._audit.look(now_ms, self.core.time.now(now_ms))
        self._sign_log(now_ms, ready, at_once=self._stopping)
        ready.merge(self.core.step(Tick(), now_ms))
        return ready

    def _apply(self, ready: Ready, now_ms: int) -> None:
        self._dialling.send(ready.early)
        self._audited(ready.audit, now_ms)
        self._look_for_a_copy(ready.audit)
        # First: an action that only the outbox had as seen would never be executed.
        self.ledger.commit(ready, now_ms)
        if self._outbox is not None:
            self._outbox.commit(ready.persist, now_ms)
        self.publisher.committed()
        self._dialling.send(ready.send)
        for delivered in sorted(ready.deliver, key=_urgency):
            self._deliver(delivered, now_ms)
        self.ledger.commit_begun()
        self.recorder.commit(now_ms)
        for link, code in ready.close:
            self._dialling.end(link, code.reason)
        for note in ready.notes:
            (self._log.error if note.alarm else self._log.debug)(note.event, **note.fields)

    def _end_if_unused(self) -> None:
        """It was revoked, and nothing that it did is to be reverted any more."""
        if self._end_of_use is not None and not self.leasing.in_force:
            raise self._end_of_use

    def _audited(self, told: Sequence[Audited], now_ms: int) -> None:
        """Before what follows from it is committed and sent."""
        self._audit.take(told, now_ms, self.core.time.now(now_ms))
        if bool(self._audit.problem) != self._audit_fails:
            self._audit_fails = not self._audit_fails
            words = "audit log works again" if not self._audit_fails else "audit log cannot be written: it counts"
            self._log.warning(words, why=self._audit.problem)

    def _look_for_a_copy(self, told: Sequence[Audited]) -> None:
        """Said once: the relay above knows another log of this identity, as where a copy of its folder is at work."""
        for each in told:
            is_other = each.kind == LOG_WITNESSED and each.fields.get("code") == Code.FORKED_LOG.label
            if is_other and not self._has_copy:
                self._has_copy = True
                self._log.warning(
                    "the relay above knows another audit log of this identity", code=Code.FORKED_LOG.label,
                    relay=each.who, next="look whether a copy of its folder is at work elsewhere, and end one of both",
                )

    def _audit_soon(self, told: Audited) -> None:
        """From any thread: in the log before what is published after that."""
        self._mailbox.call_if_any(lambda now_ms, _ready: self._audited([told], now_ms))

    def _sign_log(self, now_ms: int, ready: Ready, *, at_once: bool) -> None:
        grown = self._audit.grown(self.core.log_heads.known_above, now_ms, at_once=at_once)
        if grown is not None:
            ready.merge(self.core.step(grown, now_ms))

    def _deliver(self, delivered: Delivered, now_ms: int) -> None:
        match delivered:
            case Delivery() if delivered.message.header.kind is Kind.ACTION:
                if fetches(delivered.message.header):
                    self.serving.take(delivered)
                elif self.attaching.take_action is not None:
                    self.attaching.take_action(delivered)
            case Delivery():
                self.deliveries.take(delivered, now_ms)
            case Repeated():
                self.ledger.repeated(delivered)
            case Published():
                self.publisher.published(delivered)
            case Connected(relay):
                self._end_of_use = None
                self.status.is_connected()
                self.attaching.connected()
                self._log.debug("connected", relay=relay)
                if self._dialling.is_cleared_for_less(relay):
                    self._log.warning("the nearest relay is cleared for less than this control point", relay=relay)
            case Disconnected(reason, final, relay):
                self._log.debug("not connected", code=reason.code.label, why=reason.detail)
                problem = FabricError(reason.code, reason.detail)
                # An id that was revoked is never used again: whoever waits here would wait for ever. Of a relay that
                # was revoked the same says nothing: there may be others.
                if reason.code is Code.REVOKED and reason.detail in (self.core.me.id, *self.core.me.issuers):
                    by_authority = self.core.trust.revocations.check(self.core.me) is not None
                    if self.status.is_revoked(relay) or by_authority:
                        self._end_of_use = problem
                # What was promised to end ends, whoever takes this node: until then somebody has to be there for it.
                self.status.is_refused(problem, final=final and not self.leasing.in_force)
                self._end_if_unused()
            case SubscriptionRefused(reason):
                self.attaching.refused(reason)
            case Asked():
                if self.on_asked is not None:
                    answer = self.on_asked(delivered, self.core.time.now(now_ms))
                    self._mailbox.later(lambda now, ready: ready.merge(self.core.step(answer, now)))
            case Answered() if self._awaiting_keys.answered(delivered, now_ms):
                self._mailbox.wake()
            case Answered():
                self.renewing.answered(delivered)
            case Attached():
                self.attaching.confirmed(delivered)

    def _wait_ms(self, ready: Ready, now_ms: int, *, nothing_came: bool) -> int:
        if self._mailbox.waits or self._dialling.has_unread or self.publisher.has_more:
            return 0
        wakes = [now_ms + (_OPEN_MS_MAX if self.deliveries.requests else _IDLE_MS_MAX)]
        if ready.wake_at_ms is not None:
            # An idle control point costs its machine as much as it has turns. What came may have made room for what
            # waits to be sealed.
            is_idle = ready.wake_at_ms != now_ms and (nothing_came or not self.lanes.counts.waiting)
            quiet_until_ms = self.core.quiet_until_ms(now_ms) if is_idle else None
            wakes.append(ready.wake_at_ms if quiet_until_ms is None else quiet_until_ms)
        due = (
            self._dialling.next_wake_ms(now_ms), self.ledger.due_ms, self.recorder.due_ms, self.approver.due_ms,
            self._outbox.due_ms if self._outbox is not None else None, self._audit.due_ms,
        )
        wakes += [wake for wake in due if wake is not None]
        return max(0, min(wakes) - now_ms)

    def _goodbye(self) -> None:
        now_ms = self.clock.now_ms()
        # What was published and handled until now is sealed, committed and acknowledged.
        self._apply(self._turn(None, now_ms), now_ms)
        self._dialling.send(self.core.step(Leave(), now_ms).send)
        # LINGER is 0 everywhere else; a BYE deserves the milliseconds that it takes to leave.
        threading.Event().wait(0.05)
        self._end(FabricError(Code.CLOSED))

    def _end(self, error: FabricError) -> None:
        self._mailbox.end(error)
        self.status.has_ended(error)
        self.publisher.close(error)
        self.deliveries.subscriptions.fail_all(error)
        self.deliveries.requests.close()
        self.approver.end(error)
        self.renewing.end(error)
        self.ending.tell(error)


def _forked() -> None:
    for loop in list(_HERE):
        loop.forked()


os.register_at_fork(after_in_child=_forked)


def _urgency(delivered: Delivered) -> int:
    """What a turn brought is unpacked in the order of lanes; what is said of this node itself comes before it."""
    return delivered.message.header.lane if isinstance(delivered, Delivery) else -1
