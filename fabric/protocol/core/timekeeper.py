"""How a node uses the time that it knows (SPEC 5, 6.2), and what it does before anybody told it.

`now_ms` everywhere is the node's own steady clock, which never jumps. Guarantees: changes of this machine's clock move
nothing that is measured; a node that does not know the time tells it to nobody, and refuses nothing for good for
reasons of time. Which time counts, and until when, is in `fabric_clock`.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.fabric_clock import FabricClock
from fabric.protocol.trust.credentials import Clocks, Credential
from fabric.protocol.wire.frames import Role

# Refusals that follow from what time it is.
_BY_TIME = frozenset({Code.CREDENTIAL_EXPIRED, Code.LIST_EXPIRED})


class Timekeeper:
    """`me`: this node's own credential. `has_parents`: whether somebody above tells the time. `count`: by reason."""

    def __init__(
        self, me: Credential, skew_ms: int, count: Callable[[str, str], None], *, has_parents: bool
    ) -> None:
        self._me = me
        self._count = count
        self._has_parents = has_parents
        self._clock = FabricClock(skew_ms)

    # -- what happens -------------------------------------------------------------------------------------

    def wall_is_ahead(self, ahead_ms: int) -> None:
        """The driver says how far the machine's clock has moved from the steady one that `now_ms` comes from."""
        self._clock.wall_is_ahead(ahead_ms)

    def has_parent(self) -> None:
        """From now on somebody above is to tell the time."""
        self._has_parents = True

    def renewed(self, me: Credential) -> None:
        """This node goes on under a newer credential."""
        self._me = me

    def follow(self, link: int) -> None:
        """The parent is at the end of this link from now on."""
        self._clock.follow(link)

    def lost(self, link: int) -> None:
        """The parent by this link has gone."""
        self._clock.lost(link)

    def hear(self, link: int, parent: Credential, sent_ms: int, told_ms: int, now_ms: int) -> None:
        """The parent by this link answered what was sent then. What cannot be is not believed, and counted."""
        problem = self._clock.hear(link, (parent, self._me), sent_ms, told_ms, now_ms)
        if problem is not None:
            self._count("time_refused", problem.code.reason)

    # -- what time it is ----------------------------------------------------------------------------------

    def now(self, now_ms: int) -> int:
        """The root's time as far as it is known, by which issued_at is judged."""
        return self._clock.now(now_ms)

    def own(self, now_ms: int) -> int:
        """What this machine's clock says."""
        return self._clock.own(now_ms)

    def to_sign(self, now_ms: int) -> int:
        """The root's time for what is signed now: what was told last also when nobody tells it any more."""
        return self._clock.to_sign(now_ms)

    def to_tell(self, now_ms: int) -> int:
        """The root's time, for whoever is below; 0 where it is not known."""
        return 0 if self.unknown else self._clock.to_tell(now_ms)

    def clocks(self, now_ms: int) -> Clocks:
        """The times by which credentials and lists are judged: what is over is over by all of them."""
        return self._clock.judging(self._me, now_ms)

    def clocks_in_handshake(self, said_ms: int, role: Role, now_ms: int) -> Clocks:
        """By what times a peer in this role is judged that says that it is `said_ms`.

        A parent is judged by this machine's clock, too, so that no parent's word keeps the next one away. Where by that
        clock this node's own credential is not valid, the clock is wrong or the node is not to be here. Its parent
        knows which, and turns it away by the root's time: it is judged by what it says.
        """
        clocks = self.clocks(now_ms)
        if role != Role.PARENT:
            return clocks
        own_ms = said_ms if self._clock.own_is_wrong(self._me, now_ms) else self._clock.own(now_ms)
        return clocks if own_ms in clocks else (*clocks, own_ms)

    # -- how much it is worth -----------------------------------------------------------------------------

    @property
    def unknown(self) -> bool:
        """Nobody above tells the time, so all there is is this machine's clock, which nobody has confirmed."""
        return self._has_parents and not self._clock.measured

    @property
    def measured(self) -> bool:
        """Whether the root's time was told."""
        return self._clock.measured

    @property
    def behind_ms(self) -> int:
        """How far this machine's clock is behind the root's, as far as is known."""
        return self._clock.behind_ms

    @property
    def suspect(self) -> bool:
        """Whether this machine's clock is further from the root's than the fabric tolerates."""
        return self._clock.suspect

    @property
    def is_sure(self) -> bool:
        """Whether the root's time was told, and this machine's clock says nothing else."""
        return self.measured and not self.suspect and not self.doubted

    @property
    def doubted(self) -> bool:
        """Whether the last parent, which has gone, told something far from this machine's clock, and none has since."""
        return self._clock.doubted

    def by_age_only(self, now_ms: int, *, to_execute: bool = False) -> bool:
        """Whether a message's signed bound is not judged, since this node, or who signed it, may go by a wrong time.

        What is to be executed is judged by this machine's clock too, as long as nobody tells a better time (SPEC 5).
        """
        if not (self.unknown or self._clock.disputed(now_ms)):  # nearly always, and each message asks
            return False
        return self._clock.suspect or not to_execute

    def for_now(self, problem: Reject | None) -> Reject | None:
        """A refusal by the time, before that is known, is not for good."""
        if problem is not None and problem.code in _BY_TIME and self.unknown:
            return Reject(Code.BUSY, "the time is not known yet")
        return problem
