"""For a control point that names no relay: observes addresses, ranks the relays, and says when the order has changed.

It looks at this machine's addresses every two seconds, and ranks when they, the directory or the revocation list
changed, and every while as long as no relay accepts it. Measuring takes up to some seconds and happens on a thread of
its own; where an own address alone decides who is first, that is said without waiting for it. Guarantees: the order
changes only for one of these reasons, never because a round trip was a little different the next time; at most
`DIALLED_MAX` relays; a newer directory that came through the fabric is in the identity's folder for the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabric.edge.discovery.addresses import Address, own_addresses
from fabric.edge.discovery.measuring import measure
from fabric.edge.discovery.nearest import DIALLED_MAX, Ranked, is_decided, rank
from fabric.edge.identity.home import write_private
from fabric.edge.identity.identity import DIRECTORY, Identity, own_directory
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.trust.credentials import Clocks
from fabric.protocol.trust.directory import RelayDirectory, verify_directory
from fabric.protocol.trust.revocations import Revocations

LOOK_MS = 2_000
# Without a relay for this long, what was measured may be wrong by now.
AGAIN_MS = 15_000


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to be with, the nearest first; nobody where the directory has none that may serve.

    `moved`: because this machine's addresses are others.
    """

    relays: tuple[Ranked, ...]
    moved: bool


@dataclass(frozen=True, slots=True)
class _View:
    addresses: tuple[Address, ...]
    directory: RelayDirectory
    revocations: Revocations


class Nearby:
    """`wake` is called from another thread when there is something to look at. All else belongs to one thread."""

    def __init__(
        self,
        identity: Identity,
        wake: Callable[[], None],
        addresses: Callable[[Sequence[str]], tuple[Address, ...]] = own_addresses,
        measured: Callable[[Sequence[str]], dict[str, float]] = measure,
    ) -> None:
        self._identity = identity
        self._wake = wake
        self._own_addresses = addresses
        self._measure = measured
        self._kept = 0
        self._view: _View | None = None
        self._said: tuple[Ranked, ...] | None = None
        self._said_to: tuple[Address, ...] = ()
        self._round_trips_ms: dict[str, float] = {}
        self._result: list[tuple[_View, dict[str, float]]] = []
        self._measuring = False
        self._look_at_ms = 0
        self._again_at_ms = 0
        self.not_kept = ""  # why the newest directory is not in the folder, to be said once

    def of_folder(self) -> RelayDirectory:
        """The directory that lies in the identity's folder; none where it is not its authority's."""
        found = verify_directory(
            own_directory(self._identity.folder), self._identity.authority_key, self._identity.fabric
        )
        held = RelayDirectory() if isinstance(found, Reject) else found
        self._kept = held.version
        return held

    def look(
        self, now_ms: int, clocks_ms: Clocks, directory: RelayDirectory, revocations: Revocations, *, connected: bool
    ) -> Order | None:
        """The order, when it is another than before. Cheap: most calls look at nothing."""
        measured = self._take_result()
        if now_ms < self._look_at_ms and not measured:
            return None
        if connected:
            self._again_at_ms = now_ms + AGAIN_MS
        self._look_at_ms = now_ms + LOOK_MS
        self._keep(directory)
        candidates = [address for relay in directory.relays for address in relay.addresses]
        view = _View(self._own_addresses(candidates), directory, revocations)
        changed = view != self._view
        if not self._measuring and (changed or now_ms >= self._again_at_ms):
            self._begin(view, candidates, now_ms)
        self._view = view
        if not (changed or measured):
            return None
        return self._order(view, clocks_ms, measured=measured)

    def is_cleared_for_less(self, relay: str) -> bool:
        """Whether this relay of the present order may not hold all that this control point may."""
        clearance = self._identity.credential.clearance
        return any(not r.is_cleared_for(clearance) for r in self._said or () if r.relay.id == relay)

    def _order(self, view: _View, clocks_ms: Clocks, *, measured: bool) -> Order | None:
        ranking = rank(
            view.directory, view.revocations, view.addresses, self._round_trips_ms, clocks_ms, SKEW_MS
        )
        if not (measured or is_decided(ranking)):
            return None
        relays = tuple(ranking[:DIALLED_MAX])
        before, moved = self._said, self._said is None or view.addresses != self._said_to
        self._said, self._said_to = relays, view.addresses
        if before is not None and [r.dial for r in before] == [r.dial for r in relays]:
            return None
        return Order(relays, moved)

    # -- measuring --------------------------------------------------------------------------------------

    def _begin(self, view: _View, candidates: Sequence[str], now_ms: int) -> None:
        self._measuring = True
        self._again_at_ms = now_ms + AGAIN_MS

        def run() -> None:
            trips_ms: dict[str, float] = {}
            try:
                trips_ms = self._measure(candidates)
            finally:
                self._result.append((view, trips_ms))
                self._wake()

        threading.Thread(target=run, name=f"fabric {self._identity.id} nearest", daemon=True).start()

    def _take_result(self) -> bool:
        """Whether what was measured is there, and of how things are now."""
        if not self._result:
            return False
        view, trips_ms = self._result.pop()
        self._measuring = False
        if view != self._view:  # of where this machine was: look, and measure again
            self._view, self._look_at_ms = None, 0
            return False
        self._round_trips_ms = trips_ms
        return True

    def _keep(self, directory: RelayDirectory) -> None:
        if directory.version <= self._kept:
            return
        self._kept = directory.version
        try:
            write_private(self._identity.folder / DIRECTORY, directory.raw)
        except OSError as error:  # somebody else's folder: it comes again with the next connection
            self.not_kept = type(error).__name__
