"""Who executes below this relay, here or away (SPEC 9.2): an action is for all that it selects, and names all of them.

Guarantees: whoever said here that it executes is known by its credential, also after a restart, until that is over or
revoked, or nothing was heard of it for `MEMBER_KEEP_MS` in which this relay ran; an issuer with all its members has at
most what is left of the room, and so has the authority. What a member said is not undone by what it had said before. No
clock that is wrong makes it forget anybody: how long a relay was off, none can tell it but its own.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import MEMBER_KEEP_MS, MEMBERS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import KeepMember, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.sessions import is_point
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore

_DAY_MS: Final = 86_400_000
_LOOK_MS: Final = 3_600_000


class _Member(NamedTuple):
    credential: Credential
    seen_ms: int  # by the roster's time
    epoch: int


class Roster:
    """`count` takes what, and the reason."""

    def __init__(
        self, trust: TrustStore, time: Timekeeper, routes: RouteTable, skew_ms: int, count: Callable[[str, str], None]
    ) -> None:
        self._trust = trust
        self._time = time
        self._routes = routes
        self._skew_ms = skew_ms
        self._count = count
        self._members: Shared[str, _Member] = Shared(MEMBERS_MAX)
        # The roster's time stands still while the relay is off: it goes on from when somebody was seen last.
        self._newest_ms = self._offset_ms = 0
        self._look_at_ms = 0

    def __len__(self) -> int:
        return len(self._members)

    def saw(self, executor: Attachment, now_ms: int, ready: Ready) -> None:
        """It is below and executes. What it said before something newer, a relay below may repeat at any time."""
        credential, epoch, at_ms = executor.credential, executor.epoch, now_ms + self._offset_ms
        known = self._members.get(credential.id)
        if known is not None:
            if self._is_repeated(executor, now_ms) or credential.serial < known.credential.serial:
                return
            epoch = max(epoch, min(known.epoch, self._time.now(now_ms)))
            same = known.credential.digest == credential.digest and known.epoch == epoch
            if same and at_ms - known.seen_ms < _DAY_MS:
                return
        if not self._see(credential, credential.voucher, at_ms, epoch, ready):
            self._count("roster", "no_room")

    def restored(self, op: KeepMember, now_ms: int) -> None:
        """From disk. Whether it is valid is asked at each use: the clock may be wrong at the start."""
        credential = verify_credential(op.credential, self._trust.authority_key, self._trust.fabric)
        if isinstance(credential, Credential):
            self._members.put(credential.id, _Member(credential, op.seen_ms, op.epoch), credential.voucher)
            self._newest_ms = max(self._newest_ms, op.seen_ms)
            self._offset_ms = self._newest_ms - now_ms

    def executor(self, node: str, now_ms: int) -> Attachment | None:
        """By what it executes below this relay now: a statement that is no older than what it said before.

        Its own link repeats nothing older. What a child says may be a little older: a clock was set back in between.
        """
        executor = self._routes.executor(node)
        if executor is None or not self._routes.via(executor):
            return None
        return None if self._is_repeated(executor, now_ms) else executor

    def known(self, node: str, now_ms: int) -> Credential | None:
        """The credential of who executes below this relay, here or away."""
        executor = self.executor(node, now_ms)
        if executor is not None:
            return executor.credential
        member = self._members.get(node)
        return None if member is None else member.credential

    def executors(self, now_ms: int) -> list[Attachment]:
        """All who execute below this relay now."""
        found = [self.executor(attachment.node, now_ms) for attachment in self._routes.executors()]
        return [executor for executor in found if executor is not None]

    def _is_repeated(self, said: Attachment, now_ms: int) -> bool:
        """Nobody says anything in the future: who did, by a wrong clock, is believed again when that is right."""
        known = self._members.get(said.node)
        if known is None or is_point(self._routes.via(said)):
            return False
        return said.epoch + self._skew_ms < min(known.epoch, self._time.now(now_ms))

    def _see(self, credential: Credential, source: str, at_ms: int, epoch: int, ready: Ready) -> bool:
        taken = self._members.put(credential.id, _Member(credential, at_ms, epoch), source)
        if taken:
            ready.persist.append(KeepMember(credential.id, credential.raw, at_ms, epoch))
        return taken

    def member(self, node: str) -> Credential | None:
        """Of who is a member, here or away, as it was known last."""
        known = self._members.get(node)
        return None if known is None else known.credential

    def is_revoked(self, node: str) -> bool:
        """Whether it was a member, and will not be one again by what is known of it."""
        known = self._members.get(node)
        return known is not None and self._trust.revocations.check(known.credential) is not None

    def members(
        self, now_ms: int, but: Container[str] = (), is_meant: Callable[[Credential], bool] = lambda _: True
    ) -> Iterator[Credential]:
        """Those that are valid now, not among these, and meant; in the order in which they last said something new."""
        clocks_ms = self._time.clocks(now_ms)
        for id_, member, _ in self._members.items():
            node = member.credential
            # Of many few are meant: that is looked at first.
            if id_ not in but and is_meant(node) and self._trust.check(node, clocks_ms) is None:
                yield node

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Now and then: forget whoever was not seen for long, or is not a member any more; not by an unknown time."""
        if now_ms < self._look_at_ms or self._time.unknown:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        at_ms, clocks_ms = now_ms + self._offset_ms, self._time.clocks(now_ms)
        again_ms = _LOOK_MS  # one of them each time, so that the disk knows the roster's time; each of them once a day
        for id_, member, source in list(self._members.items()):
            unseen_ms = at_ms - member.seen_ms
            problem = self._trust.check(member.credential, clocks_ms)
            if problem is None and self.executor(id_, now_ms) is not None:
                if unseen_ms >= again_ms:
                    self._see(member.credential, source, at_ms, member.epoch, ready)
                    again_ms = _DAY_MS
            elif _is_over(problem, unseen_ms):
                self._members.pop(id_)
                ready.persist.append(KeepMember(id_, b"", 0))


def _is_over(problem: Reject | None, unseen_ms: int) -> bool:
    """Revoked is revoked; whether a credential's time is over a root has nobody to ask, so its clock has a day."""
    if problem is None:
        return unseen_ms > MEMBER_KEEP_MS
    return problem.code is Code.REVOKED or unseen_ms > _DAY_MS
