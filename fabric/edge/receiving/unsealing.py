"""Opens what is sealed to this node (SPEC 3.3). What does not open is counted, and its publisher is named.

Guarantees: a part that does not open counts as withheld, and stops nothing; of one publisher it is said seldom.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

import structlog

from fabric.protocol.base.errors import Reject
from fabric.protocol.envelope.header import Header, PartEntry
from fabric.protocol.envelope.sealed_parts import Opener

_ORIGINS_MAX: Final = 1_024


class Unsealing:
    """Any thread may open. `opener`: with this node's key."""

    def __init__(self, opener: Opener, log: structlog.typing.FilteringBoundLogger) -> None:
        self._opener = opener
        self._log = log
        self._failed: OrderedDict[str, int] = OrderedDict()  # by origin
        self._lock = threading.Lock()

    @property
    def failed(self) -> int:
        """How many parts did not open, of origins that were not forgotten."""
        return sum(self._failed.values())

    def open(self, header: Header, entry: PartEntry, part: bytes) -> bytes | Reject | None:
        """As `Opener.open`."""
        opened = self._opener.open(header, entry, part)
        if isinstance(opened, Reject):
            self._note(header, opened)
        return opened

    def _note(self, header: Header, problem: Reject) -> None:
        with self._lock:
            count = self._failed.pop(header.origin, 0) + 1
            if len(self._failed) >= _ORIGINS_MAX:
                self._failed.popitem(last=False)
            self._failed[header.origin] = count
        if not count & (count - 1):  # the first, the second, the fourth ...
            self._log.warning(
                "sealed part not opened", code=problem.code.label, origin=header.origin, topic=header.topic,
                why=problem.detail, count=count,
            )
