"""How a node uses the time that it knows (SPEC 5, 6.2), and what it does before anybody told it.

`now_ms` everywhere is the node's own steady clock, which never jumps. Guarantees: changes of this machine's clock move
nothing that is measured; a node that does not know the time tells it to nobody, and refuses nothing for good for
reasons of time. Which time counts, and until when, is in `fabric_clock`.
"""

from __future__ import annotations

from collections import Counter

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.fabric_clock import Clocks, FabricClock
from fabric.protocol.envelope.layout import Header
from fabric.protocol.links.link import Link
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import Role

# Refusals that follow from what time it is.
_BY_TIME = frozenset({Code.CREDENTIAL_EXPIRED, Code.LIST_EXPIRED})


class Timekeeping:
    """A node that knows the time: its `FabricClock`, asked with its own credential and parents."""

    me: Credential
    parents: tuple[str, ...]
    skew_ms: int
    counters: Counter[str]

    def keep_time(self) -> None:
        self.clock = FabricClock(self.skew_ms)

    @property
    def wall_ahead_ms(self) -> int:
        """How far the machine's clock has moved from the steady one that `now_ms` comes from."""
        return self.clock.wall_ahead_ms

    @wall_ahead_ms.setter
    def wall_ahead_ms(self, ahead_ms: int) -> None:
        self.clock.wall_ahead_ms = ahead_ms

    def fabric_now(self, now_ms: int) -> int:
        """The root's time as far as it is known, by which issued_at is judged."""
        return self.clock.now(now_ms)

    def time_to_sign(self, now_ms: int) -> int:
        """The root's time for what is signed now: what was told last also when nobody tells it any more."""
        return self.clock.to_sign(now_ms)

    def clocks(self, now_ms: int) -> Clocks:
        """The times by which credentials and lists are judged: what is over is over by all of them."""
        return self.clock.judging(self.me, now_ms)

    @property
    def time_unknown(self) -> bool:
        """Nobody above tells the time, so all there is is this machine's clock, which nobody has confirmed."""
        return bool(self.parents) and not self.clock.measured

    @property
    def clock_behind_ms(self) -> int:
        """How far this machine's clock is behind the root's, as far as is known."""
        return self.clock.behind_ms

    @property
    def clock_suspect(self) -> bool:
        """Whether this machine's clock is further from the root's than the fabric tolerates."""
        return self.clock.suspect

    def by_age_only(self, header: Header, now_ms: int) -> bool:
        """Whether a message's signed bound is not judged, since this node, or who signed it, may go by a wrong time."""
        del header
        return self.clock.disputed(now_ms) or self.time_unknown

    def for_now(self, problem: Reject | None) -> Reject | None:
        """A refusal by the time, before that is known, is not for good."""
        if problem is not None and problem.code in _BY_TIME and self.time_unknown:
            return Reject(Code.BUSY, "the time is not known yet")
        return problem

    # -- between nodes ----------------------------------------------------------------------------------

    def told_time(self, now_ms: int) -> int:
        """The root's time, for whoever is below; 0 where it is not known."""
        return 0 if self.time_unknown else self.clock.to_tell(now_ms)

    def hear_time(self, link: Link, parent: Credential, sent_ms: int, told_ms: int, now_ms: int) -> None:
        """Our parent answered what was sent then. What cannot be is not believed, and counted."""
        problem = self.clock.hear(link.number, (parent, self.me), sent_ms, told_ms, now_ms)
        if problem is not None:
            self.counters[f"time_refused:{problem.code.reason}"] += 1

    def clocks_in_handshake(self, said_ms: int, role: Role, now_ms: int) -> Clocks:
        """By what times a peer in this role is judged that says that it is `said_ms`.

        A parent is judged by this machine's clock, too, so that no parent's word keeps the next one away. Where by that
        clock this node's own credential is not valid, the clock is wrong or the node is not to be here. Its parent
        knows which, and turns it away by the root's time: it is judged by what it says.
        """
        clocks = self.clocks(now_ms)
        if role != Role.PARENT:
            return clocks
        own_ms = said_ms if self.clock.own_is_wrong(self.me, now_ms) else self.clock.own(now_ms)
        return clocks if own_ms in clocks else (*clocks, own_ms)
