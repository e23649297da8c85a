"""`<PRI>` of RFC 5424 and 3164: facility and severity, and what those are here.

Guarantees: a priority that no sender may write says nothing of severity: it is kept as it is, and flagged.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fabric.protocol.vocabulary.severity import Severity

NO_PRIORITY: Final = "no-priority"
BAD_PRIORITY: Final = "bad-priority"

FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)
# Emergency to debug. OCSF has one word for what alert and critical are; notice is "normal, but significant".
SEVERITIES: Final = (
    Severity.FATAL, Severity.CRITICAL, Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW,
    Severity.INFORMATIONAL, Severity.INFORMATIONAL,
)
# The least that stands for each; what is unknown is not worse than what is only informational.
_NUMBERS: Final = {Severity.UNKNOWN: 6} | {
    severity: number for number, severity in reversed(list(enumerate(SEVERITIES)))
} | {Severity.CRITICAL: 2}
SEVERITY_WORDS: Final = tuple(severity.name.lower() for severity in SEVERITIES)
PRIORITY_MAX: Final = 191
# Also what some senders write and nobody may: <-1>, <999>.
_PRIORITY: Final = re.compile(r"<(-?\d{1,10})>")


class Priority(NamedTuple):
    """`end`: where the message goes on. `facility` and `severity` are words, empty where it is none."""

    end: int
    number: int | None
    facility: str
    severity: str
    flag: str


_NONE: Final = Priority(0, None, "", "", NO_PRIORITY)
# There are 192 of them as they are to be written.
_KNOWN: Final = {
    f"<{number}>": Priority(len(f"<{number}>"), number, FACILITIES[number >> 3], SEVERITY_WORDS[number & 7], "")
    for number in range(PRIORITY_MAX + 1)
}


def read_priority(text: str) -> Priority:
    """What a message begins with."""
    known = _KNOWN.get(text[: text.find(">", 0, 5) + 1])
    if known is not None:
        return known
    found = _PRIORITY.match(text)
    if found is None:
        return _NONE
    number = int(found[1])
    if 0 <= number <= PRIORITY_MAX:  # <013>
        return Priority(found.end(), number, FACILITIES[number >> 3], SEVERITY_WORDS[number & 7], "")
    return Priority(found.end(), number, "", "", BAD_PRIORITY)


def number_of(severity: Severity) -> int:
    """What a severity is written as: 0 is the worst, 7 is never written."""
    return _NUMBERS[severity]


def severity_of_ten(text: str) -> str:
    """The word for a severity from 0 to 10, or in words, as CEF and LEEF have it; empty where it is none of these."""
    words = text.strip().lower()
    if words in _TEN_WORDS:
        return _TEN_WORDS[words]
    return ""


_TEN: Final = ("low",) * 4 + ("medium",) * 3 + ("high",) * 2 + ("critical",) * 2
_TEN_WORDS: Final = {
    **{str(number): word for number, word in enumerate(_TEN)},
    "unknown": "unknown", "low": "low", "medium": "medium", "high": "high", "very-high": "critical",
    "very high": "critical",
}
