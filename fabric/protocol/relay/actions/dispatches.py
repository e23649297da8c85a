"""Who was handed which action, by which way (SPEC 7.8, 9.3): what a relay must know to judge what comes back.

Guarantees: whether a result's origin was a target, and whether what is given back went to who gives it back, is known
for as long as a slow handler may take; nobody's entries are forgotten to make room for others'. The memory is bounded
by taking in no new actions (`full`), and shared: who requests much leaves room for the actions of others. Where an
action turned it is known for as long as its effect lasts, too: from an hour after its time on in a room beside that,
where a requester's own oldest go first, so that no effect that lasts keeps anybody from asking for another.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from fabric.protocol.base.codec import pack
from fabric.protocol.base.limits import DISPATCHES_MAX, ID_BYTES, LASTING_MAX, LEASE_MS_MAX, SLOW_HANDLER_MS, TTL_MAX_MS
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ready import KeepDispatch, Ready
from fabric.protocol.custody.sessions import UNSENT
from fabric.protocol.envelope.header import Header
from fabric.protocol.vocabulary.tlp import Audience, Label

# More names than that are shared by few actions, and nothing is lost with them.
_NAMES_MAX = 65_536
# The entry that says that an action turned here stands under no target's name.
_TURNED = ""


@dataclass(slots=True)
class _Handed:
    requester: str
    label: Label
    until_ms: int  # results may come until then
    ways: dict[str, str] = field(default_factory=dict)  # target -> destination
    between: dict[str, str] = field(default_factory=dict)  # target -> the relays on the way to it then, if any
    audience: bytes = b""  # its digest; empty where it is not known
    lasts_ms: int = 0  # its effect, beyond that
    is_lasting: bool = False  # it is beyond that


@lru_cache(maxsize=256)  # an action goes to many targets, and most have the requester's own
def _digest_of(audience: Audience) -> bytes:
    names = [audience.organisations, audience.communities, audience.recipients]
    return hashlib.sha256(pack([list(each) for each in names])).digest()[:ID_BYTES]


class Dispatches:
    """An entry is one target of one action; that an action turned here is one as well."""

    def __init__(self, entries_max: int = DISPATCHES_MAX, lasting_max: int = LASTING_MAX) -> None:
        self._actions: dict[bytes, _Handed] = {}  # by the action's full digest
        self._deadlines: list[tuple[int, bytes]] = []
        self._entries_max = entries_max
        self._entries = 0
        self._requesters: Holdings[str] = Holdings()
        self._lasting_max = lasting_max
        self._lasting = 0
        self._lasting_of: Holdings[str] = Holdings()
        self._lasting_ids: dict[str, dict[bytes, None]] = {}  # of each requester, in the order in which they turned
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        """Without those of which only the effect lasts."""
        return self._entries

    @property
    def lasting(self) -> int:
        """How many there are of these."""
        return self._lasting

    def full(self, requester: str, entries: int) -> bool:
        """Whether an action of this requester that may need so many entries is not taken in now."""
        return beyond_share(self._requesters[requester], entries, self._entries_max - self._entries, LARGE_SHARE)

    def turned(self, digest: bytes, header: Header, now_ms: int, ready: Ready, lasts_ms: int = 0) -> None:
        """An action turned here: what answers it and is no target's is refused. `lasts_ms`: what it is to do."""
        self._keep(digest, _TURNED, "", header, now_ms, ready, lasts_ms)

    def handed(
        self, digest: bytes, target: str, way: str, header: Header, now_ms: int, ready: Ready, between: str = ""
    ) -> None:
        """An action goes to a target by this destination now, over its child and these relays (`KeepDispatch`)."""
        self._keep(digest, target, way, header, now_ms, ready, between=between)

    def turned_here(self, digest: bytes) -> bool:
        known = self._actions.get(digest)
        return known is not None and _TURNED in known.ways

    def lasts(self, digest: bytes) -> bool:
        """Whether its effect may be in force where it was handed to."""
        known = self._actions.get(digest)
        return known is not None and known.lasts_ms > 0

    def knows(self, digest: bytes) -> bool:
        """Whether it turned here, or was handed to anybody from here."""
        return digest in self._actions

    def requester_of(self, digest: bytes) -> str:
        """Who asked for it; empty where that is not known."""
        known = self._actions.get(digest)
        return known.requester if known is not None else ""

    def had_it(self, digest: bytes) -> frozenset[str]:
        """To whom it may have gone from here."""
        known = self._actions.get(digest)
        ways = known.ways if known is not None else {}
        return frozenset(target for target, way in ways.items() if target and way not in UNSENT)

    def label_of(self, digest: bytes, target: str) -> Label | None:
        """The label of an action that was handed to this target; None where it was not."""
        known = self._actions.get(digest)
        return known.label if known is not None and target in known.ways else None

    def was_for_others(self, digest: bytes, audience: Audience) -> bool:
        """Whether the action is known to have had another audience than this."""
        known = self._actions.get(digest)
        return known is not None and known.audience not in (b"", _digest_of(audience))

    def ways(self, digest: bytes, targets: Iterable[str]) -> list[str]:
        """By which destinations the action went to these targets; empty for one to which it did not go."""
        known = self._actions.get(digest)
        return [known.ways.get(target, "") if known is not None else "" for target in targets]

    def was_between(self, digest: bytes, target: str, relay: str) -> bool:
        """Whether this relay was on the way to the target when the action was handed to it, below this one's child."""
        return relay in self.between(digest, target)

    def between(self, digest: bytes, target: str) -> list[str]:
        """The relays that were on the way then."""
        known = self._actions.get(digest)
        names = known.between.get(target, "") if known is not None else ""
        return names.split("/") if names else []

    def sweep(self, now_ms: int) -> None:
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            until_ms, digest = heapq.heappop(self._deadlines)
            known = self._actions.get(digest)
            if known is None or until_ms != known.until_ms + known.is_lasting * known.lasts_ms:
                continue
            if known.is_lasting or not known.lasts_ms:
                self._forget(digest, known)
                continue
            self._count(known.requester, -len(known.ways))
            known.is_lasting = True
            self._count(known.requester, len(known.ways), lasting=True)
            self._lasting_ids.setdefault(known.requester, {})[digest] = None
            heapq.heappush(self._deadlines, (known.until_ms + known.lasts_ms, digest))
            self._make_room(known.requester)

    def _make_room(self, requester: str) -> None:
        """Of those of which only the effect lasts: who has too many loses those that turned longest ago."""
        while beyond_share(self._lasting_of[requester], 0, self._lasting_max - self._lasting, LARGE_SHARE):
            oldest = next(iter(self._lasting_ids[requester]))
            self._forget(oldest, self._actions[oldest])

    def _forget(self, digest: bytes, known: _Handed) -> None:
        del self._actions[digest]
        self._count(known.requester, -len(known.ways), lasting=known.is_lasting)
        if known.is_lasting:
            own = self._lasting_ids[known.requester]
            del own[digest]
            if not own:
                del self._lasting_ids[known.requester]

    def restore(self, kept: KeepDispatch, now_ms: int) -> None:
        """What an earlier process kept. What another bound left beyond this one's is let go."""
        if self._entries >= self._entries_max or self._lasting >= self._lasting_max:
            return
        # The clock may have been set back while we were off.
        lasts_ms = min(kept.lasts_ms, LEASE_MS_MAX)
        until_ms = min(kept.until_ms - lasts_ms, now_ms + TTL_MAX_MS["action"] + SLOW_HANDLER_MS)
        handed = _Handed(kept.requester, Label(kept.label), until_ms, audience=kept.audience, lasts_ms=lasts_ms)
        handed.is_lasting = until_ms <= now_ms
        self._add(kept.digest, kept.target, kept.way, handed, kept.between)

    def _keep(
        self, digest: bytes, target: str, way: str, header: Header, now_ms: int, ready: Ready, lasts_ms: int = 0,
        between: str = "",
    ) -> None:
        until_ms, audience = now_ms + header.ttl_ms + SLOW_HANDLER_MS, _digest_of(header.audience)
        handed = _Handed(header.origin, header.label, until_ms, audience=audience, lasts_ms=lasts_ms)
        if self._add(digest, target, way, handed, between):
            if (known := self._actions[digest]).lasts_ms:  # all of it is known for as long
                until_ms, lasts_ms = max(until_ms, known.until_ms + known.lasts_ms), known.lasts_ms
            ready.persist.append(KeepDispatch(
                digest, target, int(header.label), until_ms, header.origin, way, lasts_ms, between, audience
            ))

    def _add(self, digest: bytes, target: str, way: str, handed: _Handed, between: str) -> bool:
        """Whether it is new, or by another way than before."""
        known = self._actions.get(digest)
        if known is None:
            known = self._actions[digest] = handed
            if handed.is_lasting:
                self._lasting_ids.setdefault(handed.requester, {})[digest] = None
            heapq.heappush(self._deadlines, (handed.until_ms + handed.is_lasting * handed.lasts_ms, digest))
        elif known.ways.get(target) == way and known.between.get(target, "") == between:
            return False
        if target not in known.ways:
            self._count(known.requester, 1, lasting=known.is_lasting)
        known.ways[self._once(target)] = self._once(way)
        if between:
            known.between[self._once(target)] = self._once(between)
        else:
            known.between.pop(target, None)
        return True

    def _once(self, name: str) -> str:
        """The same names come with every action: each is kept once."""
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        return self._names.setdefault(name, name)

    def _count(self, requester: str, entries: int, *, lasting: bool = False) -> None:
        if lasting:
            self._lasting += entries
            self._lasting_of.add(requester, entries)
        else:
            self._entries += entries
            self._requesters.add(requester, entries)
