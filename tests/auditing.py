"""Audit logs for tests: one that has everything, in a folder."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabric.audit.log import AuditLog
from fabric.audit.segments import Signed, write_signed
from fabric.protocol.audit import kinds
from fabric.protocol.audit.heads import Head, open_head, sign_head, sign_witness
from fabric.protocol.trust.credentials import NodeKind
from tests.support import T0, Authority, Member, entropy

AUTHORITY = Authority()
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
DMZ = AUTHORITY.issue("dmz", NodeKind.RELAY)


def log_in(folder: Path, me: Member = DMZ, seed: object = 0, **bounds: int) -> AuditLog:
    """The log of this node; a new one where none is there."""
    return AuditLog(folder, me.credential, entropy(("log", me.id, seed)), **bounds)


def fill(log: AuditLog, count: int, at_ms: int = T0) -> None:
    """So many entries, one append each."""
    for n in range(count):
        fields = {"who": "soar-1", "action": bytes([n % 256]) * 32, "targets": ("fw-1", f"fw-{n}")}
        log.append([(at_ms + n, kinds.ACTION_HANDED, fields)], durable=False)


@contextmanager
def files_of_at_most(bytes_: int) -> Iterator[None]:
    """No file of this process grows beyond that, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def head_of(log: AuditLog, me: Member = DMZ, at_ms: int = T0) -> Head:
    """Of the log as it is now."""
    head = open_head(sign_head(me.credential, me.signer, log.log_id, log.number, log.hash, at_ms), me.credential)
    assert isinstance(head, Head)
    return head


def sign(log: AuditLog, folder: Path, me: Member = DMZ, parent: Member = HQ, at_ms: int = T0) -> Head:
    """A head is signed, its parent has counter-signed it, and both are in the log."""
    head = head_of(log, me, at_ms)
    witness = sign_witness(parent.credential, parent.signer, head, at_ms)
    log.append([
        (at_ms, kinds.LOG_HEAD, {"head": head.raw}),
        (at_ms, kinds.LOG_WITNESSED, {"who": parent.id, "witness": witness, "credential": parent.credential.raw}),
    ], durable=True)
    write_signed(folder, Signed(head.raw, head.raw, witness, parent.credential.raw))
    return head
