"""Who may send, and how much: networks, connections at a time, bytes a second.

Guarantees: what is known of senders is bounded, also where their addresses are invented (UDP): who was heard of least
lately goes, unless it is connected.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relays.gateways.syslog.settings import Network

PEERS_MAX: Final = 4_096
# Of all senders together; each may wait with a message of 64 KB that is not whole.
CONNECTIONS_MAX: Final = 1_024
_MAPPED: Final = "::ffff:"


@dataclass(slots=True)
class _Peer:
    allowed: bool
    tokens: float  # bytes that it may send at once
    at_s: float
    connections: int = 0


class Peers:
    """Those of one source. Times are seconds of one clock."""

    def __init__(self, allow: Sequence[Network], connections_max: int, rate_bytes_per_s: int) -> None:
        self._allow = tuple(allow)
        self._connections_max = connections_max
        self._rate = float(rate_bytes_per_s)
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self.connections = 0

    def __len__(self) -> int:
        return len(self._peers)

    def allowed(self, host: str, now_s: float) -> bool:
        return self._peer(host, now_s).allowed

    def enter(self, host: str, now_s: float) -> str:
        """Empty where it may connect, and then it has; else why not."""
        peer = self._peer(host, now_s)
        if not peer.allowed:
            return "it is in no network of `allow`"
        if peer.connections >= self._connections_max:
            return f"it has {peer.connections} connections, and may have no more"
        if self.connections >= CONNECTIONS_MAX:
            return f"there are {self.connections} connections, which is all there may be"
        peer.connections += 1
        self.connections += 1
        return ""

    def leave(self, host: str, now_s: float) -> None:
        self._peer(host, now_s).connections -= 1
        self.connections -= 1

    def spend(self, host: str, size: int, now_s: float) -> float:
        """It sent so many bytes: how many seconds it is to send nothing now. It may be ahead by one second."""
        peer = self._peer(host, now_s)
        peer.tokens = min(self._rate, peer.tokens + (now_s - peer.at_s) * self._rate) - size
        peer.at_s = now_s
        return -peer.tokens / self._rate if peer.tokens < 0 else 0.0

    def over(self, host: str, size: int, now_s: float) -> bool:
        """The same of what cannot wait: whether it is to be dropped, and then it costs nothing."""
        if self.spend(host, size, now_s):
            self._peers[host].tokens += size
            return True
        return False

    def _peer(self, host: str, now_s: float) -> _Peer:
        peer = self._peers.get(host)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                self._forget()
            peer = self._peers[host] = _Peer(self._is_allowed(host), self._rate, now_s)
        else:
            self._peers.move_to_end(host)
        return peer

    def _forget(self) -> None:
        for host, peer in self._peers.items():  # at most CONNECTIONS_MAX of them are passed over
            if not peer.connections:
                del self._peers[host]
                return

    def _is_allowed(self, host: str) -> bool:
        if not self._allow:
            return True
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address.version == network.version and address in network for network in self._allow)


def host_of(address: object) -> tuple[str, int]:
    """A peer's address and port, as the socket says them; IPv4 as itself where it comes through IPv6."""
    if not isinstance(address, tuple) or len(address) < 2:
        return "", 0
    return str(address[0]).removeprefix(_MAPPED), int(address[1])
