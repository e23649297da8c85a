"""What a node knows of the time (SPEC 5, 6.2): the root's, as it was told, and what it does before anybody told it.

`now_ms` everywhere is the node's own steady clock, which nothing makes jump. Guarantees: what somebody does to this
machine's clock moves nothing that is measured; who does not know the time tells nobody, and refuses nothing for good
for reasons of time.
"""

from __future__ import annotations

from fabric.protocol.credentials import Credential, check_validity
from fabric.protocol.envelope import Kind
from fabric.protocol.errors import Code, Reject
from fabric.protocol.lifetime import ClockOffset
from fabric.protocol.wire import Role

# Refusals that follow from what time it is.
_BY_TIME = frozenset({Code.CREDENTIAL_EXPIRED, Code.LIST_EXPIRED})

class Timekeeping:
    me: Credential
    parents: tuple[str, ...]
    skew_ms: int

    def keep_time(self) -> None:
        self.clock = ClockOffset()
        # How far the machine's clock has moved from the steady one that `now_ms` comes from: the driver says so.
        self.wall_ahead_ms = 0

    def fabric_now(self, now_ms: int) -> int:
        """The root's time, by which credentials and issued_at are judged."""
        return now_ms + (self.clock.offset_ms if self.clock.measured else self.wall_ahead_ms)

    @property
    def time_unknown(self) -> bool:
        """Nobody above has told the time yet, so all there is is this machine's clock."""
        return bool(self.parents) and not self.clock.measured

    @property
    def clock_behind_ms(self) -> int:
        """How far this machine's clock is behind the root's, as far as is known."""
        return self.clock.offset_ms - self.wall_ahead_ms if self.clock.measured else 0

    @property
    def clock_suspect(self) -> bool:
        """Whether this machine's clock is further from the root's than the fabric tolerates."""
        return abs(self.clock_behind_ms) > self.skew_ms

    def by_age_only(self, kind: Kind) -> bool:
        """Whether a message's signed bound is not judged, since this node cannot know the time for sure."""
        del kind
        return self.clock_suspect or self.time_unknown

    def for_now(self, problem: Reject | None) -> Reject | None:
        """A refusal by the time, before that is known, is not for good."""
        if problem is not None and problem.code in _BY_TIME and self.time_unknown:
            return Reject(Code.BUSY, "the time is not known yet")
        return problem

    # -- between nodes ----------------------------------------------------------------------------------

    def told_time(self, now_ms: int) -> int:
        """The root's time, for whoever is below; 0 where it is not known."""
        return 0 if self.time_unknown else self.fabric_now(now_ms)

    def hear_time(self, sent_ms: int, fabric_clock_ms: int, now_ms: int) -> None:
        """A parent answered what was sent then."""
        if fabric_clock_ms:
            self.clock.observe(sent_ms, fabric_clock_ms, now_ms)

    def time_in_handshake(self, said_ms: int, role: Role, now_ms: int) -> int:
        """By what time a peer in this role is judged that says that it is `said_ms`.

        A node that is told the time by nobody yet, and by whose clock its own credential is not valid, has a wrong
        clock or is not to be here. Its parent knows which, and turns it away by the root's time.
        """
        lost = self.time_unknown and check_validity(self.me, self.fabric_now(now_ms), self.skew_ms) is not None
        return said_ms if lost and role == Role.PARENT else self.fabric_now(now_ms)
