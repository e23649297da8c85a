"""The records of each source in the order in which they were begun, and how far it is read.

Guarantees: a source's position advances past a record only together with it, and never past an earlier one that still
waits, for room or to be sealed. What was cancelled holds nothing back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from fabric.edge.publishing.drafts import Draft
from fabric.edge.publishing.lanes import WAITING_MAX
from fabric.edge.publishing.receipts import is_cancelled
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import KeepPosition, Ready

# Records of one source behind one that was begun and neither added nor cancelled: all that may wait, and what is in
# flight.
BEGUN_MAX: Final = 6 * WAITING_MAX


class Sources:
    """Any thread may begin; `advance` belongs to the connection's thread."""

    def __init__(self) -> None:
        self._begun: dict[str, deque[Draft]] = {}  # of sources of which something waits
        # Held for a moment, to look at a source's drafts. One thread may be in here twice: what a garbage collection
        # lets go, or a signal handler, may publish too.
        self._lock = threading.RLock()

    def begin(self, draft: Draft) -> None:
        """Its source does not pass it from now on, until it is taken or cancelled. Raises BUSY."""
        if draft.position is None:
            return
        with self._lock:
            waiting = self._begun.setdefault(draft.position.source, deque())
            if len(waiting) < BEGUN_MAX:
                waiting.append(draft)
                return
        raise FabricError(
            Code.BUSY, f"{BEGUN_MAX} records of {draft.position.source} wait behind an earlier one",
            "add or cancel what was begun",
        )

    def begin_many(self, drafts: Sequence[Draft]) -> int:
        """The same of each, in order. How many there was room for, from the first on."""
        with self._lock:
            for number, draft in enumerate(drafts):
                if draft.position is not None:
                    waiting = self._begun.setdefault(draft.position.source, deque())
                    if len(waiting) >= BEGUN_MAX:
                        return number
                    waiting.append(draft)
        return len(drafts)

    def advance(self, ready: Ready) -> None:
        """Sources go as far as nothing before it waits."""
        for source, drafts in list(self._begun.items()):
            last: Draft | None = None
            while drafts and (drafts[0].taken or is_cancelled(drafts[0])):
                draft = drafts.popleft()
                last = draft if draft.taken else last
            if last is not None and last.position is not None:
                ready.persist.append(KeepPosition(source, last.position.position))
            with self._lock:
                if not drafts:
                    del self._begun[source]
