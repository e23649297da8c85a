"""What a node's driver tells its audit log, and when (SPEC 9.10).

Guarantees: what a core tells is in the log before the driver sends what follows from it; what is promised is on disk by
then, and the rest within a second. A log that cannot be written stops no node: what is not in it is counted, and the
log says so as soon as it can.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

from fabric.audit.log import AuditLog
from fabric.audit.signing import Heads
from fabric.protocol.audit import kinds
from fabric.protocol.audit.damping import Damper
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import FabricError
from fabric.protocol.core.ready import LogGrown
from fabric.protocol.trust.credentials import Credential

_SYNC_MS = 1_000
# Where the disk fails, it is tried again this often.
_AGAIN_MS = 1_000
# What is nobody's deed, and so many of these at most wait for one.
_ROUTINE = ("log.", "link.", "parent.", "trust.")
_WAITING_MAX = 64


class Keeper:
    """`entropy(n)`: n random bytes. `patience_ms`: for so long what is about links, lists and the process waits for
    something that somebody did; if nothing comes until the end, none of it is written."""

    def __init__(
        self, folder: Path, me: Credential, entropy: Callable[[int], bytes], *, patience_ms: int = 0
    ) -> None:
        self._patience_ms = patience_ms
        self._waiting: list[tuple[int, Audited]] = []
        self._write_at_ms: int | None = None  # what waits
        self._folder = folder
        self._me = me
        self._entropy = entropy
        self._damper = Damper()
        self._log: AuditLog | None = None
        self._heads: Heads | None = None
        self._lost = 0
        self._again_at_ms = 0
        self._sync_at_ms: int | None = None
        self.problem = ""  # why the log cannot be written; empty where it can

    @property
    def log(self) -> AuditLog | None:
        """The log, once something is in it."""
        return self._log

    def take(self, told: Sequence[Audited], now_ms: int, at_ms: int) -> None:
        """Before anything is sent that follows from it. `at_ms`: the fabric's time."""
        wanted = [each for each in told if self._damper.take(each, now_ms)]
        if not wanted:
            return
        self._waiting += [(at_ms, each) for each in wanted]
        may_wait = self._log is None and len(self._waiting) < _WAITING_MAX and all(
            each.kind.startswith(_ROUTINE) for each in wanted
        )
        if self._patience_ms and may_wait:
            self._write_at_ms = self._write_at_ms or now_ms + self._patience_ms
            return
        self._write([], now_ms, at_ms)

    def look(self, now_ms: int, at_ms: int) -> None:
        """At the end of a turn."""
        if self._damper.due_ms is not None and now_ms >= self._damper.due_ms:
            self._write(self._damper.counted(now_ms), now_ms, at_ms)
        elif (self._lost and now_ms >= self._again_at_ms) or (self._write_at_ms or now_ms + 1) <= now_ms:
            self._write([], now_ms, at_ms)
        if self._sync_at_ms is not None and now_ms >= self._sync_at_ms:
            self._sync(now_ms)

    @property
    def due_ms(self) -> int | None:
        """When `look` is to be called at the latest, if it has anything to do."""
        due = [at for at in (self._damper.due_ms, self._sync_at_ms, self._write_at_ms) if at is not None]
        if self._lost:
            due.append(self._again_at_ms)
        if self._heads is not None and self._heads.due_ms is not None:
            due.append(self._heads.due_ms)
        return min(due) if due else None

    def grown(self, known_above: int | None, now_ms: int, *, at_once: bool = False) -> LogGrown | None:
        """How far the log goes, if that is to be signed now. `known_above`: as far as the parent knows it."""
        if self._log is None or self._heads is None:
            return None
        try:
            return self._heads.due(self._log, known_above, now_ms, at_once=at_once)
        except OSError as error:
            self._failed(error, 0, now_ms)
            return None

    def renewed(self, me: Credential) -> None:
        """The node goes on under a newer credential."""
        self._me = me
        if self._log is not None:
            self._log.renewed(me)

    def close(self, now_ms: int, at_ms: int, last: Audited | None = None) -> None:
        """What was counted is told, then this, and everything is on disk."""
        if self._write_at_ms is not None:
            return  # nobody did anything
        self._again_at_ms = now_ms
        self._write([*self._damper.counted(now_ms, at_once=True), *([last] if last else [])], now_ms, at_ms)
        self._sync(now_ms)
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- inside -------------------------------------------------------------------------------------------

    def _write(self, told: Sequence[Audited], now_ms: int, at_ms: int) -> None:
        waited, self._waiting, self._write_at_ms = self._waiting, [], None
        told = [*(each for _, each in waited), *told]
        if not told and not self._lost:
            return
        if self.problem and now_ms < self._again_at_ms:
            self._lost += len(told)
            return
        times = [*(at for at, _ in waited), *[at_ms] * (len(told) - len(waited))]
        lines = [
            (at, each.kind, {"who": each.who, **each.fields} if each.who else each.fields)
            for at, each in zip(times, told, strict=True)
        ]
        if self._lost:
            lines.insert(0, (at_ms, kinds.LOG_LOST, {"entries": self._lost, "why": self.problem}))
        promised = any(each.kind in kinds.PROMISED for each in told)
        try:
            if self._log is None:
                self._log = AuditLog(self._folder, self._me, self._entropy)
                self._heads = self._heads or Heads(self._folder)
            self._log.append(lines, durable=promised)
            if self._heads is not None:
                self._heads.wrote(told, now_ms)
        except (OSError, FabricError) as error:
            self._failed(error, len(told), now_ms)
            return
        self._lost, self.problem = 0, ""
        if promised:
            self._sync_at_ms = None
        elif self._sync_at_ms is None:
            self._sync_at_ms = now_ms + _SYNC_MS

    def _sync(self, now_ms: int) -> None:
        self._sync_at_ms = None
        try:
            if self._log is not None:
                self._log.sync()
        except OSError as error:
            self._failed(error, 0, now_ms)

    def _failed(self, error: OSError | FabricError, entries: int, now_ms: int) -> None:
        self._lost += entries
        self._again_at_ms = now_ms + _AGAIN_MS
        self.problem = (
            errno.errorcode.get(error.errno or 0, type(error).__name__) if isinstance(error, OSError)
            else error.code.label
        )
        if self._log is not None:  # nobody knows where it ends now: it is looked for
            self._log.close()
            self._log = None


def fields_of_start(version: str, me: Credential) -> Audited:
    """That a node began: its version, and under which credential."""
    return Audited(kinds.LOG_STARTED, "", {"version": version, "credential": me.digest, "serial": me.serial})
