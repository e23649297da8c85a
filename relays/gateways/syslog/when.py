"""When a sender says that something was: RFC 3339, or what RFC 3164 has, which has neither a year nor a zone.

The year that is not there is the last in which the time is no more than a week ahead: on New Year's Day December was
last year's, and a clock that is ahead of ours on New Year's Eve is in the next.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

BAD_TIME: Final = "bad-time"
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBER: Final = {month: number for number, month in enumerate(MONTHS, 1)}
_AHEAD: Final = timedelta(days=7)
_RFC3339_LENGTH: Final = len("2026-01-01T00:00:00Z")


def from_iso(text: str, zone: tzinfo) -> str:
    """RFC 3339, as it was written where it is that already; empty where it is no time. `zone`: where it names none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if time.tzinfo is None:
        return time.replace(tzinfo=zone).isoformat()
    zoned = text[-1] == "Z" or text[-3] == ":"
    usual = zoned and len(text) >= _RFC3339_LENGTH and text[10] == "T" and "," not in text
    return text if usual else time.isoformat()


@lru_cache(maxsize=1024)  # a second's messages are many
def from_bsd(text: str, near: datetime, zone: tzinfo) -> str:
    """The same of "Oct 11 22:14:15", also with a year before or behind the time and a fraction: words by one space.

    `near`: about now, from `day_of`. Empty where it is no time.
    """
    words = text.split(" ")
    year = ""
    for at in (0, 2, 3):  # "2013 Nov 19 10:30:15", "Sep 14 2016 09:33:47", "Oct 11 22:14:15 2019"
        if at < len(words) and len(words) > 3 and len(words[at]) == 4 and words[at].isdecimal():
            year = words.pop(at)
            break
    if len(words) != 3 or not words[1].isdecimal():
        return ""
    month = _NUMBER.get(words[0][:3].lower(), 0)
    clock, _, fraction = words[2].replace(",", ".").partition(".")
    try:
        hour, minute, second = (int(part) for part in clock.split(":"))
        micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    except ValueError:
        return ""
    for number in (int(year),) if year else (near.year + 1, near.year, near.year - 1):
        try:
            time = datetime(number, month, int(words[1]), hour, minute, second, micros, zone)
        except (ValueError, OverflowError):
            continue
        if year or time.replace(tzinfo=UTC) - near <= _AHEAD:
            return time.isoformat()
    return ""


def from_epoch(text: str) -> str:
    """Of seconds since 1970, with a fraction perhaps."""
    try:
        return datetime.fromtimestamp(float(text), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""


def day_of(now_ms: int) -> datetime:
    """About now, for `from_bsd`: the middle of the day, so that it is the same for a day's messages."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=12, minute=0, second=0, microsecond=0)
