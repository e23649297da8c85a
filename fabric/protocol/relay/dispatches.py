"""Who was handed which action, by which way (SPEC 7.8, 9.3): what a relay must know to judge what comes back.

Guarantees: whether a result's origin was a target, and whether what is given back went to who gives it back, is known
for as long as a slow handler may take; nobody's entries are forgotten to make room for others'. The memory is bounded
by taking in no new actions (`full`), and shared: who requests much leaves room for the actions of others.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from fabric.protocol.base.limits import DISPATCHES_MAX, SLOW_HANDLER_MS, TTL_MAX_MS
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ready import KeepDispatch, Ready
from fabric.protocol.envelope.layout import Header
from fabric.protocol.vocabulary.tlp import Label

# More names than that are shared by few actions, and nothing is lost with them.
_NAMES_MAX = 65_536
# The entry that says that an action turned here stands under no target's name.
_TURNED = ""


@dataclass(slots=True)
class _Handed:
    requester: str
    label: Label
    until_ms: int
    ways: dict[str, str] = field(default_factory=dict)  # target -> destination


class Dispatches:
    """An entry is one target of one action; that an action turned here is one as well."""

    def __init__(self, entries_max: int = DISPATCHES_MAX) -> None:
        self._actions: dict[bytes, _Handed] = {}  # by the action's full digest
        self._deadlines: list[tuple[int, bytes]] = []
        self._entries_max = entries_max
        self._entries = 0
        self._requesters: Holdings[str] = Holdings()
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return self._entries

    def full(self, requester: str, entries: int) -> bool:
        """Whether an action of this requester that may need so many entries is not taken in now."""
        return beyond_share(self._requesters[requester], entries, self._entries_max - self._entries, LARGE_SHARE)

    def turned(self, digest: bytes, header: Header, now_ms: int, ready: Ready) -> None:
        """An action turned here: what answers it and is no target's is refused."""
        self._keep(digest, _TURNED, "", header, now_ms, ready)

    def handed(self, digest: bytes, target: str, way: str, header: Header, now_ms: int, ready: Ready) -> None:
        """An action goes to a target by this destination now."""
        self._keep(digest, target, way, header, now_ms, ready)

    def turned_here(self, digest: bytes) -> bool:
        known = self._actions.get(digest)
        return known is not None and _TURNED in known.ways

    def label_of(self, digest: bytes, target: str) -> Label | None:
        """The label of an action that was handed to this target; None where it was not."""
        known = self._actions.get(digest)
        return known.label if known is not None and target in known.ways else None

    def ways(self, digest: bytes, targets: Iterable[str]) -> list[str]:
        """By which destinations the action went to these targets; empty for one to which it did not go."""
        known = self._actions.get(digest)
        return [known.ways.get(target, "") if known is not None else "" for target in targets]

    def sweep(self, now_ms: int) -> None:
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            until_ms, digest = heapq.heappop(self._deadlines)
            known = self._actions.get(digest)
            if known is not None and known.until_ms == until_ms:
                del self._actions[digest]
                self._count(known.requester, -len(known.ways))

    def restore(self, kept: KeepDispatch, now_ms: int) -> None:
        """What an earlier process kept. What another bound left beyond this one's is let go."""
        if self._entries >= self._entries_max:
            return
        # The clock may have been set back while we were off.
        until_ms = min(kept.until_ms, now_ms + TTL_MAX_MS["action"] + SLOW_HANDLER_MS)
        self._add(kept.digest, kept.target, kept.way, kept.requester, Label(kept.label), until_ms)

    def _keep(self, digest: bytes, target: str, way: str, header: Header, now_ms: int, ready: Ready) -> None:
        until_ms = now_ms + header.ttl_ms + SLOW_HANDLER_MS
        if self._add(digest, target, way, header.origin, header.label, until_ms):
            ready.persist.append(KeepDispatch(digest, target, int(header.label), until_ms, header.origin, way))

    def _add(self, digest: bytes, target: str, way: str, requester: str, label: Label, until_ms: int) -> bool:
        """Whether it is new, or by another way than before."""
        known = self._actions.get(digest)
        if known is None:
            known = self._actions[digest] = _Handed(requester, label, until_ms)
            heapq.heappush(self._deadlines, (until_ms, digest))
        elif known.ways.get(target) == way:
            return False
        if target not in known.ways:
            self._count(known.requester, 1)
        known.ways[self._once(target)] = self._once(way)
        return True

    def _once(self, name: str) -> str:
        """The same names come with every action: each is kept once."""
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        return self._names.setdefault(name, name)

    def _count(self, requester: str, entries: int) -> None:
        self._entries += entries
        self._requesters.add(requester, entries)
