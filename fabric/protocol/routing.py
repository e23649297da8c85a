"""Routes (SPEC 7.6): who is below, at which relay, what they execute and subscribe to.

Every node says for itself where it is: a control point at which relay, a relay below which parent. The way to somebody
follows from these statements alone, not from the link that one came by, so it does not matter in which order they
arrive. Guarantees: a statement is signed by the node that it names, so no relay can invent one or draw away what is
another's; the highest epoch wins; a withdrawal removes its own epoch or older. Iteration is in order of arrival, never
of a set. Refuses: statements that are not the node's, and verbs or subscriptions beyond its grants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from fabric.protocol import signing
from fabric.protocol.codec import pack, unpack
from fabric.protocol.credentials import Credential, NodeKind
from fabric.protocol.errors import Code, Reject
from fabric.protocol.known import unknown
from fabric.protocol.limits import (
    CREDENTIAL_BYTES_MAX,
    HOPS_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    SESSION_KEEP_MS_MAX,
    SUBSCRIPTIONS_MAX,
)
from fabric.protocol.permissions import check_subscribe
from fabric.protocol.sessions import child_relay, point_session
from fabric.protocol.topics import TopicIndex, check_pattern
from fabric.protocol.wire import SESSION_BYTES

RouteKey = tuple[str, bytes]  # node, session
# It comes back in a withdrawal, whose integers are bounded like all others.
EPOCH_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's own statement: here I am, under this relay, since this epoch (ms), and this is what I take."""

    node: str
    session: bytes
    relay: str
    epoch: int
    executes: bool
    subscriptions: tuple[str, ...]
    credential: Credential
    raw: bytes
    keep_ms: int = 0

    @property
    def key(self) -> RouteKey:
        return (self.node, self.session)

    @property
    def is_relay(self) -> bool:
        """A relay says only where it is: below `relay`."""
        return self.credential.kind is NodeKind.RELAY


def sign_attachment(
    credential: Credential,
    signer: signing.Signer,
    session: bytes,
    relay: str,
    epoch: int,
    executes: bool,
    subscriptions: tuple[str, ...],
    keep_ms: int = 0,
) -> bytes:
    keep = [keep_ms] if keep_ms else []
    body = pack([1, credential.fabric, credential.id, session, relay, epoch, executes, list(subscriptions), *keep])
    return pack([credential.digest, body, signer.sign(signing.TYPE_ROUTE, body)])


def open_attachment(raw: bytes, credentials: Mapping[bytes, Credential]) -> Attachment | Reject:
    """Verify a node's statement. UNKNOWN_SIGNER when its credential has not been introduced."""
    outer = unpack(raw, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=8, depth_max=2)
    match outer:
        case [bytes(digest), bytes(body), bytes(signature), *_] if len(digest) == ID_BYTES:
            pass
        case _:
            return Reject(Code.MALFORMED, "attachment")
    credential = credentials.get(digest)
    if credential is None:
        return unknown(credentials, digest)
    if not signing.verify(credential.sign_key, signing.TYPE_ROUTE, body, signature):
        return Reject(Code.BAD_SIGNATURE, "attachment")
    fields = unpack(
        body, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=SUBSCRIPTIONS_MAX + 16, depth_max=3
    )
    match fields:
        case [
            1, str(fabric), str(node), bytes(session), str(relay), int(epoch), bool(executes), list(patterns), *more
        ] if (
            fabric == credential.fabric
            and node == credential.id
            and len(session) == SESSION_BYTES
            and 0 <= epoch <= EPOCH_MAX
            and len(relay) <= NAME_BYTES_MAX
            and len(patterns) <= SUBSCRIPTIONS_MAX
            and all(isinstance(p, str) for p in patterns)
        ):
            keep_ms = more[0] if more else 0
            # Whoever is away executes nothing: a session is one or the other.
            if type(keep_ms) is not int or not 0 <= keep_ms <= SESSION_KEEP_MS_MAX or (keep_ms and executes):
                return Reject(Code.MALFORMED, "attachment")
            attachment = Attachment(node, session, relay, epoch, executes, tuple(patterns), credential, raw, keep_ms)
            return _check_grants(attachment) or attachment
    return Reject(Code.MALFORMED, "attachment")


def _check_grants(attachment: Attachment) -> Reject | None:
    for pattern in attachment.subscriptions:
        problem = check_pattern(pattern) or check_subscribe(attachment.credential, pattern)
        if problem:
            return problem
    if attachment.executes and not attachment.credential.grants.execute:
        return Reject(Code.EXECUTE_DENIED, attachment.node)
    return None


class Change(Enum):
    NEW = "new"
    SAME = "same"
    OLDER = "older"  # something newer is known


class RouteTable:
    """Everything below the relay `me`. Destinations are the outbox's: "relay:ID" or "point:ID/SESSION"."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._points: dict[RouteKey, Attachment] = {}
        self._relays: dict[str, Attachment] = {}  # a relay is in one place, whatever its sessions
        self._sessions: dict[str, dict[RouteKey, None]] = {}
        self._interest: TopicIndex[RouteKey] = TopicIndex()
        self._elsewhere: dict[RouteKey, None] = {}  # not below when it was last looked

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
        if attachment.is_relay:
            self._relays[attachment.node] = attachment
            return Change.NEW
        self._points[attachment.key] = attachment
        self._sessions.setdefault(attachment.node, {})[attachment.key] = None
        for pattern in attachment.subscriptions:
            self._interest.add(pattern, attachment.key)
        return Change.NEW

    def forget(self, attachment: Attachment) -> None:
        if attachment.is_relay:
            del self._relays[attachment.node]
            return
        key = attachment.key
        del self._points[key]
        for pattern in attachment.subscriptions:
            self._interest.discard(pattern, key)
        sessions = self._sessions[key[0]]
        del sessions[key]
        if not sessions:
            del self._sessions[key[0]]

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

    def newest(self, attachment: Attachment) -> Attachment | None:
        """What is known already of the same relay, or the same session of a control point."""
        return self._relays.get(attachment.node) if attachment.is_relay else self._points.get(attachment.key)

    def of_node(self, node: str) -> list[Attachment]:
        relay = self._relays.get(node)
        return [relay] if relay is not None else [self._points[key] for key in self._sessions.get(node, ())]

    def executor(self, node: str) -> Attachment | None:
        """The one session of a node that executes: the newest that says so."""
        best: Attachment | None = None
        for attachment in self.of_node(node):
            if attachment.executes and (best is None or attachment.epoch > best.epoch):
                best = attachment
        return best

    def executors(self) -> list[Attachment]:
        found = [self.executor(node) for node in self._sessions]
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

    def below(self, destination: str) -> list[Attachment]:
        """Everything that this destination leads to."""
        return [attachment for attachment in self.all() if self.via(attachment) == destination]

    def at_or_below(self, relay: str) -> list[Attachment]:
        """The relay's own statement, and then those of everybody whose way leads over it."""
        below = [a for a in self.all() if relay in self._above(a) and not (a.is_relay and a.node == relay)]
        return [*self.of_node(relay), *below]

    def _above(self, attachment: Attachment) -> list[str]:
        """The relays above it as far as they are known, its own first."""
        chain = [attachment.relay]
        while len(chain) < HOPS_MAX and (above := self._relays.get(chain[-1])) is not None:
            chain.append(above.relay)
        return chain
