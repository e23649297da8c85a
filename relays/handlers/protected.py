"""Which networks are never blocked: with them gone nobody could say that they are to be allowed again.

Guarantees: refused are networks that touch a loopback or one of this machine's own addresses, what IPv6 needs to find
its neighbours, a relay by which this control point is reached, or what the operator said; and those so wide that
something of the kind is surely in them. A relay's name that cannot be resolved at the moment counts as it did last.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from fabric.edge.discovery.addresses import Address, own_addresses
from relays.handlers.blocklist import Network

# A prefix that is shorter than these is an internet, or a good part of one.
PREFIX_MIN: Final = {4: 8, 6: 16}
_ALWAYS: Final[tuple[tuple[str, str], ...]] = (
    ("127.0.0.0/8", "a loopback"), ("::1/128", "a loopback"),
    ("fe80::/10", "what IPv6 finds its neighbours with"), ("ff00::/8", "what IPv6 finds its neighbours with"),
)


class Protected:
    """Of one control point. `relays`: the addresses of those that it may be reached by."""

    def __init__(
        self,
        never: Iterable[Network],
        relays: Callable[[], Iterable[str]],
        own: Callable[[], Iterable[Address]] = own_addresses,
        resolve: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self._never = tuple(never)
        self._relays = relays
        self._own = own
        self._resolve = resolve or addresses_of
        self._resolved: dict[str, tuple[Network, ...]] = {}

    def why_not(self, network: Network) -> str:
        """Why this network is not to be blocked; empty where nothing is against it."""
        least = PREFIX_MIN[network.version]
        if network.prefixlen < least:
            return f"it is wider than /{least}"
        return next((f"it touches {what}" for each, what in self.networks() if _touches(network, each)), "")

    def networks(self) -> Iterator[tuple[Network, str]]:
        """What is never blocked, as it is at the moment, and what that is. It may take as long as names are looked up.
        """
        for text, what in _ALWAYS:
            yield ipaddress.ip_network(text), what
        for never in self._never:
            yield never, "what the handler was told never to block"
        for address in self._own():
            yield ipaddress.ip_network(address), "an address of this machine"
        for relay in self._relay_networks():
            yield relay, "the relay by which this control point is reached"

    def _relay_networks(self) -> Iterable[Network]:
        relays = list(self._relays())
        for address in relays:
            host = address.rpartition(":")[0].strip("[]")
            found = tuple(ipaddress.ip_network(each) for each in self._resolve(host))
            if found:
                self._resolved[address] = found
            yield from self._resolved.get(address, ())
        for gone in self._resolved.keys() - set(relays):
            del self._resolved[gone]


def addresses_of(host: str) -> list[str]:
    """Nothing where it is not known at the moment."""
    try:
        return [str(ipaddress.ip_address(host.partition("%")[0]))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _touches(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
