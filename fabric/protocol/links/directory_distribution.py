"""The directory of relays on its way down (SPEC 6.6): kept, passed on, and never replaced by an older one.

Guarantees: a node holds the newest directory that it saw of its authority; it is sent to every peer below when its link
opens, and to all of them when a newer one comes. An invalid directory is counted and ignored. Refuses directories from
anybody but the parent.
"""

from __future__ import annotations

from fabric.protocol.audit.kinds import TRUST_DIRECTORY
from fabric.protocol.audit.telling import trusted
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import KeepDirectory, Note, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.directory import RelayDirectory, verify_directory
from fabric.protocol.wire.frames import Directory, Role


class DirectoryDistribution:
    """`fabric` and `authority_key`: whose directory it is to be."""

    def __init__(self, fabric: str, authority_key: bytes, port: LinkPort) -> None:
        self._fabric = fabric
        self._authority_key = authority_key
        self._port = port
        self._held = RelayDirectory()

    @property
    def held(self) -> RelayDirectory:
        """The newest directory; version 0 before there is any."""
        return self._held

    # -- what the node tells it -----------------------------------------------------------------------------

    def link_opened(self, link: Link, ready: Ready) -> None:
        """A peer is there: one below is sent the directory."""
        if link.peer_role != Role.PARENT and self._held.raw:
            self._port.send(link, Directory(self._held.raw), ready)

    def frame(self, link: Link, frame: Directory, now_ms: int, ready: Ready) -> None:
        """A peer sends one."""
        if link.peer_role != Role.PARENT:
            wrong = Reject(Code.WRONG_DIRECTION, "a directory comes from the parent")
            self._port.refuse(link, wrong, now_ms, ready)
            return
        self.apply(frame.raw, ready)

    def apply(self, raw: bytes, ready: Ready) -> Reject | None:
        """Hold a newer directory, and pass it down. The one that is held already is no fault."""
        before = self._held
        refused = self.restore(raw)
        if refused is not None:
            self._port.count("refused", refused.code.reason)
            return refused
        if self._held is before:
            return None
        ready.persist.append(KeepDirectory(raw))
        ready.audit.append(trusted(TRUST_DIRECTORY, raw, self._held.version))
        for link in self._port.links.values():
            if link.is_open and link.peer_role != Role.PARENT:
                self._port.send(link, Directory(raw), ready)
        ready.notes.append(Note("directory taken", {"version": self._held.version, "relays": len(self._held.relays)}))
        return None

    def restore(self, raw: bytes) -> Reject | None:
        """The same for what is on this node's own disk: nobody is told of it."""
        if raw == self._held.raw:
            return None
        found = verify_directory(raw, self._authority_key, self._fabric)
        if isinstance(found, Reject):
            return found
        if found.supersedes(self._held):
            self._held = found
        elif found.version < self._held.version:
            return Reject(Code.STALE_DIRECTORY, f"version {found.version}, not {self._held.version}")
        return None
