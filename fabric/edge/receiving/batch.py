"""The records of a delivery, decoded when the first of them is wanted: more urgent messages do not wait for that.

Guarantees: they are decoded once, by whichever thread asks first; a batch that cannot be decoded gives the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from fabric.edge.messages import Message, messages_of
from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.parts import Open
from fabric.protocol.vocabulary.severity import lane_of


class Batch:
    """`first`: how many of its records an earlier run has taken. `kind`: what they are called, if not as they came.

    `open_`: for what is sealed.
    """

    def __init__(
        self, delivery: Delivery, first: int = 0, kind: str | None = None, open_: Open | None = None
    ) -> None:
        self._open = open_
        header = delivery.message.header
        self.id = delivery.message.id.hex()
        self.lane = lane_of(header.kind.word, header.severity, header.phase)
        self.first = first
        self._count = max(0, header.records - first)
        self._kind = kind
        self._delivery = delivery
        self._records: Sequence[Message] | Reject | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def read(self) -> Sequence[Message] | Reject:
        with self._lock:
            if self._records is None:
                self._records = self._read()
            return self._records

    def _read(self) -> Sequence[Message] | Reject:
        records = messages_of(self._delivery, self._open)
        if isinstance(records, Reject):
            return records
        if self._kind is not None:
            records = [replace(record, kind=self._kind) for record in records]
        return records[self.first :]
