"""How approval policies travel (SPEC 6.7): the newest that a node saw of its authority is in force, and is passed on.

Guarantees: an older version is never put in force; a newer one goes to every peer, upwards too: it is the authority's
word, whoever brings it. What the authority did not sign ends the link by which it came.
"""

from __future__ import annotations

from fabric.protocol.audit.kinds import TRUST_POLICIES
from fabric.protocol.audit.telling import trusted
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import STALL_MS
from fabric.protocol.core.ready import KeepPolicies, Note, Ready
from fabric.protocol.links.handover import Handover
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.policies import Policies
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Rules


class PolicyDistribution:
    """What it learns goes into the `trust` store; it keeps nothing itself."""

    def __init__(self, trust: TrustStore, port: LinkPort) -> None:
        self._trust = trust
        self._port = port
        self._handover = Handover(
            port, lambda link: link.policies, lambda: (trust.policies.version, Rules(trust.policies.raw))
        )

    def link_opened(self, link: Link, theirs: int, ready: Ready) -> None:
        """`theirs`: the version that the peer has. Before the revocation list, which may name a version of these."""
        self._handover.link_opened(link, theirs, ready)

    def handed_over(self, link: Link, frame: Rules, now_ms: int, ready: Ready) -> None:
        """By any peer."""
        found = self._trust.read_policies(frame.policies)
        if isinstance(found, Reject):
            self._port.refuse(link, found, now_ms, ready)
        else:
            self._put_in_force(found, ready, link)

    def apply(self, raw: bytes, ready: Ready) -> Reject | None:
        """Policies that the driver found: put them in force if they are newer than those that are."""
        found = self._trust.read_policies(raw)
        if isinstance(found, Reject):
            self._port.count("refused", found.code.reason)
            return found
        return self._put_in_force(found, ready)

    def repeat(self, link: Link, ready: Ready) -> None:
        """At a PING or PONG."""
        self._handover.repeat(link, ready)

    def check_peer(self, link: Link, now_ms: int) -> Reject | None:
        """Of an open link, a few times a second: why its peer is not to stay."""
        if self._handover.is_overdue(link, now_ms, STALL_MS):
            return Reject(Code.STALE_POLICIES, "the newer ones that were announced do not come")
        return None

    def _put_in_force(self, found: Policies, ready: Ready, source: Link | None = None) -> Reject | None:
        if not self._trust.take_policies(found):
            if found.raw == self._trust.policies.raw:
                return None
            self._port.count("refused", Code.STALE_POLICIES.reason)
            return Reject(Code.STALE_POLICIES, f"version {found.version}, not {self._trust.policies.version}")
        ready.persist.append(KeepPolicies(found.raw))
        ready.audit.append(trusted(TRUST_POLICIES, found.raw, found.version))
        self._handover.pass_on(source, ready)
        ready.notes.append(Note("policies applied", {"version": found.version, "rules": len(found.rules)}))
        return None
