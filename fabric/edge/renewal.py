"""A credential is renewed at two thirds of its life, while the node goes on.

Guarantees: what is taken up is this node's own: the same id and keys, verified, and newer. Whatever else lies in the
folder is let be.
"""

from __future__ import annotations

from pathlib import Path

from fabric.protocol.chain import verify_credential
from fabric.protocol.credentials import Credential
from fabric.protocol.limits import CREDENTIAL_BYTES_MAX


def renew_at_ms(credential: Credential) -> int:
    """When two thirds of its life are over; a third is left for an issuer that is away."""
    life_ms = credential.not_after_ms - credential.not_before_ms
    return credential.not_after_ms - life_ms // 3


class OwnCredential:
    """The credential in an identity's folder, as others issue it anew there."""

    def __init__(self, folder: Path, authority_key: bytes, held: Credential) -> None:
        self._path = folder / "credential"
        self._authority_key = authority_key
        self.held = held
        self._seen = self._stamp()

    def newer(self) -> Credential | None:
        """One that was put there since the last look. Costs a `stat`."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            raw = self._path.read_bytes()
        except OSError:
            return None
        return self.take(raw)

    def take(self, raw: bytes) -> Credential | None:
        """The bytes as this node's newer credential; None where they are not that."""
        if len(raw) > CREDENTIAL_BYTES_MAX:
            return None
        fresh = verify_credential(raw, self._authority_key, self.held.fabric)
        if not isinstance(fresh, Credential) or fresh.serial <= self.held.serial:
            return None
        mine = (fresh.id, fresh.kind, fresh.curve_key, fresh.sign_key)
        if mine != (self.held.id, self.held.kind, self.held.curve_key, self.held.sign_key):
            return None
        self.held = fresh
        return fresh

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_ino, found.st_size)
