"""Parents that could be greeted or answered, and by which connection (SPEC 7.7).

Guarantees: one connection for each parent, the newest; `Uplink` knows of each as long as it is here. Which one is
taken is for `Uplink` to say.
"""

from __future__ import annotations

from fabric.protocol.links.link import Link
from fabric.protocol.links.uplink import Uplink


class Candidates:
    """Connections to parents, or from one that says HELLO, that have not opened."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink
        self._links: dict[str, Link] = {}

    def to(self, parent: str) -> Link:
        return self._links[parent]

    def take_over(self, parent: str) -> Link | None:
        """Another connection takes its place: the older one, if there is any."""
        return self._links.pop(parent, None)

    def add(self, parent: str, link: Link, now_ms: int) -> None:
        self._links[parent] = link
        self._uplink.came(parent, now_ms)

    def drop(self, link: Link) -> None:
        """It has opened, or is gone."""
        for parent, candidate in list(self._links.items()):
            if candidate is link:
                del self._links[parent]
                self._uplink.went(parent)
