"""What a relay does with files beside its messages: a job that the machine refuses is put off, and nothing else stops.

Guarantees: no OSError of such a job ends the relay or changes what it does; each is counted, said once until it works
again, and tried at the next look. The spool is none of these: a relay whose spool fails begins again from the disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import structlog

from fabric.protocol.base.errors import Code


class Upkeep:
    """`count` is the counter of the relay."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, count: Callable[[str, str], None]) -> None:
        self._log = log
        self._count = count
        self._failing: dict[str, str] = {}  # job -> why

    def do(self, job: str, work: Callable[..., None], *arguments: object) -> bool:
        """Whether it could be done."""
        try:
            work(*arguments)
        except OSError as error:
            self.failed(job, errno.errorcode.get(error.errno or 0, type(error).__name__))
            return False
        self.worked(job)
        return True

    def failed(self, job: str, why: str) -> None:
        """`why` is the name of the error: never a path or a text."""
        self._count("io_failed", job)
        if self._failing.get(job) != why:
            self._failing[job] = why
            code = Code.MACHINE_REFUSED
            self._log.warning(f"{job} failed", code=code.label, why=why, next=code.next_step)

    def worked(self, job: str) -> None:
        if self._failing.pop(job, None) is not None:
            self._log.info(f"{job} works again")
