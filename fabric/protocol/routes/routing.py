"""Routes (SPEC 7.6): who is below, at which relay, what they execute and subscribe to.

Every node says for itself where it is (`attachments`): a control point at which relay, a relay below which parent. The
way to a node follows from these statements alone, not from the link by which they came, so their order does not matter.
Guarantees: the highest epoch wins; a withdrawal removes its own epoch or older. One node has few
sessions, and a node, or an issuer with all its members, at most what is left of the room. Iteration is in order of
arrival, never of a set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import HOPS_MAX, ROUTES_WEIGHT_MAX, SESSIONS_PER_ID_MAX
from fabric.protocol.base.shares import Holdings, beyond_share
from fabric.protocol.custody.sessions import child_relay, is_point, node_of, point_session, session_of
from fabric.protocol.routes.attachments import Attachment, RouteKey, open_attachment
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.topics import TopicIndex


class Change(Enum):
    """What a statement is to the table, beside what is known of its node and session."""

    NEW = "new"
    SAME = "same"
    OLDER = "older"  # something newer is known


class RouteTable:
    """Everything below the relay `me`. Destinations are the outbox's: "relay:ID" or "point:ID/SESSION"."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._points: dict[RouteKey, Attachment] = {}
        self._relays: dict[str, Attachment] = {}  # a relay is in one place, whatever its sessions
        self._sessions_of: dict[str, dict[RouteKey, None]] = {}
        self._interest: TopicIndex[RouteKey] = TopicIndex()
        self._elsewhere: dict[RouteKey, None] = {}  # not below when it was last looked
        self._at: dict[str, dict[bytes, Attachment]] = {}  # by the relay that they name, and as they were signed
        self._raw: dict[bytes, Attachment] = {}
        self._weights: Holdings[str] = Holdings()  # by whose they are
        self._weight = 0

    def __len__(self) -> int:
        """Sessions of control points."""
        return len(self._points)

    def put(self, attachment: Attachment) -> Change:
        known = self.newest(attachment)
        if known is not None:
            if attachment.epoch < known.epoch:
                return Change.OLDER
            if attachment.raw == known.raw:
                return Change.SAME
            self.forget(known)
        self._at.setdefault(attachment.relay, {})[attachment.raw] = attachment
        self._raw[attachment.raw] = attachment
        self._weigh(attachment, 1)
        if attachment.is_relay:
            self._relays[attachment.node] = attachment
            return Change.NEW
        self._points[attachment.key] = attachment
        self._sessions_of.setdefault(attachment.node, {})[attachment.key] = None
        for pattern in attachment.subscriptions:
            self._interest.add(pattern, attachment.key)
        return Change.NEW

    def forget(self, attachment: Attachment) -> None:
        at = self._at[attachment.relay]
        del at[attachment.raw]
        if not at:
            del self._at[attachment.relay]
        del self._raw[attachment.raw]
        self._weigh(attachment, -1)
        if attachment.is_relay:
            del self._relays[attachment.node]
            return
        key = attachment.key
        del self._points[key]
        for pattern in attachment.subscriptions:
            self._interest.discard(pattern, key)
        sessions = self._sessions_of[key[0]]
        del sessions[key]
        if not sessions:
            del self._sessions_of[key[0]]

    # -- how many -----------------------------------------------------------------------------------------

    def held(self, raw: bytes) -> Attachment | None:
        """The same statement, byte for byte, if it is known: it was verified then."""
        return self._raw.get(raw)

    def surplus(self, attachment: Attachment) -> Attachment | None:
        """Which of a node's sessions is one too many when this is a new one: that with the lowest epoch, perhaps it."""
        if attachment.is_relay or attachment.key in self._points:
            return None
        sessions = [self._points[key] for key in self._sessions_of.get(attachment.node, ())]
        if len(sessions) < SESSIONS_PER_ID_MAX:
            return None
        return min([*sessions, attachment], key=lambda each: each.epoch)

    def has_room(self, attachment: Attachment) -> bool:
        """Whether its node, or the issuer that vouches for it, has less than what is left."""
        known = self.newest(attachment)
        spared = 0 if known is None else _weight_of(known)
        held = self._weights[_whose(attachment)] - spared
        return not beyond_share(held, _weight_of(attachment), ROUTES_WEIGHT_MAX - (self._weight - spared))

    def _weigh(self, attachment: Attachment, sign: int) -> None:
        weight = sign * _weight_of(attachment)
        self._weight += weight
        self._weights.add(_whose(attachment), weight)

    # -- who ----------------------------------------------------------------------------------------------

    def all(self) -> Iterator[Attachment]:
        """Relays first, the nearest before those below them: whoever is told in this order knows every way at once."""
        yield from sorted(self._relays.values(), key=lambda relay: (relay.node != self._me, len(self._above(relay))))
        yield from self._points.values()

    def prune(self) -> None:
        """Forget who was not below at the last call either."""
        elsewhere = {a.key: None for a in self.all() if a.node != self._me and not self.via(a)}
        for key in self._elsewhere:
            if key in elsewhere and (known := self.get(key)) is not None:
                self.forget(known)
        self._elsewhere = elsewhere

    def get(self, key: RouteKey) -> Attachment | None:
        relay = self._relays.get(key[0])
        return relay if relay is not None and relay.session == key[1] else self._points.get(key)

    def of_relay(self, relay: str) -> Attachment | None:
        """What is known of a relay, whatever its session."""
        return self._relays.get(relay)

    def newest(self, attachment: Attachment) -> Attachment | None:
        """What is known already of the same relay, or the same session of a control point."""
        return self._relays.get(attachment.node) if attachment.is_relay else self._points.get(attachment.key)

    def of_node(self, node: str) -> list[Attachment]:
        relay = self._relays.get(node)
        return [relay] if relay is not None else [self._points[key] for key in self._sessions_of.get(node, ())]

    def is_below(self, node: str) -> bool:
        """Whether it is known to be below, by its own word and that of those between."""
        return any(self.via(attachment) for attachment in self.of_node(node))

    def executor(self, node: str) -> Attachment | None:
        """The one session of a node that executes: the newest that says so."""
        best: Attachment | None = None
        for attachment in self.of_node(node):
            if attachment.executes and (best is None or attachment.epoch > best.epoch):
                best = attachment
        return best

    def executors(self) -> list[Attachment]:
        found = [self.executor(node) for node in self._sessions_of]
        return [attachment for attachment in found if attachment is not None]

    def interested(self, topic: str) -> list[Attachment]:
        return [self._points[key] for key in self._interest.match(topic)]

    # -- where --------------------------------------------------------------------------------------------

    def via(self, attachment: Attachment) -> str:
        """The destination that leads there; empty when it is not, or not known to be, below."""
        if attachment.relay == self._me:
            return child_relay(attachment.node) if attachment.is_relay else point_session(*attachment.key)
        relay = attachment.relay
        for _ in range(HOPS_MAX):
            above = self._relays.get(relay)
            if above is None:
                return ""
            if above.relay == self._me:
                return child_relay(relay)
            relay = above.relay
        return ""

    def between(self, attachment: Attachment) -> tuple[str, ...]:
        """The relays between it and the child of this relay that leads there, the nearest to it first."""
        chain = self._above(attachment)
        return tuple(chain[: max(0, chain.index(self._me) - 1)]) if self._me in chain else ()

    def below(self, destination: str) -> list[Attachment]:
        """Everything that this destination leads to. What that costs is bounded by it, not by the table."""
        if is_point(destination):
            point = self._points.get(session_of(destination))
            found = [] if point is None else [point]
        else:
            child = node_of(destination)
            relay = self._relays.get(child)
            found = [*([] if relay is None else [relay]), *self.below_relay(child)]
        return [attachment for attachment in found if self.via(attachment) == destination]

    def below_relay(self, relay: str) -> list[Attachment]:
        """The statements of everybody whose way leads over this relay: relays first, the nearest before the others."""
        relays: list[Attachment] = []
        points: list[Attachment] = []
        level, seen = [relay], {relay: None}
        for _ in range(HOPS_MAX):
            here = [attachment for name in level for attachment in self._at.get(name, {}).values()]
            points += [attachment for attachment in here if not attachment.is_relay]
            deeper = [a for a in here if a.is_relay and a.node not in seen]
            if not deeper:
                break
            relays += deeper
            seen.update(dict.fromkeys(a.node for a in deeper))
            level = [a.node for a in deeper]
        return [*relays, *points]

    def _above(self, attachment: Attachment) -> list[str]:
        """The relays above it as far as they are known, its own first."""
        chain = [attachment.relay]
        while len(chain) < HOPS_MAX and (above := self._relays.get(chain[-1])) is not None:
            chain.append(above.relay)
        return chain


class AttachmentReader:
    """Opens the attachments of one frame. What is known byte for byte, or stood there before, costs no signature."""

    def __init__(self, table: RouteTable, credentials: Mapping[bytes, Credential]) -> None:
        self._table = table
        self._credentials = credentials
        self._read: dict[bytes, Attachment | Reject] = {}
        self._moved: dict[str, bytes] = {}  # relays of this frame
        self.forged = 0  # each once

    def read(self, raw: bytes) -> Attachment | Reject:
        opened = self._read.get(raw)
        if opened is None:
            opened = self._read[raw] = self._open(raw)
            self.forged += isinstance(opened, Reject) and opened.code is Code.BAD_SIGNATURE
        # A relay that moves takes along whoever is below it, which is work: one statement of each relay in a frame.
        match opened:
            case Attachment(is_relay=True) if self._moved.setdefault(opened.node, raw) != raw:
                return Reject(Code.BUSY, opened.node)
        return opened

    def _open(self, raw: bytes) -> Attachment | Reject:
        held = self._table.held(raw)
        if held is not None and held.credential.digest in self._credentials:
            return held
        return open_attachment(raw, self._credentials)


def _whose(attachment: Attachment) -> str:
    """Who shares the room with others: a node, and for those that an issuer vouches for that issuer."""
    voucher = attachment.credential.voucher
    return f"issuer {voucher}" if voucher else attachment.node


def _weight_of(attachment: Attachment) -> int:
    """What it takes of the room: it, and every token of its patterns."""
    return 2 + sum(pattern.count(".") + 1 for pattern in attachment.subscriptions)
