"""Which revocation list is in force where (SPEC 6.4): each relay reports upwards for itself and for those below it.

Guarantees: a report is repeated to the parent, so that it arrives although a frame is lost; thus whoever signed a list
can learn which relays do not have it. Refuses reports from anybody but a relay below; ignores what such a relay says
about a relay that is not below it, and a version newer than the one in force here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import DIRECTORY_RELAYS_MAX, RETRY_MS
from fabric.protocol.core.ready import Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.port import LinkPort
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Applied, Role

_ENTRIES_MAX = 256
# Nothing acknowledges a report, and its frame may be lost: so often it is sent.
_REPEATS = 3


class ListReach:
    """`me`: the id of this relay. `fabric_now`: the root's time at a time of the node's own clock."""

    def __init__(
        self, me: str, trust: TrustStore, routes: RouteTable, port: LinkPort, fabric_now: Callable[[int], int], *,
        is_root: bool,
    ) -> None:
        self._me = me
        self._trust = trust
        self._routes = routes
        self._port = port
        self._fabric_now = fabric_now
        self._is_root = is_root
        self._applied: dict[str, tuple[int, int]] = {}
        self._untold: dict[str, int] = {}  # relay -> how often its version is still to be sent upwards
        self._tell_at_ms = 0

    @property
    def applied(self) -> Mapping[str, tuple[int, int]]:
        """This relay and those below -> the version in force there, and since when by fabric time."""
        return MappingProxyType(self._applied)

    # -- what the relay tells it ----------------------------------------------------------------------------

    def list_changed(self, now_ms: int) -> None:
        """A newer list is in force here; relays that are on it are not counted any more."""
        for relay in [relay for relay in self._applied if relay in self._trust.revocations.ids]:
            del self._applied[relay]
        self._note(self._me, (self._trust.revocations.version, self._fabric_now(now_ms)))

    def restored(self, now_ms: int) -> None:
        """Something was read back from disk, perhaps a list."""
        if self._trust.revocations.version:
            self._note(self._me, (self._trust.revocations.version, self._fabric_now(now_ms)))

    def link_opened(self, link: Link) -> None:
        """A new parent knows nothing yet: everything is reported to it."""
        if link.peer_role == Role.PARENT:
            self._untold = dict.fromkeys(self._applied, _REPEATS)
            self._tell_at_ms = 0

    def frame(self, link: Link, frame: Applied, now_ms: int, ready: Ready) -> None:
        """A peer reports."""
        if link.peer_role != Role.CHILD or link.peer is None:
            self._port.refuse(
                link, Reject(Code.WRONG_ROLE, "relays below say which list they have"), now_ms, ready
            )
            return
        for relay, version, at_ms in frame.entries:
            known = self._routes.of_node(relay)
            below = any(a.is_relay and self._routes.via(a) == link.destination for a in known)
            if (relay == link.peer.id or below) and version <= self._trust.revocations.version:
                self._note(relay, (version, at_ms))
            if relay == link.peer.id and version >= self._trust.revocations.version:
                link.lists.peer_has_it()

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: report to the parent what is due."""
        uplink = self._port.by_destination.get(UPLINK)
        if uplink is not None and self._untold and now_ms >= self._tell_at_ms:
            self._tell_at_ms = now_ms + RETRY_MS
            due = list(self._untold)[:_ENTRIES_MAX]
            for relay in due:
                self._untold[relay] -= 1
                if not self._untold[relay]:
                    del self._untold[relay]
            entries = [(relay, *self._applied[relay]) for relay in due if relay in self._applied]
            self._port.send(uplink, Applied(entries), ready)
        elif self._is_root:
            self._untold.clear()

    # -- what it keeps --------------------------------------------------------------------------------------

    def _note(self, relay: str, version: tuple[int, int]) -> None:
        if version[0] <= self._applied.get(relay, (0, 0))[0]:
            return
        if relay not in self._applied and len(self._applied) >= DIRECTORY_RELAYS_MAX:
            self._make_room()
        self._applied[relay] = version
        self._untold[relay] = _REPEATS
        self._tell_at_ms = 0

    def _make_room(self) -> None:
        """Drop the relays that are not below any more, else the oldest entry. A fabric has no more relays than that."""
        others = [relay for relay in self._applied if relay != self._me]
        gone = [relay for relay in others if not self._routes.of_node(relay)]
        for relay in gone or others[:1]:
            del self._applied[relay]
            self._untold.pop(relay, None)
