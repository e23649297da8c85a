"""How far a node's own audit log goes, said to its parent (SPEC 9.10): signed heads, and what the parent says to them.

Guarantees: a head is signed here only for what the driver says that the log is; a counter-signature counts only from
the parent, for the head that was sent to it. A parent that does not know heads is sent none.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.audit import kinds
from fabric.protocol.audit.heads import Head, Witness, open_witness, read_head, sign_head
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base import signing
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import LogGrown, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import Grown, Role, Witnessed


class LogHeads:
    """`me`: under which credential heads are signed. `fabric_now`: the root's time."""

    def __init__(
        self, me: Credential, signer: signing.Signs, port: LinkPort, fabric_now: Callable[[int], int]
    ) -> None:
        self._me = me
        self._signer = signer
        self._port = port
        self._fabric_now = fabric_now
        self._known: tuple[int, int] | None = None  # the parent's link, and how far it knows the log
        self._sent: Head | None = None
        self._shown = b""  # digest of the parent's credential that the log has from this process

    @property
    def known_above(self) -> int | None:
        """Up to which entry the present parent knows the log; None where it takes no heads, or none is there."""
        link = self._port.by_destination.get(UPLINK)
        if self._known is None or link is None or link.number != self._known[0]:
            return None
        return self._known[1]

    def renewed(self, me: Credential) -> None:
        """This node goes on under a newer credential."""
        self._me = me

    def told(self, link: Link, known: int | None) -> None:
        """The parent says in a PONG how far it knows the log."""
        self._known = None if known is None else (link.number, known)

    def grown(self, log: LogGrown, now_ms: int, ready: Ready) -> None:
        """The driver says how far the log goes: a head is signed, and sent where somebody takes it."""
        raw = sign_head(self._me, self._signer, log.log, log.number, log.hash, self._fabric_now(now_ms))
        head = read_head(raw)
        assert isinstance(head, Head), "it was signed here"
        self._sent = head
        ready.audit.append(Audited(kinds.LOG_HEAD, "", {"number": log.number, "head": raw}))
        link = self._port.by_destination.get(UPLINK)
        if link is not None and self.known_above is not None:
            self._port.send(link, Grown(raw, log.since, list(log.digests)), ready)

    def seen(self, link: Link, frame: Witnessed, now_ms: int, ready: Ready) -> None:
        """The parent says what it makes of a head."""
        if link.peer_role != Role.PARENT or link.peer is None:
            wrong = Reject(Code.WRONG_DIRECTION, "heads are counter-signed by the parent")
            self._port.refuse(link, wrong, now_ms, ready)
            return
        head = self._sent
        witness = open_witness(frame.witness, link.peer)
        if head is None or not isinstance(witness, Witness) or witness.head != head.digest:
            return  # of an earlier head, or of none
        if self._known is not None and self._known[0] == link.number:
            self._known = link.number, head.number
        fields: dict[str, kinds.Value] = {"number": head.number, "head": head.raw, "witness": frame.witness}
        if self._shown != witness.signer:
            self._shown = witness.signer
            fields["credential"] = link.peer.raw
        if frame.code is not None:
            fields["code"] = frame.code.label
        ready.audit.append(Audited(kinds.LOG_WITNESSED, link.peer.id, fields))
        self._sent = None
