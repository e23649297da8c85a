"""Whether a credential counts now (SPEC 6.1, 6.4): it is not revoked, and valid by a time that this node goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore


class Standing(NamedTuple):
    """By what is known of who is revoked, and of the time. `now_ms`: by this node's own clock."""

    trust: TrustStore
    time: Timekeeper

    def check(self, credential: Credential, now_ms: int) -> Reject | None:
        """REVOKED, CREDENTIAL_EXPIRED; for good, though the time may not be known yet."""
        return self.trust.check(credential, self.time.clocks(now_ms))

    def check_for_now(self, credential: Credential, now_ms: int) -> Reject | None:
        """The same; BUSY in place of what the time says while that is not known."""
        return self.time.for_now(self.check(credential, now_ms))

    def checks(self, now_ms: int) -> Callable[[Credential], Reject | None]:
        """`check` at that time."""
        return lambda credential: self.check(credential, now_ms)
