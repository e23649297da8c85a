"""Whose actions a ledger has: their credentials, which are on its disk once each (SPEC 9.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fabric.edge.handling.replies import about_envelope
from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX
from fabric.protocol.core.ledger_ops import KeepCancelled, KeepIntent
from fabric.protocol.core.ready import KeepCredential, Op
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore


class Requesters:
    """By the digests of their credentials. Of more than are remembered some are written again."""

    def __init__(self, trust: TrustStore) -> None:
        self._trust = trust
        self._on_disk: dict[bytes, None] = {}

    def restore(self, ops: Sequence[Op], open_: Iterable[KeepIntent]) -> None:
        """Who signed what is open, or cancelled what may yet come, is to be known again. Not as on the core's own disk:
        that is the outbox."""
        signers = {about.signer for intent in open_ if (about := about_envelope(intent.envelope)) is not None}
        signers |= {op.signer for op in ops if isinstance(op, KeepCancelled)}
        for op in ops:
            if isinstance(op, KeepCredential):
                self._on_disk[op.digest] = None
                if op.digest in signers:
                    self._trust.restore_credential(op.raw)

    def keep(self, credentials: Iterable[Credential]) -> list[Op]:
        """What is to be written of those who signed what came."""
        ops: list[Op] = []
        for credential in credentials:
            if credential.digest not in self._on_disk:
                self._on_disk[credential.digest] = None
                ops.append(KeepCredential(credential.digest, credential.raw))
        while len(self._on_disk) > CREDENTIALS_CACHED_MAX:
            del self._on_disk[next(iter(self._on_disk))]
        return ops
