"""Which relay is the nearest (SPEC 6.6), of what the directory says and what this machine sees.

Pure: addresses and round trips are arguments. Guarantees: a relay that is revoked, or not valid now, is never ranked;
the longest network that contains one of this machine's own addresses comes first, whatever was measured; the same is
ranked the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.edge.discovery.addresses import Address
from fabric.edge.identity.identity import Dial
from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import Clocks
from fabric.protocol.trust.directory import Descriptor, Network, RelayDirectory
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Label

# The first and its backups: each waits until the one before had its chance, so that a ninth comes too late to help.
DIALLED_MAX = 8
# What differs by less is equally near: on one site a hundredth of a millisecond differs from one look to the next, and
# the order would with it.
ROUND_TRIP_STEP_MS = 1


@dataclass(frozen=True, slots=True)
class Ranked:
    """`network`: that of the relay's which contains an own address. `round_trip_ms`: None where nothing answered."""

    relay: Descriptor
    address: str
    network: Network | None
    round_trip_ms: float | None

    def is_cleared_for(self, clearance: Label) -> bool:
        """Whether it may hold all that a node of this clearance may. What it may not is withheld there."""
        return self.relay.clearance >= clearance

    @property
    def dial(self) -> Dial:
        return Dial(self.relay.id, self.address, self.relay.curve_key)


def why_not(relay: Descriptor, revocations: Revocations, clocks_ms: Clocks, skew_ms: int) -> Code | None:
    """What keeps a relay of the directory from being anybody's, whatever is near. Who is over is so by each clock."""
    if relay.id in revocations.ids:
        return Code.REVOKED
    return None if any(relay.is_valid(clock_ms, skew_ms) for clock_ms in clocks_ms) else Code.CREDENTIAL_EXPIRED


def rank(
    directory: RelayDirectory,
    revocations: Revocations,
    addresses: Sequence[Address],
    round_trips_ms: Mapping[str, float],
    clocks_ms: Clocks,
    skew_ms: int,
) -> list[Ranked]:
    """The relays that may serve, the nearest first. `round_trips_ms`: of the addresses that answered."""
    ranked = [
        _seen(relay, addresses, round_trips_ms)
        for relay in directory.relays if why_not(relay, revocations, clocks_ms, skew_ms) is None
    ]
    return sorted(ranked, key=_key)  # stable: what is equal stays in the order of the directory


def is_decided(ranking: Sequence[Ranked]) -> bool:
    """Whether the first is the first whatever is measured."""
    if not ranking or ranking[0].network is None:
        return False
    return len(ranking) == 1 or _key(ranking[0])[0] < _key(ranking[1])[0]


def _seen(relay: Descriptor, addresses: Sequence[Address], round_trips_ms: Mapping[str, float]) -> Ranked:
    containing = [network for network in relay.serves if any(_contains(network, address) for address in addresses)]
    network = max(containing, key=lambda n: n.prefixlen, default=None)
    answered = [address for address in relay.addresses if address in round_trips_ms]
    dialled = min(answered, key=lambda address: round_trips_ms[address], default=relay.addresses[0])
    return Ranked(relay, dialled, network, round_trips_ms.get(dialled))


def _contains(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


def _key(ranked: Ranked) -> tuple[int, bool, int]:
    trip = ranked.round_trip_ms
    prefix = -1 if ranked.network is None else ranked.network.prefixlen
    return -prefix, trip is None, int((trip or 0.0) // ROUND_TRIP_STEP_MS)
