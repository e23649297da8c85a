"""Revocation at a relay (SPEC 6.4): whoever is on the list is gone, and those above know who applied it.

Guarantees: when a list is in force nobody on it is below any more: links are cut, sessions and ways are forgotten,
queued messages of theirs end as REVOKED. Which version each relay below has in force is told upwards until the parent
has it, so that whoever signed the list can be told who was not reached. A relay below speaks for itself and for those
below it, and for nobody else.
"""

from __future__ import annotations

from fabric.protocol.asking import Asking
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import RETRY_MS
from fabric.protocol.link import Link
from fabric.protocol.links import UPLINK
from fabric.protocol.ready import Op, Ready
from fabric.protocol.sessions import point_session
from fabric.protocol.wire import Applied, Lists, Role

_ENTRIES_MAX = 256
# What is told upwards may be lost with its frame: it is said again so often.
_REPEATS = 3


class Revoking(Asking):
    def set_up(self) -> None:
        super().set_up()
        # This relay and those below -> the version in force there, and since when by fabric time.
        self.applied: dict[str, tuple[int, int]] = {}
        self._untold: dict[str, int] = {}  # relay -> how often its version has yet to be said upwards
        self._tell_at_ms = self._again_at_ms = 0

    # -- a new list -----------------------------------------------------------------------------------------

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        super().on_lists(now_ms, ready)
        self._forget_revoked(now_ms, ready)
        self._note_applied(self.me.id, (self.trust.revocations.version, self.fabric_now(now_ms)))

    def _forget_revoked(self, now_ms: int, ready: Ready) -> None:
        """Nothing is sent to, or selected from, whoever is on the list."""
        lists = self.trust.revocations
        for attachment in list(self.routes.all()):
            if attachment.node == self.me.id or lists.check(attachment.credential) is None:
                continue
            if self.routes.get(attachment.key) is None:
                continue  # went with a session before it
            way = self.routes.via(attachment)
            if way == point_session(*attachment.key):
                self.forget_session(way, now_ms, ready)
                continue
            self.routes.forget(attachment)
            self._withdraw(attachment.key, attachment.epoch)
            if attachment.is_relay:
                self.applied.pop(attachment.node, None)

    # -- who has it -----------------------------------------------------------------------------------------

    def _note_applied(self, relay: str, version: tuple[int, int]) -> None:
        if version[0] <= self.applied.get(relay, (0, 0))[0]:
            return
        self.applied[relay] = version
        self._untold[relay] = _REPEATS
        self._tell_at_ms = 0

    def on_applied(self, link: Link, frame: Applied, now_ms: int, ready: Ready) -> None:
        if link.peer_role != Role.CHILD or link.peer is None:
            self.refuse(link, Reject(Code.WRONG_ROLE, "relays below say which list they have"), now_ms, ready)
            return
        for relay, version, at_ms in frame.entries:
            known = self.routes.of_node(relay)
            below = any(a.is_relay and self.routes.via(a) == link.destination for a in known)
            if relay == link.peer.id or below:
                self._note_applied(relay, (version, at_ms))

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
        if now_ms >= self._again_at_ms:
            self._again_at_ms = now_ms + RETRY_MS
            self._send_lists_again(ready)

    def _send_lists_again(self, ready: Ready) -> None:
        """To children that have not said that they have it: the frame may have been lost."""
        lists = self.trust.revocations
        for link in self.by_destination.values():
            if link.peer is None or link.peer_role != Role.CHILD:
                continue
            known = max(link.lists_version, self.applied.get(link.peer.id, (0, 0))[0])
            if known < lists.version:
                self.send(link, Lists(lists.raw), ready)

    # -- how long it holds ----------------------------------------------------------------------------------

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        if self.trust.revocations.version:
            self._note_applied(self.me.id, (self.trust.revocations.version, self.fabric_now(now_ms)))
