"""When the head of an audit log is signed, and what lies beside the log (SPEC 9.10).

Guarantees: what was done is signed within `HEAD_MS`, and not more often; a parent that knows less than was signed is
told again, later each time; one process of an identity signs at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fabric.audit.log import AuditLog
from fabric.audit.segments import Signed, read_signed, write_signed
from fabric.protocol.audit import kinds
from fabric.protocol.audit.heads import Head, read_head
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.limits import GROWN_MAX, HEAD_MS_MIN
from fabric.protocol.core.ready import LogGrown

# Twice what a parent listens to.
HEAD_MS: Final = 2 * HEAD_MS_MIN
_AGAIN_MS_MAX: Final = 3_600_000


class Heads:
    """Of the log in this folder, as this process signs it. Raises OSError, as all its methods do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signed = read_signed(folder)
        newest = read_head(self._signed.head)
        self._number = newest.number if isinstance(newest, Head) else 0
        self._sign_at_ms: int | None = None
        self._again_at_ms = 0
        self._again_wait_ms = HEAD_MS
        self._last_ms = -HEAD_MS

    @property
    def due_ms(self) -> int | None:
        """When something that was done is to be signed."""
        return self._sign_at_ms

    def wrote(self, told: Sequence[Audited], now_ms: int) -> None:
        """These are in the log."""
        if self._sign_at_ms is None and any(each.kind not in kinds.OF_THE_LOG for each in told):
            self._sign_at_ms = max(now_ms, self._last_ms) + HEAD_MS
            self._again_wait_ms = HEAD_MS
        before = self._signed
        for each in told:
            self._follow(each)
        if self._signed != before:
            write_signed(self._folder, self._signed)

    def due(self, log: AuditLog, known_above: int | None, now_ms: int, *, at_once: bool = False) -> LogGrown | None:
        """How far the log goes, if it is to be signed now. `known_above`: as far as the parent knows it, if it does."""
        deeds = self._sign_at_ms is not None and (at_once or now_ms >= self._sign_at_ms)
        again = known_above is not None and known_above < self._number and now_ms >= self._again_at_ms
        if not (deeds or again):
            return None
        if not log.is_signer():
            self._sign_at_ms = now_ms + HEAD_MS if deeds else None
            self._again_at_ms = now_ms + HEAD_MS
            return None
        self._last_ms, self._sign_at_ms = now_ms, None
        self._again_at_ms = now_ms + self._again_wait_ms
        self._again_wait_ms = min(2 * self._again_wait_ms, _AGAIN_MS_MAX)
        log.look()
        log.sync()  # a head outlives a power failure, and what it is about has to
        since = min(known_above or 0, log.number)
        if known_above is not None and log.number - since > GROWN_MAX:
            earlier, digests = log.hash_of(since + GROWN_MAX), log.digests_from(since)
            if earlier is not None and digests is not None:
                self._sign_at_ms = now_ms + HEAD_MS  # the rest, when the parent knows this
                return LogGrown(log.log_id, since + GROWN_MAX, earlier, since, tuple(digests[:GROWN_MAX]))
        new = log.number - since <= GROWN_MAX
        digests = log.digests_from(since) if known_above is not None and new else None
        return LogGrown(log.log_id, log.number, log.hash, since, tuple(digests or ()))

    def _follow(self, told: Audited) -> None:
        """What of it is to lie beside the log."""
        head = told.fields.get("head")
        if told.kind not in kinds.OF_THE_LOG or not isinstance(head, bytes):
            return
        if told.kind == kinds.LOG_HEAD:
            self._signed = self._signed._replace(head=head)
            number = told.fields.get("number")
            self._number = number if isinstance(number, int) else self._number
            return
        witness, by = told.fields.get("witness"), told.fields.get("credential", self._signed.by)
        if isinstance(witness, bytes) and isinstance(by, bytes):
            self._signed = Signed(self._signed.head, head, witness, by)
