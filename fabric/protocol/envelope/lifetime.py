"""When a message has expired, how long it was in transit, and how far a clock is off.

Guarantees: a message whose age or whose signed bound has passed is expired, whichever comes first; age only
ever grows; an estimate that was not measured changes nothing. Refuses: messages from the future, lifetimes
above the maximum of their kind, ages below zero. Two measures, since each covers the other's weakness: age
works where clocks are wrong, the signed bound stops a relay that lies about age. All times are milliseconds.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import SKEW_MS, TTL_MAX_MS


def expired(
    *,
    issued_at_ms: int,
    ttl_ms: int,
    age_ms: int,
    now_ms: int,
    skew_ms: int = SKEW_MS,
    by_age_only: bool = False,
) -> bool:
    """Whether the message is over: by age, or by the signed bound where this node knows the time."""
    if age_ms >= ttl_ms:
        return True
    return not by_age_only and now_ms > issued_at_ms + ttl_ms + skew_ms


def from_future(issued_at_ms: int, now_ms: int, skew_ms: int = SKEW_MS) -> bool:
    """Whether it was issued later than two clocks within the skew could explain."""
    return issued_at_ms > now_ms + skew_ms


def remaining_ms(
    *,
    issued_at_ms: int,
    ttl_ms: int,
    age_ms: int,
    now_ms: int,
    skew_ms: int = SKEW_MS,
    by_age_only: bool = False,
) -> int:
    """How long until `expired` turns true while age and clock run on; 0 when it is true already."""
    by_age = ttl_ms - age_ms
    if by_age_only:
        return max(0, by_age)
    # One more: at the bound itself it is still alive.
    by_clock = issued_at_ms + ttl_ms + skew_ms - now_ms + 1
    return max(0, min(by_age, by_clock))


def check_lifetime(
    kind: str,
    issued_at_ms: int,
    ttl_ms: int,
    age_ms: int,
    now_ms: int,
    skew_ms: int = SKEW_MS,
    by_age_only: bool = False,
) -> Reject | None:
    """Judge a message on arrival: FROM_FUTURE, TTL_TOO_LONG, EXPIRED, or None while it lives.

    Who does not know the time cannot tell the future, so only age and ttl count then (SPEC 5).
    """
    ttl_ms_max = TTL_MAX_MS.get(kind)
    if ttl_ms_max is None:
        return Reject(Code.UNKNOWN_KIND, "no lifetime is defined for it")
    # Age is unsigned, and a negative one would buy time.
    if age_ms < 0:
        return Reject(Code.MALFORMED, "age_ms is negative")
    if not by_age_only and from_future(issued_at_ms, now_ms, skew_ms):
        return Reject(Code.FROM_FUTURE, f"by {issued_at_ms - now_ms} ms")
    if ttl_ms > ttl_ms_max:
        return Reject(Code.TTL_TOO_LONG, f"{ttl_ms} ms where {ttl_ms_max} ms are allowed")
    if expired(
        issued_at_ms=issued_at_ms,
        ttl_ms=ttl_ms,
        age_ms=age_ms,
        now_ms=now_ms,
        skew_ms=skew_ms,
        by_age_only=by_age_only,
    ):
        return Reject(Code.EXPIRED, f"age {age_ms} ms, ttl {ttl_ms} ms")
    return None


# Long enough to have seen the link at rest, short enough that drift within it (1 s a day: 7 ms) is no age.
_BUCKET_MS: Final = 300_000


class Transit:
    """How much longer than usual a frame took on one link, though the two clocks differ.

    The usual is the smallest difference between the clocks seen in this bucket of five minutes and the one
    before: it holds the clocks' offset and the link's own delay, which nobody can tell apart. Only what
    exceeds it is age. Buckets expire, so drifting clocks do not make messages older and older.
    """

    def __init__(self) -> None:
        self._began_ms: int | None = None
        self._current_ms = 0
        self._previous_ms: int | None = None

    def observe(self, sender_clock_ms: int, now_ms: int) -> int:
        """The transit beyond the usual, in ms, never below 0, of a frame with its sender's clock in it."""
        difference_ms = now_ms - sender_clock_ms
        since_ms = None if self._began_ms is None else now_ms - self._began_ms
        if since_ms is None or since_ms < 0 or since_ms >= 2 * _BUCKET_MS:
            # The first frame, or the own clock was set back, or nothing came for long: all before is void.
            self._began_ms, self._current_ms, self._previous_ms = now_ms, difference_ms, None
        elif since_ms >= _BUCKET_MS:
            self._began_ms, self._current_ms, self._previous_ms = now_ms, difference_ms, self._current_ms
        elif difference_ms < self._current_ms:
            self._current_ms = difference_ms
        usual_ms = self._current_ms
        if self._previous_ms is not None and self._previous_ms < usual_ms:
            usual_ms = self._previous_ms
        return max(0, difference_ms - usual_ms)


_SAMPLES: Final = 8
# Beyond what two round trips explain: drift within the last samples is far less, a clock that was set is far more.
_SET_MS: Final = 1_000


class ClockOffset:
    """How far the parent's clock is ahead of this node's, from pings.

    Of the last eight the one with the shortest round trip counts: the error is at most half of it. The parent
    answers with fabric time as it believes it, so the offset is to the root's clock at any depth. A sample that the
    others cannot be true beside says that a clock was set, here or above: they are void.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)
        self._offset_ms = 0

    def observe(self, sent_ms: int, parent_ms: int, received_ms: int) -> None:
        """A pong: own clock when the ping left, the parent's clock in it, own clock when it came."""
        round_trip_ms = received_ms - sent_ms
        # The own clock was set back between the two: it says nothing.
        if round_trip_ms < 0:
            return
        offset_ms = parent_ms - (sent_ms + received_ms) // 2
        best_ms = min((known for known, _ in self._samples), default=0)
        if abs(offset_ms - self._offset_ms) > (round_trip_ms + best_ms) // 2 + _SET_MS:
            self._samples.clear()
        self._samples.append((round_trip_ms, offset_ms))
        # Of equals the latest, since offsets drift.
        self._offset_ms = min(reversed(self._samples), key=lambda sample: sample[0])[1]

    @property
    def measured(self) -> bool:
        return bool(self._samples)

    @property
    def offset_ms(self) -> int:
        """What to add to the own clock to get the parent's; 0 until it was measured."""
        return self._offset_ms


_UNITS_MS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
# Nine digits of days are beyond any use, and far from anything that costs time to compute.
_DURATION: Final = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit, _ in _UNITS_MS))
_DURATION_CHARS_MAX: Final = 64


def parse_duration(text: str) -> int:
    """`30s`, `10m`, `24h`, `7d`, `250ms`, `1h30m` in ms; units largest first. Raises FabricError(USAGE)."""
    found = _DURATION.fullmatch(text.strip()) if len(text) <= _DURATION_CHARS_MAX else None
    counts = found.groups() if found else ()
    if not any(counts):
        typed = repr(text[:_DURATION_CHARS_MAX])
        raise FabricError(Code.USAGE, f"{typed} is not a duration", "write it like 30s, 10m, 1h30m or 7d")
    return sum(int(count) * ms for count, (_, ms) in zip(counts, _UNITS_MS, strict=True) if count)


def format_duration(ms: int) -> str:
    """The shortest text that `parse_duration` reads as the same; a clock that is behind gets a minus."""
    if ms < 0:
        return "-" + format_duration(-ms)
    text = ""
    for unit, unit_ms in _UNITS_MS:
        count, ms = divmod(ms, unit_ms)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
