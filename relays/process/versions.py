"""Which versions of the protocol those speak who are connected to a relay: a part of its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.protocol.wire.frames import Role

if TYPE_CHECKING:  # who only reads a state does without the relay
    from fabric.protocol.links.link import Link
    from fabric.protocol.relay.relay import Relay

# A HELLO may claim any range, and a relay may have thousands of peers.
RANGES_MAX = 8
NAMES_MAX = 8


def spoken(core: Relay) -> tuple[list[dict[str, Any]], int]:
    """Who speaks what, the most peers first; and how many peers speak what is not among these.

    Each has `protocol` (the lowest and the highest version), `relays` and `points` (how many), and the first of their
    `names`. The sessions of a control point are one peer; where they differ, it is one of each.
    """
    found: dict[tuple[int, int], dict[str, Role]] = {}
    for link in core.by_destination.values():
        if link.peer is not None:
            found.setdefault(_range_of(link), {})[link.peer.id] = link.peer_role
    ranges = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    told = [
        {"protocol": list(speaks), "relays": len(peers) - points, "points": points, "names": sorted(peers)[:NAMES_MAX]}
        for speaks, peers in ranges[:RANGES_MAX]
        for points in [sum(role == Role.POINT for role in peers.values())]
    ]
    return told, sum(len(peers) for _, peers in ranges[RANGES_MAX:])


def _range_of(link: Link) -> tuple[int, int]:
    """As its HELLO said. Who was dialled says in its WELCOME only which version it chose."""
    if link.hello is None:
        return link.version, link.version
    return link.hello.version_min, link.hello.version_max
