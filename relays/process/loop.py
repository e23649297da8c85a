"""The one loop of a running relay: read, step, pass on, commit once, answer, close. In that order, in one place.

An idle relay commits a single message at once; a busy one groups what a turn brought into one fsync. Guarantees:
nothing is sent before what it promises is on disk; a peer can neither stop the loop nor grow it, since every turn
takes a bounded time, everybody's share of it is fair and what waits is bounded (`inbox`); no file but the spool's can
stop it or change what it does (`upkeep`); SIGTERM ends it after the turn. Refuses to run when its own door test fails,
and stops rather than go on when the spool fails.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import zmq

import fabric
from fabric.audit.keeper import Keeper, fields_of_start
from fabric.edge.identity.home import audit_folder, fabric_folder, make_private
from fabric.edge.identity.identity import Identity
from fabric.protocol.audit.kinds import LOG_STOPPED, Audited
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import FRAME_BYTES_MAX, HELLO_WAIT_MS, SESSIONS_OPEN_MAX
from fabric.protocol.core.ready import Answered, Arrived, Drain, LinkDown, LinkUp, Op, Ready, Tick
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, SESSION_BYTES, Hello, Refused, Role
from fabric.spool import Owed, Spool
from fabric.transport.clock import Clock
from fabric.transport.dialler import Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.door import DoorTest
from fabric.transport.gate import Gate
from fabric.transport.inbox import Entry, Inbox
from fabric.transport.keys import CurveKeys
from fabric.transport.listener import Listener
from fabric.transport.sockets import LinkNumbers
from fabric.transport.turns import Turn
from relays.logs import Allowance, log_notes
from relays.process.arrivals import Arrivals
from relays.process.condemned import Condemned
from relays.process.config import RelayConfig
from relays.process.descriptors import DESCRIPTORS_MAX
from relays.process.drain import NAMED_MAX, DrainFile, Draining, drain_path, write_draining
from relays.process.garbage import Garbage
from relays.process.pins import Pins
from relays.process.refusals import Refusals
from relays.process.status import StatusFile, snapshot
from relays.process.upkeep import Upkeep
from relays.process.watching import LIST_LOOK_MS, Watching

_IDLE_MS_MAX = 1_000
_BACKOFF_MS_MAX = 60_000
# A REJECT needs a moment to leave before its connection is cut.
_CUT_AFTER_MS = 250
_STATUS_MS = 1_000
# Of each lane, what is read of a backlog for the parent before this relay serves; the rest when it is its turn.
AWAKE_MAX = 2_000


class RelayLoop:
    """`descriptors`: how many this process may have open."""

    def __init__(
        self, identity: Identity, config: RelayConfig, home: Path | None = None, descriptors: int = DESCRIPTORS_MAX
    ) -> None:
        if identity.credential.kind is not NodeKind.RELAY:
            raise FabricError(Code.WRONG_ROLE, f"{identity.id} is not a relay")
        self._identity = identity
        self._config = config
        self._folder = fabric_folder(identity.fabric, home)
        self._log = structlog.get_logger().bind(relay=identity.id)
        self._stopping = False
        self._ended_by: tuple[int, Turn] | None = None  # by which link's frame, where more may wait
        self._condemned = Condemned(_CUT_AFTER_MS)
        self._descriptors = descriptors
        self._drain_path = drain_path(identity.fabric, identity.id, home)
        self._drain_file = DrainFile(self._drain_path)
        self._drain_until_ms = self._drain_said_ms = 0
        self._allowance = Allowance()
        self._refusals = Refusals(self._log)
        self._pins = Pins(identity.folder)
        self._audit = Keeper(audit_folder(identity.fabric, identity.id, home), identity.credential, os.urandom)

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises FabricError when this relay cannot or must not run."""
        for signal_ in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_, self._stop)
        make_private(self._folder)
        self._spool = Spool(make_private(self._folder / "spool") / f"{self._identity.id}.db", awake_max=AWAKE_MAX)
        self._owed = Owed(self._spool)
        self._clock = Clock(make_private(self._folder / "run") / f"{self._identity.id}.clock")
        try:
            self._open()
            self._serve()
        finally:
            self._close()

    @property
    def drained(self) -> bool:
        """Whether this relay has gone, and is not to run."""
        state = self._drain_file.look()
        return state is not None and state.gone

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    # -- start and end ----------------------------------------------------------------------------------

    def _open(self) -> None:
        identity, now_ms = self._identity, self._clock.now_ms()
        self.core = Relay(
            identity.credential, identity.signer, identity.authority_key, os.urandom(SESSION_BYTES), os.urandom,
            self._config.parents,
        )
        self._audit.take([fields_of_start(fabric.__version__, identity.credential)], now_ms, self.core.time.now(now_ms))
        self._take_back(self._spool.load(now_ms), now_ms)
        self.core.custody.sleeps(self._spool.asleep)
        self._spool.asleep.are_of(self.core.trust.credentials.voucher_of)
        self.core.readers.have(self._config.readers_bytes)
        self.core.readers_sleep(self._spool.readers_asleep, AWAKE_MAX, self._spool.last_number, now_ms)
        self._upkeep = Upkeep(self._log, self.core.count)
        self._watching = Watching(self.core, identity, self._folder, self._apply, self._log)
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 8192)
        keys = CurveKeys(identity.credential.curve_key, identity.curve_secret)
        self._gate = Gate(self._context, identity.fabric, self._admit, lambda: self._listener.entries())
        self._link_numbers = LinkNumbers()
        peers = [Peer(dial.id, dial.address, dial.curve_key, role) for role, dial in self._config.dials]
        self._diallers = Diallers(
            self._context, peers, keys, FRAME_BYTES_MAX, self._link_numbers, random.random, _BACKOFF_MS_MAX
        )
        self._status = StatusFile(self._folder / "run" / f"{identity.id}.json")
        self._garbage = Garbage(now_ms)
        # Last: from here on strangers come in, and nothing that this relay needs is to be opened after them.
        self._listener = Listener(
            self._context, self._config.listen, keys, identity.fabric, FRAME_BYTES_MAX, self._link_numbers,
            self._descriptors,
        )
        self._inbox = Inbox()
        self._arrivals = Arrivals(self._inbox, self._listener, self._diallers, self.core.links)
        self._door: DoorTest | None = self._door_test()
        asleep = sum(self._spool.asleep.rows)
        self._log.info(
            "relay started", listen=self._listener.address, held=len(self.core.custody) + asleep, asleep=asleep
        )

    def _take_back(self, ops: Sequence[Op], now_ms: int) -> None:
        """From disk into the core; what is damaged is set aside, said and counted, and the rest goes on."""
        self._spool.set_aside(self.core.restore(ops, now_ms, self._spool.number_of))
        damage, rows = self._spool.damaged.take()
        for words in damage:
            self._log.warning("quarantined", what=words)
        self.core.count("quarantined", "spool", rows)

    def _admit(self, curve_key: bytes) -> bool:
        """Any key may knock, and its HELLO decides; or pinned ones only. Revocation is asked there and per message."""
        return self._pins.admits(curve_key)

    def _door_test(self) -> DoorTest:
        """A stranger's HELLO: well formed, with a credential that no authority signed."""
        hello = Hello(
            *PROTOCOL_VERSIONS, self._identity.fabric, Role.POINT, b"stranger", os.urandom(SESSION_BYTES),
            os.urandom(SESSION_BYTES), self._clock.now_ms(), 0, 0,
        )
        return DoorTest(
            self._listener.address, self._identity.credential.curve_key,
            "pinned" if self._pins.pinned else "credential", encode_frame(hello),
            lambda payload: isinstance(decode_frame(payload), Refused),
        )

    def _close(self) -> None:
        if hasattr(self, "_listener"):
            self._diallers.close()
            self._listener.close()
            self._gate.close()
            self._context.destroy(linger=0)
        if self._stopping and hasattr(self, "_status"):
            self._status.remove()
            self._owed.settle()
        if hasattr(self, "core"):
            now_ms = self._clock.now_ms()
            stopped = Audited(LOG_STOPPED, "", {}) if self._stopping else None
            self._audit.close(now_ms, self.core.time.now(now_ms), stopped)
        self._spool.close()
        self._log.info("relay stopped")

    # -- the loop ---------------------------------------------------------------------------------------

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._gate.socket, zmq.POLLIN)
        poller.register(self._listener.socket, zmq.POLLIN)
        poller.register(self._listener.monitor, zmq.POLLIN)
        wait_ms = 0
        status_at_ms = lists_at_ms = 0
        while not self._stopping:
            self._diallers.register(poller)
            waiting = self._wait(poller, wait_ms)
            if self._gate.socket in waiting:
                self._gate.serve()
            ended = self._listener.gone(told=self._listener.monitor in waiting)
            self._arrivals.from_parents(waiting)
            self._arrivals.from_children(waiting)
            now_ms = self._clock.now_ms()
            self.core.time.wall_is_ahead(self._clock.wall_ahead_ms())
            if woken := self._spool.wake():
                self._take_back(woken, now_ms)
            woke_reader = self._wake_reader(now_ms)
            ready = self._turn(ended, waiting, now_ms)
            now_ms = self._clock.now_ms()
            ready.merge(self.core.step(Tick(), now_ms))
            self._finish(ready, now_ms)
            self._knock(now_ms)
            if now_ms >= lists_at_ms:
                lists_at_ms = now_ms + LIST_LOOK_MS
                self._upkeep.do("revocation list", self._watching.look, now_ms)
            self._drain_on(now_ms)
            self._audit.look(now_ms, self.core.time.now(now_ms))
            self._sign_log(now_ms)
            if now_ms >= status_at_ms:
                status_at_ms = now_ms + _STATUS_MS
                self._housekeeping(now_ms)
            wait_ms = 0 if woke_reader else min(self._wait_ms(ready, now_ms), max(0, status_at_ms - now_ms))
        self._sign_log(self._clock.now_ms(), at_once=True)

    def _wait(self, poller: zmq.Poller, wait_ms: int) -> set[Any]:
        """What has come, at the latest after so long. Newer lists are looked for meanwhile: that needs no turn."""
        until_ms, taken_up = self._clock.now_ms() + wait_ms, self._watching.taken_up
        while True:
            waiting = {socket for socket, _ in poller.poll(min(wait_ms, LIST_LOOK_MS))}
            now_ms = self._clock.now_ms()
            wait_ms = until_ms - now_ms
            if waiting or wait_ms <= 0 or self._stopping:
                return waiting
            self._upkeep.do("revocation list", self._watching.look, now_ms)
            if self._watching.taken_up != taken_up:
                return waiting

    def _sign_log(self, now_ms: int, *, at_once: bool = False) -> None:
        """Say how far the audit log goes, when that is due."""
        grown = self._audit.grown(self.core.log_heads.known_above, now_ms, at_once=at_once)
        if grown is not None:
            self._apply(self.core.step(grown, now_ms), now_ms)

    def _wake_reader(self, now_ms: int) -> bool:
        """Some of what sleeps for one reader, when it is its turn; whether there was any."""
        due = self.core.sleeping.due()
        if due is None:
            return False
        self._owed.settle()  # what fell asleep is known by its rows from then on
        woken = self._spool.wake_reader(*due)
        self._take_back(woken, now_ms)
        self._apply(self.core.woken(due[0], now_ms), now_ms)
        return bool(woken)

    def _turn(self, ended: Sequence[int], waiting: Collection[Any], now_ms: int) -> Ready:
        """What came up and went down, and what waits in the inbox, within the turn's bounds, through the core."""
        ready = Ready()
        self._diallers.want(self.core.parents_wanted(now_ms))
        for peer, event in self._diallers.service(now_ms, waiting):
            if isinstance(event, Up):
                self._arrivals.up(event.link, peer.curve_key)
                up = LinkUp(event.link, peer.curve_key, os.urandom(SESSION_BYTES), peer.role, peer.id)
                ready.merge(self.core.step(up, now_ms))
                continue
            if not event.again:
                self._log.info("not connected", peer=peer.id, code=event.code.label, why=event.words)
            if self._arrivals.ended(event.link):
                self._lost(event.link, now_ms, ready)
        for link in ended:
            if self._arrivals.ended(link):
                self._lost(link, now_ms, ready)
        turn = Turn()
        while (entry := self._arrivals.next()) is not None:
            # Its own time, not the turn's: it may have been sent since that began, and would seem to arrive before.
            arrived, made = self._take(entry, self._clock.now_ms(), ready.close)
            ready.merge(made)
            if turn.over_after(arrived, made):
                self._ended_by = entry.link, turn
                break
            self._arrivals.handled(entry.link, turn.lap_ns())
            if turn.look_is_due():
                self._arrivals.meanwhile()
                turn.looked()
                turn.lap_ns()  # that cost nobody's frame
        return ready

    def _finish(self, ready: Ready, now_ms: int) -> None:
        """Apply what a turn brought.

        For whoever ended it the commit counts too: others wait for it, and who has each of its urgent messages
        committed alone would take nearly all the time with little handling.
        """
        self._apply(ready, now_ms)
        if self._ended_by is not None:
            link, turn = self._ended_by
            self._arrivals.handled(link, turn.lap_ns())
            self._ended_by = None

    def _lost(self, link: int, now_ms: int, ready: Ready) -> None:
        self._tell_late(self._condemned.forget(link))
        self._arrivals.forget(link)
        ready.merge(self.core.step(LinkDown(link), now_ms))

    def _take(
        self, entry: Entry, now_ms: int, ended: Sequence[tuple[int, object]]
    ) -> tuple[Arrived | None, Ready]:
        """`ended`: the links that this turn has ended so far."""
        link, ready = entry.link, Ready()
        if entry.payload is None:
            self._lost(link, now_ms, ready)
            return None, ready
        if self._condemned.takes(link, ended):
            return None, ready
        if link not in self.core.links:
            if not self._listener.has(link):  # it was cut, or ended here, before this was its turn
                return None, ready
            if self._listener.links_of_peer(entry.peer) > SESSIONS_OPEN_MAX:
                self._turn_away(link, now_ms)
                return None, ready
            ready.merge(self.core.step(LinkUp(link, entry.peer, b""), now_ms))
        arrived = self.core.read(link, entry.payload)
        self._refusals.heard(self.core.links.get(link), arrived)
        stepped = self.core.step(arrived, now_ms)
        if self._door is not None and entry.peer == self._door.key:
            stepped.notes.clear()  # that it turns away its own knock is told by the door test
            stepped.audit.clear()
        ready.merge(stepped)
        return arrived, ready

    def _turn_away(self, link: int, now_ms: int) -> None:
        """One key has connections enough: a fault or a leak at its side must not take everybody's descriptors."""
        self.core.count("refused", Code.BUSY.reason)
        self._listener.send(link, encode_frame(Refused(Code.BUSY, "too many connections", bytes(SESSION_BYTES))))
        self._condemned.add(link, now_ms)

    def _tell_late(self, frames: int) -> None:
        """One line for all that was still in the pipe of a link that ended: much, after it stood still."""
        if frames:
            self.core.counters["dropped:after_the_end"] += frames
            self._log.info("frames of a link that had ended", frames=frames)

    def _apply(self, ready: Ready, now_ms: int) -> None:
        self._send(ready.early)
        # Before the commit: what a restart finds on the disk, and goes on with, is in the log by then.
        self._audit.take(ready.audit, now_ms, self.core.time.now(now_ms))
        self._owed.commit(ready.persist, now_ms)
        self._send(ready.send)
        for link, code in ready.close:
            if self._diallers.end(link, code.reason):
                self._tell_late(self._condemned.forget(link))
            else:
                self._condemned.add(link, now_ms)
        for link, late_frames in self._condemned.due(now_ms):
            self._listener.cut(link)
            self._arrivals.forget(link)
            self._tell_late(late_frames)
        for delivered in ready.deliver:
            if isinstance(delivered, Answered):
                self._watching.answered(delivered, now_ms)
        self._refusals.noted(ready.notes)
        log_notes(self._log, ready.notes, self._allowance, now_ms)

    def _send(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for link, payload in frames:
            # A frame that cannot leave now is lost like one that the network lost: everything that matters repeats.
            if not self._diallers.send(link, payload):
                self._listener.send(link, payload)

    def _knock(self, now_ms: int) -> None:
        """The door test, a step a turn, until it is decided."""
        if self._door is None:
            return
        unanswered = self._door.unanswered
        closed = self._door.step(now_ms)
        if closed is None:
            if self._door.unanswered > unanswered:
                self._log.warning("door test not answered, and tried again", times=self._door.unanswered)
            return
        failure, self._door = self._door.failure, None
        if not closed:
            raise FabricError(Code.DOOR_OPEN, failure)
        # What the test's own knocks came to says nothing of anybody else; what was found on the disk does.
        for name in [name for name in self.core.counters if not name.endswith((":quarantined", ":spool"))]:
            del self.core.counters[name]
        for counters in (self._gate.counters, self._listener.counters, self._inbox.dropped):
            counters.clear()
        self._log.info("door test passed")

    def _drain_on(self, now_ms: int) -> None:
        """Go when everybody has moved, or when the time for those who cannot is over.

        So it does when what climbs waits for a reader that is full: that one may be away for days.
        """
        core = self.core
        if not core.draining:
            return
        drained = core.drained and not sum(core.custody.asleep.rows)
        if not (drained or now_ms >= self._drain_until_ms):
            return
        if now_ms - self._drain_said_ms < _STATUS_MS:
            return
        links = core.by_destination.values()
        left = [link.peer.id for link in links if link.peer is not None and link.peer_role != Role.PARENT]
        self._owed.settle()
        held = len(core.custody) + sum(core.custody.asleep.rows)
        found = core.readers.waits_for(now_ms)
        waiting = sorted(((r["held_back"], reader) for reader, r in found.items()), reverse=True)
        waits_for = {reader: rows for rows, reader in waiting[:NAMED_MAX] if rows}
        state = Draining(
            gone=True, left=tuple(dict.fromkeys(left)), held=held, waits_for=waits_for,
            actions=core.absent.actions, away=core.absent.waits_for(NAMED_MAX),
        )
        if not self._upkeep.do("drain file", write_draining, self._drain_path, state):
            # Without it whoever looks after this relay would start it again: it serves on, and tries again.
            self._drain_said_ms = now_ms
            return
        self._log.info("drained", left=len(left), held=held, actions=state.actions)
        self._stopping = True

    def _housekeeping(self, now_ms: int) -> None:
        self._spool.sweep(now_ms)
        self._listener.cut_silent(now_ms, HELLO_WAIT_MS)
        self._upkeep.do("look at the disk", self._look_at_disk)
        self._look_at_drain_file(now_ms)
        self._look_at_audit()
        self._upkeep.do("pins", self._look_at_pins)
        self._upkeep.do("watched files", self._watching.look_around, now_ms)
        self._garbage.look(len(self.core.custody), now_ms)
        self._upkeep.do("state file", self._write_status, now_ms)

    def _look_at_drain_file(self, now_ms: int) -> None:
        draining = self._drain_file.look()
        if self._drain_file.problem:
            self._upkeep.failed("drain file", self._drain_file.problem)
        else:
            self._upkeep.worked("drain file")
        if draining is not None and not self.core.draining:
            self._log.info("draining", within_ms=draining.within_ms)
            self._drain_until_ms = now_ms + draining.within_ms
            self._apply(self.core.step(Drain(), now_ms), now_ms)

    def _look_at_audit(self) -> None:
        """It is tried again by itself; what is missing from the log until then, the log will say."""
        if self._audit.problem:
            self._upkeep.failed("audit log", self._audit.problem)
        else:
            self._upkeep.worked("audit log")

    def _look_at_pins(self) -> None:
        if self._pins.look():
            self._log.info("pins read again")
        if self._pins.problem:
            self._upkeep.failed("pins file", self._pins.problem)
        else:
            self._upkeep.worked("pins file")

    def _write_status(self, now_ms: int) -> None:
        for reason, count in self._inbox.dropped.items():
            self.core.counters[f"dropped:{reason}"] = count
        for reason, count in self._listener.counters.items():
            self.core.counters[f"connections:{reason}"] = count
        gate = self._gate.counters
        refusals = self._refusals.state()
        self._status.write(snapshot(self.core, self._config, now_ms, dict(gate), self._door is None, refusals))

    def _look_at_disk(self) -> None:
        """Whether there is room on it for more; said when it changes."""
        is_open = self._spool.intake_allowed()
        if is_open != self.core.custody.intake_open:
            self._log.warning("disk has room again" if is_open else "disk is short: takes nothing in")
        self.core.custody.open_intake(is_open)

    def _wait_ms(self, ready: Ready, now_ms: int) -> int:
        if self._arrivals.more:
            return 0
        wakes = [now_ms + _IDLE_MS_MAX]
        if ready.wake_at_ms is not None:
            wakes.append(ready.wake_at_ms)
        if (wake := self._diallers.next_wake_ms(now_ms)) is not None:
            wakes.append(wake)
        wakes += self._condemned.wakes_ms()
        wakes += [due for due in (self._owed.due_ms, self._audit.due_ms) if due is not None]
        if self._door is not None:
            wakes.append(now_ms + 20)
        return max(0, min(wakes) - now_ms)


