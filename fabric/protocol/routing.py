"""Routes (SPEC 7.6): who is below, through which link, what they execute and subscribe to.

Guarantees: an attachment is signed by the node that it names, so no relay can invent one; the highest epoch of a
node's session wins; a withdrawal removes its own epoch only. Iteration is in order of arrival, never of a set.
Refuses: attachments that are not the node's, and verbs or subscriptions beyond its grants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fabric.protocol import signing
from fabric.protocol.codec import pack, unpack
from fabric.protocol.credentials import Credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import (
    CREDENTIAL_BYTES_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    SESSION_KEEP_MS_MAX,
    SUBSCRIPTIONS_MAX,
)
from fabric.protocol.permissions import check_subscribe
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
        return Reject(Code.UNKNOWN_SIGNER)
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


@dataclass(slots=True)
class Route:
    attachment: Attachment
    via: str  # the destination that leads there: a child relay, or a session of a control point here


class RouteTable:
    """Everything below a relay. Destinations are the outbox's: "relay:ID" or "point:ID/SESSION"."""

    def __init__(self) -> None:
        self._routes: dict[RouteKey, Route] = {}
        self._sessions: dict[str, dict[RouteKey, None]] = {}
        self._interest: TopicIndex[RouteKey] = TopicIndex()

    def __len__(self) -> int:
        return len(self._routes)

    def put(self, attachment: Attachment, via: str) -> bool:
        """True when the table changed; an older epoch of the same session changes nothing."""
        known = self._routes.get(attachment.key)
        if known is not None:
            if attachment.epoch < known.attachment.epoch:
                return False
            if known.attachment.raw == attachment.raw and known.via == via:
                return False
            self._forget(attachment.key)
        self._routes[attachment.key] = Route(attachment, via)
        self._sessions.setdefault(attachment.node, {})[attachment.key] = None
        for pattern in attachment.subscriptions:
            self._interest.add(pattern, attachment.key)
        return True

    def withdraw(self, node: str, session: bytes, epoch: int, via: str) -> bool:
        """Remove what this destination said, if it is not newer than the withdrawal."""
        known = self._routes.get((node, session))
        if known is None or known.via != via or known.attachment.epoch > epoch:
            return False
        self._forget((node, session))
        return True

    def forget_via(self, via: str) -> list[Route]:
        """Remove everything that this destination leads to, and return it."""
        gone = [route for route in self._routes.values() if route.via == via]
        for route in gone:
            self._forget(route.attachment.key)
        return gone

    def _forget(self, key: RouteKey) -> None:
        route = self._routes.pop(key)
        for pattern in route.attachment.subscriptions:
            self._interest.discard(pattern, key)
        sessions = self._sessions[key[0]]
        del sessions[key]
        if not sessions:
            del self._sessions[key[0]]

    def all(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def of_node(self, node: str) -> list[Route]:
        return [self._routes[key] for key in self._sessions.get(node, ())]

    def get(self, key: RouteKey) -> Route | None:
        return self._routes.get(key)

    def executor(self, node: str) -> Route | None:
        """The one session of a node that executes: the newest that says so."""
        best: Route | None = None
        for route in self.of_node(node):
            newer = best is None or route.attachment.epoch > best.attachment.epoch
            if route.attachment.executes and newer:
                best = route
        return best

    def executors(self) -> list[Route]:
        found = [self.executor(node) for node in self._sessions]
        return [route for route in found if route is not None]

    def interested(self, topic: str) -> list[Route]:
        return [self._routes[key] for key in self._interest.match(topic)]
