"""Questions to an issuer on their way (SPEC 6.5): a relay passes them up and the answers back down.

Guarantees: an answer goes to who asked and to nobody else; what strangers ask is little and seldom, and what is passed
on is bounded; nothing is kept beyond its time. What a question says is between its sender and the issuer: a relay
looks at nothing but the issuer's name, and adds by which key it was asked.
"""

from __future__ import annotations

from fabric.protocol.access.rates import Rates
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ASK_MS, ASKED_MAX, JOINS_PER_S, KNOCKS_MAX, STRANGERS_PER_S
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import Ask, Event, Ready
from fabric.protocol.enrolment.questions import Questions
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.following import Following
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Join, Joined, Role


class Asking(Following):
    def set_up(self) -> None:
        super().set_up()
        self.questions = Questions()
        # Of others: who asked (the link's number), and until when the answer goes there. Strangers are one source.
        self._asked: Shared[bytes, tuple[int, int]] = Shared(ASKED_MAX)
        self._asking_rates = Rates()
        self._strangers_rates = Rates()  # however many keys they make, they fill only these

    # -- this relay's own ---------------------------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        if isinstance(event, Ask):
            self._ask(self.questions.add(event, self.me.curve_key, now_ms), ready)
        else:
            super().on_event(event, now_ms, ready)

    def _ask(self, frame: Join, ready: Ready) -> None:
        link = self._towards(frame.issuer)
        if link is not None:
            self.send(link, frame, ready)

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        for frame in self.questions.due(now_ms):
            self._ask(frame, ready)
        ready.deliver += self.questions.over(now_ms)
        for id_, (_, until_ms), _ in list(self._asked.items()):
            if now_ms >= until_ms:
                self._asked.pop(id_)

    # -- others' ------------------------------------------------------------------------------------------

    def on_join(self, link: Link, frame: Join, now_ms: int, ready: Ready) -> None:
        stranger = link.state is State.WAITING
        if not stranger and link.peer_role == Role.PARENT:
            self.refuse(link, Reject(Code.WRONG_DIRECTION, "questions to issuers come from below"), now_ms, ready)
            return
        if stranger or link.peer_role == Role.POINT:
            frame = frame._replace(key=link.peer_key)
        if stranger:
            link.knocks += 1
            if link.knocks > KNOCKS_MAX:
                self.refuse(link, Reject(Code.NOT_READY, "it only asks"), now_ms, ready)
                return
        problem = self._cannot_pass(link, frame, stranger, now_ms)
        if problem is None:
            above = self._towards(frame.issuer)
            if above is not None and not self._asked.put(frame.id, (link.number, now_ms + ASK_MS), _whose(link)):
                problem = Reject(Code.BUSY, "too many ask at once")
            elif above is not None:
                if stranger:
                    link.since_ms = now_ms  # who waits for an answer need not say HELLO meanwhile
                self.count("asked", "stranger" if stranger else link.peer_role.name.lower())
                self.send(above, frame, ready)
                return
            else:
                problem = self._no_issuer(frame.issuer)
        self.count("refused", problem.code.reason)
        self.send(link, Joined(frame.id, problem.code, problem.detail, b""), ready)

    def _cannot_pass(self, link: Link, frame: Join, stranger: bool, now_ms: int) -> Reject | None:
        asker = self._asked.get(frame.id)
        if asker is not None and asker[0] != link.number and asker[0] in self.links:
            return Reject(Code.BUSY, "asked by another")
        # Who asks without end uses up its own rate first; what strangers ask together is bounded too.
        whose = f"stranger {link.peer_key.hex()}" if stranger else _whose(link)
        rates = self._strangers_rates if stranger else self._asking_rates
        if not rates.allow(whose, 1, JOINS_PER_S, now_ms) or (
            stranger and not rates.allow("strangers", 1, STRANGERS_PER_S, now_ms)
        ):
            return Reject(Code.BUSY, "too many ask at once")
        return None

    def _towards(self, issuer: str) -> Link | None:
        """The issuer itself where it is here, else the parent."""
        for link in self.by_destination.values():
            if link.is_open and link.peer is not None and _is_issuer(link) and link.peer.id == issuer:
                return link
        return self.by_destination.get(UPLINK)

    def _no_issuer(self, issuer: str) -> Reject:
        if self.is_root:
            return Reject(Code.NO_ISSUER, issuer)
        return Reject(Code.BUSY, f"{self.me.id} has no parent now")

    def on_joined(self, link: Link, frame: Joined, now_ms: int, ready: Ready) -> None:
        if link.peer_role != Role.PARENT and not _is_issuer(link):
            self.refuse(link, Reject(Code.WRONG_ROLE, "issuers answer"), now_ms, ready)
            return
        answered = self.questions.answered(frame)
        if answered is not None:
            ready.deliver.append(answered)
            return
        number, until_ms = self._asked.pop(frame.id) or (0, 0)
        asker = self.links.get(number)
        if asker is not None and now_ms < until_ms:
            self.send(asker, frame, ready)


def _whose(link: Link) -> str:
    """The source that a question counts for: the node, however many sessions it has, or all strangers together."""
    return link.peer.id if link.is_open and link.peer is not None else ""


def _is_issuer(link: Link) -> bool:
    return link.peer is not None and link.peer_role == Role.POINT and link.peer.kind is NodeKind.ISSUER
