"""Which parent (SPEC 7.7): whom to connect to, whom to greet, and when to go back to a better one.

Guarantees: without a parent, the preferred one is tried first and every further one a step later, each with full
jitter, so that the children of a parent that died do not come to the next one together; with a parent,
only better ones are tried, and one is greeted when its connection has lasted; a parent that loses its children again
and again is tried at longer and longer intervals. Holds no link and no clock: it is told what happens, and answers
questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

# A parent that closed the connection may be back in a moment: moving and moving back costs more than waiting for it.
GRACE_MS: Final = 2_000
# Over how long children that move are spread, and how long each further backup waits for the one before.
SPREAD_MS: Final = 2_000
STEP_MS: Final = 2_000
# A HELLO that nobody answers for this long is no reason to wait with the next parent.
ANSWER_MS: Final = 2_000
# How long the connection to a better parent must have lasted before children go back. Below the time in which a
# listener wants to hear a HELLO (HELLO_WAIT_MS).
STABLE_MS: Final = 3_000
# When a better parent is tried first, and the longest wait after it lost its children once more.
RETURN_MS: Final = 5_000
RETURN_MS_MAX: Final = 300_000
# A stay that was shorter counts against a parent.
SHORT_STAY_MS: Final = 60_000
# For how long after a move a better parent is taken without that.
HURRY_MS: Final = 10_000
# One that said it goes is not tried for this long.
SHUN_MS: Final = 15_000


class Uplink:
    """`parents` in order of preference; `jitter()` gives a number from 0 to 1, other each time."""

    def __init__(self, parents: tuple[str, ...], jitter: Callable[[], float]) -> None:
        self.parents = list(dict.fromkeys(parents))
        self._jitter = jitter
        self._allowed_ms: dict[str, int] | None = None  # from when each may be tried; None before the first question
        self._ready: dict[str, int] = {}  # parent -> since when it could be greeted
        self._greeted: dict[str, int] = {}
        self._short_stays: dict[str, int] = {}
        self._shunned: str = ""
        self._hurried_until_ms = 0  # a better one need not have proved that it lasts
        self._since_ms = 0
        self.current = ""

    # -- what happens -----------------------------------------------------------------------------------

    def came(self, parent: str, now_ms: int) -> None:
        """A connection to it is there, or its HELLO waits."""
        if parent not in self.parents:
            self.parents.append(parent)
        self._ready.setdefault(parent, now_ms)

    def went(self, parent: str) -> None:
        """The same no longer."""
        self._ready.pop(parent, None)
        self._greeted.pop(parent, None)

    def greeted(self, parent: str, now_ms: int) -> None:
        self._greeted[parent] = now_ms

    def opened(self, parent: str, now_ms: int) -> None:
        """It is our parent now."""
        self.went(parent)
        self.current, self._since_ms, self._shunned, self._hurried_until_ms = parent, now_ms, "", 0
        allowed = self._allowed(now_ms)
        for better in self.parents[: self._rank(parent)]:
            allowed[better] = max(allowed[better], now_ms + self._return_ms(better))

    def lost(self, now_ms: int, *, patient: bool) -> None:
        """It is no more. `patient`: it closed the connection and may be back at once; else it kept us waiting."""
        parent, self.current, self._shunned = self.current, "", ""
        stayed_ms = now_ms - self._since_ms
        allowed = self._allowed(now_ms)
        self._short_stays[parent] = self._short_stays.get(parent, 0) + 1 if stayed_ms < SHORT_STAY_MS else 0
        flaps = self._short_stays[parent] > 1
        others = [other for other in self.parents if other != parent]
        if not others:
            return
        if flaps:
            allowed[parent] = now_ms + self._return_ms(parent)
        elif not patient:
            allowed[parent] = now_ms + SPREAD_MS + STEP_MS  # whoever is next has had its turn then
        begin_ms = now_ms + (GRACE_MS if patient else 0)
        for place, other in enumerate(others):
            step_ms = begin_ms + place * STEP_MS + int(SPREAD_MS * self._jitter())
            # Who has waited already goes on waiting from then: a parent that flaps keeps nobody from the next one.
            allowed[other] = min(step_ms, max(now_ms, allowed[other])) if flaps else step_ms

    def shun(self, parent: str, now_ms: int, for_ms: int = SHUN_MS) -> None:
        """It is about to go, or must not be our parent: anybody else is better for a while, at once.

        Who has nobody else stays while it can, and comes back when it can.
        """
        if not self.alternatives:
            return
        allowed = self._allowed(now_ms)
        allowed[parent] = now_ms + for_ms
        if parent == self.current:
            self._shunned = parent
        if self.current in ("", parent):
            for other in self.parents:
                if other != parent:
                    allowed[other] = min(allowed[other], now_ms)

    def rank(self, parents: Sequence[str], now_ms: int, *, at_once: bool) -> None:
        """Another order of preference. One that is not in it stays until there is another.

        `at_once`: this node is somewhere else by now, and what it has may be out of reach: the better ones are tried
        now, each a step after the one before. Else it goes to them as it goes back to one.
        """
        self.parents = list(dict.fromkeys(parents))
        self._allowed_ms = {p: ms for p, ms in (self._allowed_ms or {}).items() if p in self.parents}
        allowed = self._allowed(now_ms)
        better = self.parents[: self._rank(self.current)]
        if at_once:
            self._hurried_until_ms = now_ms + HURRY_MS
        at_once = now_ms < self._hurried_until_ms  # a better order of the same does not end the haste
        for place, parent in enumerate(better):
            if at_once or not self.current:
                allowed[parent] = now_ms + place * STEP_MS
            else:
                allowed[parent] = max(allowed[parent], now_ms + self._return_ms(parent))

    # -- questions --------------------------------------------------------------------------------------

    def wanted(self, now_ms: int) -> list[str]:
        """Whom to have a connection to, or to try to."""
        if self.parents[:1] == [self.current] and not self._shunned:
            return [self.current]  # nobody is better
        allowed = self._allowed(now_ms)
        return [parent for parent in self.parents if parent == self.current or (
            allowed[parent] <= now_ms and self._better(parent)
        )]

    def choice(self, now_ms: int) -> str:
        """Whom to greet now; empty is nobody."""
        allowed = self._allowed(now_ms)
        for parent in self.parents:
            waited_ms = now_ms - self._greeted[parent] if parent in self._greeted else -1
            if 0 <= waited_ms < ANSWER_MS:
                return ""  # it may still answer, and none after it is better
            if waited_ms >= 0 or parent not in self._ready or not self._better(parent) or allowed[parent] > now_ms:
                continue
            urgent = not self.current or self._shunned == self.current or now_ms < self._hurried_until_ms
            if urgent or now_ms - self._ready[parent] >= STABLE_MS:
                return parent
        return ""

    def takes(self, parent: str) -> bool:
        """Whether one that answers is still better than what we have."""
        return self._better(parent)

    @property
    def alternatives(self) -> bool:
        """Whether there is anybody else to go to."""
        return len(self.parents) > 1

    # -- within -----------------------------------------------------------------------------------------

    def _rank(self, parent: str) -> int:
        return self.parents.index(parent) if parent in self.parents else len(self.parents)

    def _better(self, parent: str) -> bool:
        if not self.current:
            return True
        if parent == self.current:
            return False
        return self._shunned == self.current or self._rank(parent) < self._rank(self.current)

    def _allowed(self, now_ms: int) -> dict[str, int]:
        if self._allowed_ms is None:
            self._allowed_ms = {}
        for place, parent in enumerate(self.parents):
            if parent not in self._allowed_ms:
                wait_ms = GRACE_MS + (place - 1) * STEP_MS + int(SPREAD_MS * self._jitter()) if place else 0
                self._allowed_ms[parent] = now_ms + wait_ms
        return self._allowed_ms

    def _return_ms(self, parent: str) -> int:
        ceiling_ms: int = RETURN_MS << min(self._short_stays.get(parent, 0), 8)
        return int(min(RETURN_MS_MAX, ceiling_ms) * self._jitter())
