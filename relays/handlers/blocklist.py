"""Which networks are blocked, and for whom, whatever a firewall has at the moment.

Guarantees: those of `Kept`; each network is there as it was blocked, so that to release one says nothing about another
that contains it or is in it.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from relays.handlers.kept import Entry, Kept

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
# A thousand firewalls' worth of incidents; written whole, that is two megabytes.
NETWORKS_MAX: Final = 10_000


class Blocklist:
    """What is done with it is done within `changing`, as of `Kept`."""

    def __init__(self, path: Path, networks_max: int = NETWORKS_MAX) -> None:
        self._kept = Kept(path, networks_max, lambda name, _: ipaddress.ip_network(name))
        self.changing = self._kept.changing
        self.has_room = self._kept.has_room

    def __contains__(self, network: Network) -> bool:
        return str(network) in self._kept.entries

    def __len__(self) -> int:
        return len(self._kept.entries)

    def hold(self, network: Network, entry: Entry) -> None:
        """One that is blocked already stays as it is. Raises OSError, and then nothing changed."""
        if network not in self:
            self._kept.put(str(network), entry)

    def release(self, network: Network) -> Entry | None:
        """What it was held for, if it was. Raises OSError, and then nothing changed."""
        return self._kept.drop(str(network))

    def overlapping(self, network: Network) -> list[Network]:
        """What else is blocked of this network."""
        return [each for each in self._networks() if each != network and _meet(each, network)]

    def merged(self, version: int) -> list[Network]:
        """All that is blocked of IPv4 or IPv6, nothing twice."""
        of_it = [network for network in self._networks() if network.version == version]
        return list(ipaddress.collapse_addresses(of_it))  # type: ignore[type-var]

    def _networks(self) -> Iterable[Network]:
        return map(ipaddress.ip_network, self._kept.entries)


def without(networks: list[Network], spared: Iterable[Network]) -> list[Network]:
    """What is left of merged networks of one version where none of the others may be in them."""
    starts = [int(network.network_address) for network in networks]
    for each in spared:
        if not networks or each.version != networks[0].version:
            continue
        # Merged, they are in order and apart: no more than one begins before it and reaches into it.
        low = max(0, bisect_right(starts, int(each.network_address)) - 1)
        high = bisect_right(starts, int(each.broadcast_address))
        parts = [part for network in networks[low:high] for part in _apart(network, each)]
        if parts != networks[low:high]:
            networks = [*networks[:low], *parts, *networks[high:]]
            starts = [int(network.network_address) for network in networks]
    return networks


def _apart(network: Network, spared: Network) -> list[Network]:
    if not network.overlaps(spared):
        return [network]
    if network.prefixlen >= spared.prefixlen:
        return []
    return sorted(network.address_exclude(spared))  # type: ignore[arg-type]


def _meet(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
