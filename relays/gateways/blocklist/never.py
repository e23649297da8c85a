"""What is on no block list, whatever intel says: what no firewall should lose, and what its operator names.

Guarantees: this machine itself (127.0.0.0/8, ::1), no address at all (0.0.0.0, ::), and those of a link or of many
(169.254.0.0/16, fe80::/10, multicast, broadcast) are never listed, nor URLs at these: a feed that has them is wrong, or
means harm. What is named is safe in each spelling: a domain with all below it, and with those above it, since readers
block what is below a name; of URLs and of addresses for mail all that are there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from relays.gateways.options import Options
from relays.gateways.stix.values import host_of, plain_value
from relays.wording import shown

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_ADDRESSES: Final = ("ipv4", "ipv6")
# What a value of these kinds is at can be named, too.
_PLACES: Final = {
    "ipv4": ("ipv4",), "ipv6": ("ipv6",), "url": ("url", "domain", *_ADDRESSES), "email": ("email", "domain"),
}
_EXAMPLES: Final = {
    "ipv4": '["10.0.0.0/8"]', "ipv6": '["2001:db8::/32"]', "url": '["example.com", "10.0.0.0/8"]',
    **dict.fromkeys(("domain", "email"), '["example.com"]'),
}
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
_NAMED_MAX: Final = 1_024
# A list is made anew whenever something changes, of mostly the same values.
_KNOWN_MAX: Final = 1_000_000


class Never:
    """`networks` for addresses; `names` for all else: a domain with all below and above it, others as they are."""

    def __init__(self, kind: str, networks: Sequence[_Network] = (), names: Iterable[str] = ()) -> None:
        self._kind = kind
        self._networks = networks
        self._names = frozenset(names)
        self._above = frozenset(each for name in self._names for each in _with_those_above(name)[1:])
        self._known: dict[str, bool] = {}

    def covers(self, value: str) -> bool:
        """Whether this value is never listed."""
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[value] = self._covers(value)
        return known

    def _covers(self, value: str) -> bool:
        if value in self._names:
            return True
        place = host_of(value) if self._kind == "url" else value.rpartition("@")[2]
        if self._kind == "domain" and place in self._above:
            return True
        if self._kind in ("domain", "email", "url") and any(each in self._names for each in _with_those_above(place)):
            return True
        try:
            address: _Address = ipaddress.ip_address(place)
        except ValueError:
            return False
        meant = getattr(address, "ipv4_mapped", None) or address
        return any((
            meant.is_loopback, meant.is_unspecified, meant.is_link_local, meant.is_multicast, meant == _BROADCAST,
            any(meant in network or address in network for network in self._networks),
        ))


def _with_those_above(name: str) -> list[str]:
    steps = name.split(".")
    return [".".join(steps[at:]) for at in range(len(steps))]


def _network(kind: str, text: str) -> _Network | None:
    try:
        if kind in _ADDRESSES:
            return ipaddress.IPv4Network(text) if kind == "ipv4" else ipaddress.IPv6Network(text)
    except ValueError:
        pass
    return None


def read_never(options: Options, kind: str) -> Never:
    """The option `never`."""
    networks: list[_Network] = []
    names: list[str] = []
    given = options.texts("never")
    for text in given:
        kinds = _PLACES.get(kind, (kind,))
        within = [network for each in kinds if (network := _network(each, text)) is not None]
        named = [name for each in kinds if each not in _ADDRESSES and (name := plain_value(each, text))]
        networks += within
        names += named
        if not within and not named:
            options.wrong("never", f"{shown(text)} is no {' and no '.join(kinds)}",
                          f"write e.g. {_EXAMPLES.get(kind, 'a value as it would be on the list')}")
    if len(given) > _NAMED_MAX:
        options.wrong("never", f"there are more than {_NAMED_MAX:,}", "name networks, or whole domains")
    return Never(kind, networks, names)
