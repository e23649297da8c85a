"""Which revocation list is in force where (SPEC 6.4): each relay says it of itself and of those below, upwards.

Guarantees: it is said until the parent has it, as far as frames arrive, so that whoever signed a list can be told who
was not reached. A relay below speaks for itself and for those below it, and for nobody else.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import DIRECTORY_RELAYS_MAX, RETRY_MS
from fabric.protocol.core.ready import Op, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.asking import Asking
from fabric.protocol.wire.frames import Applied, Role

_ENTRIES_MAX = 256
# What is told upwards may be lost with its frame: it is said again so often.
_REPEATS = 3


class Revoking(Asking):
    def set_up(self) -> None:
        super().set_up()
        # This relay and those below -> the version in force there, and since when by fabric time.
        self.applied: dict[str, tuple[int, int]] = {}
        self._untold: dict[str, int] = {}  # relay -> how often its version has yet to be said upwards
        self._tell_at_ms = 0

    # -- a new list -----------------------------------------------------------------------------------------

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        super().on_lists(now_ms, ready)
        for relay in [relay for relay in self.applied if relay in self.trust.revocations.ids]:
            del self.applied[relay]
        self._note_applied(self.me.id, (self.trust.revocations.version, self.fabric_now(now_ms)))

    # -- who has it -----------------------------------------------------------------------------------------

    def _note_applied(self, relay: str, version: tuple[int, int]) -> None:
        if version[0] <= self.applied.get(relay, (0, 0))[0]:
            return
        if relay not in self.applied and len(self.applied) >= DIRECTORY_RELAYS_MAX:
            self._forget_applied()
        self.applied[relay] = version
        self._untold[relay] = _REPEATS
        self._tell_at_ms = 0

    def _forget_applied(self) -> None:
        """Who is not below any more needs no room. A fabric has no more relays than its directory has room for."""
        gone = [relay for relay in self.applied if relay != self.me.id and not self.routes.of_node(relay)]
        for relay in gone or [relay for relay in self.applied if relay != self.me.id][:1]:
            del self.applied[relay]
            self._untold.pop(relay, None)

    def on_applied(self, link: Link, frame: Applied, now_ms: int, ready: Ready) -> None:
        if link.peer_role != Role.CHILD or link.peer is None:
            self.refuse(link, Reject(Code.WRONG_ROLE, "relays below say which list they have"), now_ms, ready)
            return
        for relay, version, at_ms in frame.entries:
            known = self.routes.of_node(relay)
            below = any(a.is_relay and self.routes.via(a) == link.destination for a in known)
            if (relay == link.peer.id or below) and version <= self.trust.revocations.version:
                self._note_applied(relay, (version, at_ms))
            if relay == link.peer.id and version >= self.trust.revocations.version:
                link.pings_since_lists = None  # it need not be said again

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        super().on_open(link, now_ms, ready)
        if link.peer_role == Role.PARENT:
            self._untold = dict.fromkeys(self.applied, _REPEATS)
            self._tell_at_ms = 0

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        uplink = self.by_destination.get(UPLINK)
        if uplink is not None and self._untold and now_ms >= self._tell_at_ms:
            self._tell_at_ms = now_ms + RETRY_MS
            due = list(self._untold)[:_ENTRIES_MAX]
            for relay in due:
                self._untold[relay] -= 1
                if not self._untold[relay]:
                    del self._untold[relay]
            self.send(uplink, Applied([(relay, *self.applied[relay]) for relay in due if relay in self.applied]), ready)
        elif self.is_root:
            self._untold.clear()

    # -- how long it holds ----------------------------------------------------------------------------------

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        if self.trust.revocations.version:
            self._note_applied(self.me.id, (self.trust.revocations.version, self.fabric_now(now_ms)))
