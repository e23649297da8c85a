"""Which of two clocks a node goes by (SPEC 5): its machine's own, and the root's, as its present parent tells it.

Guarantees: only the present parent's time counts, and only one at which its credential and this node's are valid; a
time that jumps away from what was told before is accepted only when it stays; a time that is far from the machine's own
clock is doubted, whoever tells it; what a parent told that was far off is forgotten for every decision when that parent
is gone. A credential has expired only when it has by every clock that counts. Refuses nothing itself: it is told what
was heard, and answers questions. All times are milliseconds.

A node cannot tell whether its own clock is wrong or its parent lies. So where the two differ nothing is decided for
good: messages are judged by age, credentials have the benefit of the doubt, and nothing is executed.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CLOCK_JUMP_MS, LINK_SILENCE_MS
from fabric.protocol.envelope.lifetime import ClockOffset
from fabric.protocol.trust.credentials import Clocks, Credential, check_validity


class FabricClock:
    """`now_ms` everywhere is the node's own steady clock, which nothing makes jump."""

    def __init__(self, skew_ms: int) -> None:
        # How far the machine's clock has moved from the steady one that `now_ms` comes from: the driver says so.
        self.wall_ahead_ms = 0
        # Answers that each message asks for: worked out anew when something happens, and not when they are asked for.
        self.measured = False  # whether the root's time is known
        self.offset_ms = 0  # what to add to the own clock to get the root's; 0 until it was told
        self.behind_ms = 0  # how far this machine's clock is behind the root's, as far as is known
        self.suspect = False  # whether this machine's clock is further from what was told than the fabric tolerates
        self._now_ahead_ms = 0  # of what `now` says, to the steady clock
        self._skew_ms = skew_ms
        self._parent = 0  # the number of the link to the present parent, 0 without one
        self._told: ClockOffset | None = None  # of the present parent, or of one that told what the own clock says too
        self._hearsay_ms: int | None = None  # what one told last that has gone, where that was far from the own clock
        self._jump: tuple[int, int] | None = None  # an offset that is told and not believed yet, and since when
        self._disputed_ms: int | None = None  # when a time far from the own clock was told last

    # -- what happens -----------------------------------------------------------------------------------

    def wall_is_ahead(self, ahead_ms: int) -> None:
        """The machine's clock has moved so far from the steady one."""
        if ahead_ms != self.wall_ahead_ms:
            self.wall_ahead_ms = ahead_ms
            self._work_out()

    def follow(self, parent: int) -> None:
        """From now on the parent is at the end of this link."""
        if parent != self._parent:
            self.lost(self._parent)
            self._parent = parent

    def lost(self, parent: int) -> None:
        """The parent by this link has gone, or it does not know the time any more.

        What it told is kept where it was what the own clock says, too: that is known without it.
        """
        if parent == self._parent:
            self._jump = None
            if self._told is not None and self.suspect:
                self._hearsay_ms, self._told = self._told.offset_ms, None
                self._work_out()

    def hear(
        self, parent: int, members: tuple[Credential, ...], sent_ms: int, told_ms: int, now_ms: int
    ) -> Reject | None:
        """The parent answered what was sent then; 0 is that it does not know.

        `members`: the parent's credential and this node's. A time at which one of them is not valid cannot be what an
        honest parent goes by: it would not be there, or would not have let this node in. It is not believed. A time
        that jumps is CLOCK_SUSPECT until it has been told for `CLOCK_JUMP_MS`.
        """
        self.follow(parent)
        if not told_ms:
            self.lost(parent)
            return None
        # The offset follows from when the question was sent: an answer to one that was not just asked could choose it.
        if not 0 <= now_ms - sent_ms <= LINK_SILENCE_MS:
            return None
        for member in members:
            problem = check_validity(member, told_ms, self._skew_ms)
            if problem is not None:
                return problem
        if not self._stays(told_ms - (sent_ms + now_ms) // 2, now_ms):
            return Reject(Code.CLOCK_SUSPECT)
        if self._told is None:
            self._told, self._hearsay_ms = ClockOffset(), None
        self._told.observe(sent_ms, told_ms, now_ms)
        self._work_out()
        return None

    def _work_out(self) -> None:
        told = self._told
        self.measured = told is not None and told.measured
        self.offset_ms = told.offset_ms if told is not None else 0
        self.behind_ms = self.offset_ms - self.wall_ahead_ms if self.measured else 0
        self.suspect = abs(self.behind_ms) > self._skew_ms
        self._now_ahead_ms = self.offset_ms if self.measured else self.wall_ahead_ms

    def _stays(self, offset_ms: int, now_ms: int) -> bool:
        """Whether this offset is no jump, or one that has been told long enough."""
        far = abs(offset_ms - self.wall_ahead_ms) > self._skew_ms
        if far:
            self._disputed_ms = now_ms
        as_before = self.suspect and abs(offset_ms - self.offset_ms) <= self._skew_ms
        if far and self._told is not None and not as_before:
            if self._jump is None or abs(offset_ms - self._jump[0]) > self._skew_ms:
                self._jump = offset_ms, now_ms
            if now_ms - self._jump[1] < CLOCK_JUMP_MS:
                return False
        self._jump = None
        return True

    # -- questions --------------------------------------------------------------------------------------

    def disputed(self, now_ms: int) -> bool:
        """Whether this machine's clock and what is told differ, or did a moment ago: others may go by the other one."""
        return self.suspect or (self._disputed_ms is not None and now_ms - self._disputed_ms < CLOCK_JUMP_MS)

    @property
    def doubted(self) -> bool:
        """Whether the last parent, which has gone, told something far from this machine's clock, and none has since."""
        return self._hearsay_ms is not None

    def own(self, now_ms: int) -> int:
        """This machine's clock."""
        return now_ms + self.wall_ahead_ms

    def now(self, now_ms: int) -> int:
        """The root's time as far as it is known, by which issued_at is judged; else this machine's."""
        return now_ms + self._now_ahead_ms

    def to_tell(self, now_ms: int) -> int:
        """The time for those below: as the parent tells it, so that all of them doubt a jump at once."""
        return now_ms + self._jump[0] if self._jump is not None else self.now(now_ms)

    def to_sign(self, now_ms: int) -> int:
        """The time for what is signed now. Without a parent it is the last one's: a wrong clock is far more frequent
        than a parent that lies, and what is signed with it is lost."""
        return self.now(now_ms) if self._hearsay_ms is None else now_ms + self._hearsay_ms

    def judging(self, me: Credential, now_ms: int) -> Clocks:
        """The times by which a credential or a list may be valid.

        A clock by which this node itself is not valid is wrong for certain, so that what was told last counts, too.
        """
        clocks = [self.now(now_ms)]
        if self.suspect:
            clocks.append(self.own(now_ms))
        if self._hearsay_ms is not None and self.own_is_wrong(me, now_ms):
            clocks.append(now_ms + self._hearsay_ms)
        return tuple(clocks)

    def own_is_wrong(self, me: Credential, now_ms: int) -> bool:
        """Whether the own clock is wrong for certain: by it, this node itself is not valid."""
        return check_validity(me, self.own(now_ms), self._skew_ms) is not None
