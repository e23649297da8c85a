"""Who executes below this relay, here or away (SPEC 9.2): an action is for all that it selects, and names all of them.

Guarantees: whoever said here that it executes is known by its credential, also after a restart, until that is over or
revoked, or nothing was heard of it for `MEMBER_KEEP_MS`; an issuer with all its members has at most what is left of the
room, and so has the authority. What a member said is not undone by what it had said before.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Final, NamedTuple

from fabric.protocol.base.limits import MEMBER_KEEP_MS, MEMBERS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import KeepMember, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore

_DAY_MS: Final = 86_400_000
_LOOK_MS: Final = 3_600_000


class _Member(NamedTuple):
    credential: Credential
    seen_ms: int
    epoch: int


class Roster:
    """`count` takes what, and the reason."""

    def __init__(
        self, trust: TrustStore, time: Timekeeper, routes: RouteTable, count: Callable[[str, str], None]
    ) -> None:
        self._trust = trust
        self._time = time
        self._routes = routes
        self._count = count
        self._members: Shared[str, _Member] = Shared(MEMBERS_MAX)
        self._look_at_ms = 0

    def __len__(self) -> int:
        return len(self._members)

    def saw(self, executor: Attachment, now_ms: int, ready: Ready) -> None:
        """It is below and executes. What it said before something newer, a relay below may repeat at any time."""
        credential = executor.credential
        known = self._members.get(credential.id)
        if known is not None and (executor.epoch < known.epoch or credential.serial < known.credential.serial):
            return
        same = known is not None and known.credential.digest == credential.digest and known.epoch == executor.epoch
        if same and known is not None and now_ms - known.seen_ms < _DAY_MS:
            return
        if self._members.put(credential.id, _Member(credential, now_ms, executor.epoch), credential.voucher):
            ready.persist.append(KeepMember(credential.id, credential.raw, now_ms, executor.epoch))
        else:
            self._count("roster", "no_room")

    def restored(self, op: KeepMember, now_ms: int) -> None:
        """From disk. Whether it is valid is asked at each use: the clock may be wrong at the start."""
        credential = verify_credential(op.credential, self._trust.authority_key, self._trust.fabric)
        if isinstance(credential, Credential):
            seen_ms = min(op.seen_ms, now_ms)  # the clock may have been set back while we were off
            self._members.put(credential.id, _Member(credential, seen_ms, op.epoch), credential.voucher)

    def executor(self, node: str) -> Attachment | None:
        """By what it executes below this relay now: a statement that is no older than what it said before."""
        executor, known = self._routes.executor(node), self._members.get(node)
        if executor is None or not self._routes.via(executor):
            return None
        return None if known is not None and executor.epoch < known.epoch else executor

    def members(self, now_ms: int, but: Container[str] = ()) -> Iterator[Credential]:
        """Those that are valid now, and not among these; in the order in which they last said something new."""
        clocks_ms = self._time.clocks(now_ms)
        for id_, member, _ in self._members.items():
            if id_ not in but and self._trust.check(member.credential, clocks_ms) is None:
                yield member.credential

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Now and then: forget whoever was not seen for long, or is not a member any more; not by an unknown time."""
        if now_ms < self._look_at_ms or self._time.unknown:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        valid = {credential.id: None for credential in self.members(now_ms)}
        for id_, member, source in list(self._members.items()):
            if id_ in valid and self.executor(id_) is not None:
                if now_ms - member.seen_ms >= _DAY_MS:
                    self._members.put(id_, member._replace(seen_ms=now_ms), source)
                    ready.persist.append(KeepMember(id_, member.credential.raw, now_ms, member.epoch))
            elif id_ not in valid or now_ms - member.seen_ms > MEMBER_KEEP_MS:
                self._members.pop(id_)
                ready.persist.append(KeepMember(id_, b"", 0))
