"""The directory of relays on its way down (SPEC 6.6): kept, passed on, and never replaced by an older one.

Guarantees: a node holds the newest directory that it saw of its authority; it is sent to every peer below when its link
opens, and to all of them when a newer one comes. An invalid directory is counted and ignored.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import KeepDirectory, Note, Ready
from fabric.protocol.links.carrier import Carrier
from fabric.protocol.links.link import Link
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.directory import RelayDirectory, verify_directory
from fabric.protocol.wire.frames import Directory, Role


class Directing(Carrier):
    """A node that holds the directory of relays, and hands it on to those below."""

    def set_up(self) -> None:
        super().set_up()
        self.directory = RelayDirectory()

    def _open(self, link: Link, peer: Credential, role: Role, session: bytes, now_ms: int, ready: Ready,
              before: Callable[[], None] = lambda: None) -> None:
        super()._open(link, peer, role, session, now_ms, ready, before)
        if role != Role.PARENT and self.directory.raw:
            self.send(link, Directory(self.directory.raw), ready)

    def _on_directory(self, link: Link, raw: bytes, now_ms: int, ready: Ready) -> None:
        if link.peer_role != Role.PARENT:
            self.refuse(link, Reject(Code.WRONG_DIRECTION, "a directory comes from the parent"), now_ms, ready)
            return
        self.apply_directory(raw, ready)

    def apply_directory(self, raw: bytes, ready: Ready) -> Reject | None:
        """Hold a newer directory, and pass it down. The one that is held already is no fault."""
        held = self.directory
        refused = self.take_directory(raw)
        if refused is not None:
            self.count("refused", refused.code.reason)
            return refused
        if self.directory is held:
            return None
        ready.persist.append(KeepDirectory(raw))
        for link in self.links.values():
            if link.is_open and link.peer_role != Role.PARENT:
                self.send(link, Directory(raw), ready)
        ready.notes.append(Note("directory taken", {
            "version": self.directory.version, "relays": len(self.directory.relays),
        }))
        return None

    def take_directory(self, raw: bytes) -> Reject | None:
        """The same, where nobody is to be told: of what this node has on its own disk."""
        if raw == self.directory.raw:
            return None
        found = verify_directory(raw, self.trust.authority_key, self.me.fabric)
        if isinstance(found, Reject):
            return found
        if found.supersedes(self.directory):
            self.directory = found
        elif found.version < self.directory.version:
            return Reject(Code.STALE_DIRECTORY, f"version {found.version}, not {self.directory.version}")
        return None
