"""What a relay looks after beside its messages: the authority's files on this machine, its credential, its clock.

Guarantees: what is found takes effect like anything else, through the core and one commit; what cannot be read, or is
refused, is reported once, and what was in force stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from fabric.edge.identity.home import revocations_path
from fabric.edge.identity.identity import DIRECTORY, POLICIES, Identity, own_directory, own_policies
from fabric.edge.identity.renewal import Renewal
from fabric.edge.identity.watched import Watched
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import DIRECTORY_BYTES_MAX, FRAME_BYTES_MAX, POLICIES_BYTES_MAX
from fabric.protocol.core.ready import Answered, Ready, Renewed
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Credential

# How soon a new revocation list goes out, and new policies.
LIST_LOOK_MS = 200

Apply = Callable[[Ready, int], None]


class Watching:
    """`folder`: the fabric's on this machine; `apply` has the effects of what the core decided, at a time."""

    def __init__(
        self, core: Relay, identity: Identity, folder: Path, apply: Apply, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._core = core
        self._apply = apply
        self._log = log
        self._list = Watched(revocations_path(identity.fabric, folder.parent), FRAME_BYTES_MAX, LIST_LOOK_MS)
        self._policies = Watched(folder / POLICIES, POLICIES_BYTES_MAX, LIST_LOOK_MS)
        self._directory = Watched(folder / DIRECTORY, DIRECTORY_BYTES_MAX)
        self._renewal = Renewal(identity, os.urandom, log)
        self._list_over = False
        self._clock_wrong = False
        self.taken_up = 0  # files so far whose contents the core was given
        core.directory.restore(own_directory(identity.folder))  # an older one than what came since is let be
        core.trust.restore_policies(own_policies(identity.folder))

    def look(self, now_ms: int) -> None:
        """Several times a second: newer policies go out at once, and after them a newer list, which may name them."""
        core = self._core
        self._take_up("policies", self._policies, core.policies.apply, now_ms)
        self._take_up("revocation list", self._list, lambda raw, ready: core.apply_lists(raw, now_ms, ready), now_ms)

    def look_around(self, now_ms: int) -> None:
        """Once a second."""
        self._take_up("directory", self._directory, self._core.directory.apply, now_ms)
        self._watch_list(now_ms)
        self._watch_clock()
        fresh = self._renewal.newer()
        event = self._renewal.due(self._core.time.now(now_ms)) if fresh is None else Renewed(fresh)
        if event is not None:
            self._apply(self._core.step(event, now_ms), now_ms)

    def answered(self, answered: Answered, now_ms: int) -> None:
        """What became of a question to this relay's issuer."""
        fresh = self._renewal.answered(answered)
        if isinstance(fresh, Credential):
            self._apply(self._core.step(Renewed(fresh), now_ms), now_ms)

    def _take_up(
        self, what: str, file: Watched, apply: Callable[[bytes, Ready], Reject | None], now_ms: int
    ) -> None:
        before, raw = file.problem, file.changed(now_ms)
        if raw is None:
            if file.problem and file.problem != before:
                self._log.warning(f"{what} not readable", path=str(file.path), why=file.problem)
            return
        ready = Ready()
        refused = apply(raw, ready)
        if refused is not None:
            self._log.warning(f"{what} refused", code=refused.code.label, why=refused.detail)
        self._apply(ready, now_ms)
        self.taken_up += 1

    def _watch_list(self, now_ms: int) -> None:
        """Say once when the revocation list in force is past its time, and once when there is another."""
        over, version = self._core.trust_distribution.list_is_over(now_ms), self._core.trust.revocations.version
        if over and not self._list_over:
            code = Code.LIST_EXPIRED
            self._log.warning("revocation list over", code=code.label, version=version, next=code.next_step)
        elif self._list_over and not over:
            self._log.info("revocation list in force again", version=version)
        self._list_over = over

    def _watch_clock(self) -> None:
        """Say once when this machine's clock is found wrong, and once when it is right again."""
        suspect, ahead_ms = self._core.time.suspect, -self._core.time.behind_ms
        if suspect and not self._clock_wrong:
            code = Code.CLOCK_SUSPECT
            self._log.warning("clock suspect", code=code.label, ahead_ms=ahead_ms, next=code.next_step)
        elif self._clock_wrong and not suspect:
            self._log.info("clock good again", ahead_ms=ahead_ms)
        self._clock_wrong = suspect
