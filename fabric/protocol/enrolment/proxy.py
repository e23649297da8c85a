"""Questions to issuers at a relay (SPEC 6.5): it asks its own, and forwards those of others up and the answers down.
So it does with questions about who somebody is, which are to no issuer: it answers what it knows, and adds whom the
node that asked it may address.

Guarantees: an answer goes to the link that asked and to no other; strangers may ask little and seldom, what is passed
on is bounded, and nothing is kept beyond its time. A question is between its sender and the issuer: a relay reads
nothing of it but the issuer's name, and adds the key of the connection that asked. Refuses questions from the parent,
answers from anybody but the parent and issuers, and more than its share from any source.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from fabric.protocol.access.rates import Rates
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ASK_MS, ASKED_MAX, JOINS_PER_S, KNOCKS_MAX, SELECTORS_PER_S, STRANGERS_PER_S
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import Ask, Ready
from fabric.protocol.enrolment.questions import Questions
from fabric.protocol.enrolment.recipients import (
    NO_ISSUER_NAME,
    Found,
    Wanted,
    decode_found,
    decode_wanted,
    encode_wanted,
)
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.wire.frames import Join, Joined, Role

# Whose rate it is that all share; nobody has this id.
_EVERYBODY: Final = ""


class Knows(Protocol):
    """Who knows the credentials of others."""

    def answer(self, wanted: Wanted, now_ms: int) -> bytes | None:
        """None where somebody above may know more."""
        ...

    def of(self, asker: Credential, wanted: Wanted) -> Wanted:
        """The question of a node that is connected here, for those whom it may address."""
        ...

    def only_for(self, asker: Credential, found: Found) -> bytes | Reject:
        """The same answer without those whom this node may not address; why not, where that would be no answer."""
        ...


class _Asked(NamedTuple):
    """By which link a question came, until when its answer goes there, and whether it is about who somebody is."""

    link: int
    until_ms: int
    for_somebody: bool


class EnrolmentProxy:
    """`me` and `curve_key`: the id and the key of this relay, which a renewal leaves as they are."""

    def __init__(self, me: str, curve_key: bytes, port: LinkPort, recipients: Knows, *, is_root: bool) -> None:
        self._me = me
        self._recipients = recipients
        self._curve_key = curve_key
        self._port = port
        self._is_root = is_root
        self._questions = Questions()
        self._asked: Shared[bytes, _Asked] = Shared(ASKED_MAX)  # of others; strangers are one source
        self._rates = Rates()
        self._strangers_rates = Rates()  # however many keys they make, they fill only these

    @property
    def under_way(self) -> int:
        """How many questions of others wait for their answer."""
        return len(self._asked)

    # -- this relay's own ---------------------------------------------------------------------------------

    def ask(self, event: Ask, now_ms: int, ready: Ready) -> None:
        """A question of this relay's own, repeated until it is answered or its time is over."""
        self._send_own(self._questions.add(event, self._curve_key, now_ms), ready)

    def _send_own(self, frame: Join, ready: Ready) -> None:
        link = self._towards(frame.issuer)
        if link is not None:
            self._port.send(link, frame, ready)

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: repeat the own questions that are due, and end whatever has run out."""
        for frame in self._questions.due(now_ms):
            self._send_own(frame, ready)
        ready.deliver += self._questions.over(now_ms)
        for id_, asked, _ in list(self._asked.items()):
            if now_ms >= asked.until_ms:
                self._asked.pop(id_)

    # -- others' ------------------------------------------------------------------------------------------

    def question(self, link: Link, frame: Join, now_ms: int, ready: Ready) -> None:
        """A peer, or a stranger, asks: pass it on towards the issuer, or say why not."""
        stranger = link.state is State.WAITING
        if not stranger and link.peer_role == Role.PARENT:
            wrong = Reject(Code.WRONG_DIRECTION, "questions to issuers come from below")
            self._port.refuse(link, wrong, now_ms, ready)
            return
        if stranger or link.peer_role == Role.POINT:
            frame = frame._replace(key=link.peer_key)
        if stranger and link.knock() > KNOCKS_MAX:
            self._port.refuse(link, Reject(Code.NOT_READY, "it only asks"), now_ms, ready)
            return
        problem = self._cannot_pass(link, frame, stranger, now_ms) or (
            self._pass(link, frame, stranger, now_ms, ready)
            if frame.issuer != NO_ISSUER_NAME else self._find(link, frame, stranger, now_ms, ready)
        )
        if problem is not None:
            self._port.count("refused", problem.code.reason)
            self._port.send(link, Joined(frame.id, problem.code, problem.detail, b""), ready)

    def _cannot_pass(self, link: Link, frame: Join, stranger: bool, now_ms: int) -> Reject | None:
        asker = self._asked.get(frame.id)
        if asker is not None and asker.link != link.number and asker.link in self._port.links:
            return Reject(Code.BUSY, "asked by another")
        # Who asks without end uses up its own rate first; what strangers ask together is bounded too.
        source = f"stranger {link.peer_key.hex()}" if stranger else _source_of(link)
        rates = self._strangers_rates if stranger else self._rates
        if not rates.allow(source, 1, JOINS_PER_S, now_ms) or (
            stranger and not rates.allow("strangers", 1, STRANGERS_PER_S, now_ms)
        ):
            return Reject(Code.BUSY, "too many ask at once")
        return None

    def _find(self, link: Link, frame: Join, stranger: bool, now_ms: int, ready: Ready) -> Reject | None:
        """Say who somebody is, or ask above."""
        if stranger:
            return Reject(Code.NO_ISSUER, "only who is in asks who somebody is")
        wanted = decode_wanted(frame.request)
        if isinstance(wanted, Reject):
            return wanted
        if wanted.to and not self._rates.allow(_EVERYBODY, 1, SELECTORS_PER_S, now_ms):
            return Reject(Code.BUSY, "too many ask at once")
        if link.peer_role != Role.CHILD and link.peer is not None:
            wanted = self._recipients.of(link.peer, wanted)
            frame = frame._replace(request=encode_wanted(wanted))
        answer = self._recipients.answer(wanted, now_ms)
        if answer is None:
            return self._pass(link, frame, stranger, now_ms, ready)
        self._port.send(link, self._fitted(link, Joined(frame.id, None, "", answer)), ready)
        return None

    def _fitted(self, link: Link, frame: Joined) -> Joined:
        """Of an answer, what whoever asked may know. A child does that for its own."""
        found = decode_found(frame.answer)
        if link.peer_role == Role.CHILD or link.peer is None or isinstance(found, Reject):
            return frame
        fitted = self._recipients.only_for(link.peer, found)
        if isinstance(fitted, Reject):
            return Joined(frame.id, fitted.code, fitted.detail, b"")
        return frame._replace(answer=fitted)

    def _pass(self, link: Link, frame: Join, stranger: bool, now_ms: int, ready: Ready) -> Reject | None:
        above = self._towards(frame.issuer)
        if above is None:
            return self._no_issuer(frame.issuer)
        asked = _Asked(link.number, now_ms + ASK_MS, frame.issuer == NO_ISSUER_NAME)
        if not self._asked.put(frame.id, asked, _source_of(link)):
            return Reject(Code.BUSY, "too many ask at once")
        if stranger:
            link.wait_anew(now_ms)
        self._port.count("asked", "stranger" if stranger else link.peer_role.name.lower())
        self._port.send(above, frame, ready)
        return None

    def _towards(self, issuer: str) -> Link | None:
        """The issuer itself where it is connected here, else the parent."""
        for link in self._port.by_destination.values():
            if link.is_open and link.peer is not None and _is_issuer(link) and link.peer.id == issuer:
                return link
        return self._port.by_destination.get(UPLINK)

    def _no_issuer(self, issuer: str) -> Reject:
        if self._is_root:
            return Reject(Code.NO_ISSUER, issuer)
        return Reject(Code.BUSY, f"{self._me} has no parent now")

    def answer(self, link: Link, frame: Joined, now_ms: int, ready: Ready) -> None:
        """An answer comes: it is for this relay, or for the link that asked, if that is still there and in time."""
        if link.peer_role != Role.PARENT and not _is_issuer(link):
            self._port.refuse(link, Reject(Code.WRONG_ROLE, "issuers answer"), now_ms, ready)
            return
        answered = self._questions.answered(frame)
        if answered is not None:
            ready.deliver.append(answered)
            return
        asked = self._asked.pop(frame.id)
        asker = None if asked is None else self._port.links.get(asked.link)
        if asked is None or asker is None or now_ms >= asked.until_ms:
            return
        if asked.for_somebody and frame.code is None:
            frame = self._fitted(asker, frame)
        self._port.send(asker, frame, ready)


def _source_of(link: Link) -> str:
    """Whose share a question counts against: the node's, however many sessions it has; of all strangers together."""
    return link.peer.id if link.is_open and link.peer is not None else ""


def _is_issuer(link: Link) -> bool:
    return link.peer is not None and link.peer_role == Role.POINT and link.peer.kind is NodeKind.ISSUER
