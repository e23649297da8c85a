"""What a component of a node may do with the node's links: look them up, send on them, refuse a peer, count.

Guarantees: with a port a component cannot open, end or replace a link, except by refusing its peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.links.link import Link
from fabric.protocol.wire.frames import Frame


@dataclass(frozen=True, slots=True)
class LinkPort:
    """`links` by number, in every state; `by_destination` the open one for each destination. Both follow the node."""

    links: Mapping[int, Link]
    by_destination: Mapping[str, Link]
    send: Callable[[Link, Frame, Ready], None]  # after this turn's commit
    refuse: Callable[[Link, Reject, int, Ready], None]  # tells the peer why, and ends the link
    count: Callable[[str, str], None]  # what, and the reason, which comes from a table
