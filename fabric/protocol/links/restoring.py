"""What survives a restart (SPEC 7.4, 10): a node takes back what is on its disk, in its order.

Guarantees: what cannot be believed any more is named, and not held. Credentials are not judged by the time here: a
message of one that ran out meanwhile is refused where it is sent to, and so ends with that reason.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import KeepCredential, KeepDirectory, KeepLists, KeepPolicies, Op, Put, Seen, SeenAction
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.links.directory_distribution import DirectoryDistribution
from fabric.protocol.trust.store import TrustStore


class Restoring:
    """Into these components it goes; `roots` remembers the signatures that were checked."""

    def __init__(
        self, trust: TrustStore, kept: KeptCredentials, directory: DirectoryDistribution, custody: Custody,
        roots: RootCache,
    ) -> None:
        self._trust = trust
        self._kept = kept
        self._directory = directory
        self._custody = custody
        self._roots = roots

    def restore(self, op: Op, number: int, now_ms: int) -> bool:
        """Whether it can be believed. `number`: of the row that has a message, which says its place among all."""
        match op:
            case KeepCredential(digest, raw):
                self._kept.remember(digest)
                self._trust.restore_credential(raw)
            case KeepLists(raw):
                self._trust.restore_revocations(raw)
            case KeepPolicies(raw):
                self._trust.restore_policies(raw)
            case KeepDirectory(raw):
                self._directory.restore(raw)
            case Seen(id_, direction, until_ms):
                self._custody.dedup.add(id_, direction, until_ms)
            case SeenAction(id_, direction, until_ms, requester):
                self._custody.dedup.add_action(id_, direction, until_ms, requester)
            case Put():
                return self._readopt(op, number, now_ms)
        return True

    def _readopt(self, op: Put, number: int, now_ms: int) -> bool:
        known = self._custody.get(op.id, op.direction)
        message = open_envelope(op.envelope, self._trust.credentials, self._roots)
        if known is not None:  # it came again while this slept
            if not isinstance(message, Reject):
                self._custody.unite(known, message)
            return True
        if isinstance(message, Reject):
            return False
        # The clock may have been set back while we were off; age never shrinks.
        received_at_ms = min(op.received_at_ms, now_ms)
        held = Held(
            message, op.direction, op.lane, op.age_ms, received_at_ms, op.expires_at_ms, op.hops, restored=True,
            order=number,
        )
        self._custody.adopt(held, op.destinations, op.moved)
        return True
