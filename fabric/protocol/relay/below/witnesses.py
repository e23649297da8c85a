"""How far the audit logs of those below go (SPEC 9.10): their newest heads, compared with what they said before.

Guarantees: a head that goes back, or says another entry where one was known, is in this relay's own log with both
heads, is counted, noted as an alarm, and named in its state; so is a log that is another one than before. What is
remembered of each, one head, is on disk before the counter-signature leaves. Nobody makes this relay write more than
one entry in `HEAD_MS_MIN`. Refuses heads from the parent, and those that are not signed by the peer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import grow
from fabric.protocol.audit.heads import Head, open_head, read_head, sign_witness
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base import signing
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import HEAD_MS_MIN, MEMBERS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import KeepHead, Note, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import Grown, Role, Witnessed

# Heads of a node that are known again if they come late.
_RECENT: Final = 4
# So long a log that was rewritten is named in the relay's state.
_NAMED_MS: Final = 7 * 86_400_000


class _Known:
    """What is known of the log of one node. `at_ms`: when it said so; -1 before it did in this process."""

    __slots__ = ("at_ms", "forked_ms", "head", "recent")

    def __init__(self, head: Head, forked_ms: int = 0) -> None:
        self.head = head
        self.forked_ms = forked_ms
        self.at_ms = -1
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT)


class Forked(NamedTuple):
    """The log of this node is not what it said before, since then by the fabric's time."""

    node: str
    since_ms: int


class Witnesses:
    """`me`: under which credential it counter-signs. `fabric_now`: the root's time."""

    def __init__(
        self, me: Credential, signer: signing.Signs, port: LinkPort, fabric_now: Callable[[int], int]
    ) -> None:
        self._me = me
        self._signer = signer
        self._port = port
        self._fabric_now = fabric_now
        self._known: Shared[str, _Known] = Shared(MEMBERS_MAX)

    def renewed(self, me: Credential) -> None:
        """This relay goes on under a newer credential."""
        self._me = me

    def known(self, link: Link) -> int | None:
        """For a PONG: up to which entry the log of this peer is known; None for the parent."""
        if link.peer is None or link.peer_role == Role.PARENT:
            return None
        known = self._known.get(link.peer.id)
        return 0 if known is None else known.head.number

    def forked(self, now_ms: int) -> list[Forked]:
        """Whose logs are not what they said before, of late."""
        since_ms = self._fabric_now(now_ms) - _NAMED_MS
        return [Forked(node, known.forked_ms) for node, known, _ in self._known.items() if known.forked_ms > since_ms]

    def restored(self, op: KeepHead) -> None:
        """This was read back from disk."""
        head = read_head(op.head)
        if isinstance(head, Head):
            self._known.put(op.node, _Known(head, op.forked_ms), op.voucher)

    def frame(self, link: Link, frame: Grown, now_ms: int, ready: Ready) -> None:
        """A peer says how far its log goes."""
        peer = link.peer
        if peer is None or link.peer_role == Role.PARENT:
            self._port.refuse(link, Reject(Code.WRONG_DIRECTION, "heads climb"), now_ms, ready)
            return
        known = self._known.get(peer.id)
        if known is not None and known.at_ms >= 0 and now_ms - known.at_ms < HEAD_MS_MIN:
            self._port.count("audit", "too_soon")
            return
        head = open_head(frame.head, peer)
        if isinstance(head, Reject):
            self._port.count("refused", head.code.reason)
            ready.audit.append(Audited(kinds.MESSAGE_REFUSED, peer.id, {"code": head.code.label, "message": "head"}))
            return
        if known is not None and known.head.log == head.log and (head.number, head.hash) in known.recent:
            return  # it was overtaken
        repeated = known is not None and _same(known.head, head)
        code = None if known is None or repeated else _judge(known.head, head, frame)
        if code is Code.UNPROVEN_LOG and known is not None and frame.since != known.head.number:
            self._port.count("audit", "from_elsewhere")
            return  # it shows nothing, or how it grew from another entry than the one that the next PONG names
        if not self._take(peer, head, code, known, now_ms, ready):
            return
        if not repeated:
            self._tell(peer, head, code, known, ready)
        witness = sign_witness(self._me, self._signer, head, self._fabric_now(now_ms))
        self._port.send(link, Witnessed(head.number, code, witness), ready)

    def _take(
        self, peer: Credential, head: Head, code: Code | None, known: _Known | None, now_ms: int, ready: Ready
    ) -> bool:
        """Remember it. False where there is no room for another node."""
        is_forked = code is Code.FORKED_LOG
        before = known.forked_ms if known is not None else 0
        newer = _Known(head, self._fabric_now(now_ms) if is_forked else before)
        newer.at_ms = now_ms
        if known is not None:
            newer.recent = known.recent
            newer.recent.append((known.head.number, known.head.hash))
        if not self._known.put(peer.id, newer, peer.voucher):
            self._port.count("audit", "no_room")
            return False
        ready.persist.append(KeepHead(peer.id, head.raw, newer.forked_ms, peer.voucher))
        return True

    def _tell(
        self, peer: Credential, head: Head, code: Code | None, known: _Known | None, ready: Ready
    ) -> None:
        fields: dict[str, kinds.Value] = {"number": head.number, "head": head.raw}
        if code is None:
            ready.audit.append(Audited(kinds.HEAD_TAKEN, peer.id, fields))
            return
        assert known is not None
        self._port.count("audit", code.reason)
        fields |= {"code": code.label, "before": known.head.raw, "number_before": known.head.number}
        is_unproven = code is Code.UNPROVEN_LOG
        ready.audit.append(Audited(kinds.HEAD_TAKEN if is_unproven else kinds.HEAD_REFUSED, peer.id, fields))
        what = "audit log does not show how it grew" if is_unproven else "audit log is not what it was"
        ready.notes.append(Note(what, {
            "node": peer.id, "code": code.label, "entry": head.number, "entry_before": known.head.number,
        }, alarm=True))


def _same(known: Head, head: Head) -> bool:
    return (known.log, known.number, known.hash) == (head.log, head.number, head.hash)


def _judge(known: Head, head: Head, frame: Grown) -> Code | None:
    """Whether a log that was known can be this one now."""
    if known.log != head.log or head.number <= known.number:
        return Code.FORKED_LOG
    if frame.since != known.number or len(frame.digests) != head.number - known.number:
        return Code.UNPROVEN_LOG
    return None if grow(known.hash, frame.digests) == head.hash else Code.FORKED_LOG
