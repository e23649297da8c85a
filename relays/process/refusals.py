"""Why links of a relay did not open, as far as somebody has to act: a part of its state, and of its log.

Who dials hears the reason from the other side, and nobody else does; who is turned away because no version is common
may be a node that was upgraded, or not yet. Guarantees: what is kept is bounded by whom this relay dials; a stranger
leaves two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Arrived, Note
from fabric.protocol.links.link import Link
from fabric.protocol.wire.frames import Refused, Welcome


class Refusals:
    """`log` is the relay's."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._by: dict[str, tuple[Code, str]] = {}  # who was dialled -> what it said last
        self._versions = 0  # links that were turned away because no version is common
        self._last = ""

    def heard(self, link: Link | None, arrived: Arrived) -> None:
        """What came by a link, before the link is ended for it."""
        if link is None or not link.expects:
            return
        match arrived.frame:
            case Refused(code, detail, _):
                if self._by.get(link.expects, (None, ""))[0] is not code:
                    self._log.warning("refused", by=link.expects, code=code.label, why=detail, next=code.next_step)
                self._by[link.expects] = code, detail
            case Welcome():
                self._by.pop(link.expects, None)

    def noted(self, notes: Sequence[Note]) -> None:
        """What the core noted in a turn."""
        for note in notes:
            if note.fields.get("code") == Code.UNKNOWN_VERSION.label:
                self._versions += 1
                self._last = str(note.fields.get("detail", ""))

    def state(self) -> dict[str, Any]:
        """`by`: who refuses this relay, and why; `versions`: how many it refused for theirs, and what it said last."""
        return {
            "by": {peer: {"code": code.label, "detail": detail} for peer, (code, detail) in self._by.items()},
            "versions": self._versions, "last": self._last,
        }
