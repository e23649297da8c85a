"""When something happened, as a record says it: RFC 3339, or a number since 1970 in s, ms, us or ns.

Guarantees: a time that cannot be (in the future, before there was such a product) is not believed; it stays in its
field as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from fabric.protocol.base.limits import SKEW_MS
from relays.gateways.mapping.lookups import number_of, read_path
from relays.gateways.mapping.paths import Path
from relays.gateways.options import Options
from relays.wording import shown

UNITS: Final[Mapping[str, float]] = {"s": 1_000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
# Of a number without a unit: what is below is taken for this one. 1e11 s is the year 5138, 1e11 ms 1973.
_GUESSES: Final = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (1e20, "ns"))
_EARLIEST_MS: Final = 946_684_800_000  # 2000: a clock that was never set says 1970 or 1980
_TEXT_CHARS_MAX: Final = 64
_RFC3339: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:[.,](?P<part>[0-9]{1,9}))?\s?(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True)
class TimeRule:
    """`unit`: of numbers; empty where their size tells."""

    path: Path
    unit: str = ""

    def of(self, record: dict[str, Any], now_ms: int | None) -> int | str | None:
        """In ms since 1970; in words why it is not believed; None where the record has none."""
        value = self.path.value(record)
        return None if value is None else believed(time_ms(value, self.unit), now_ms)


def believed(at_ms: int | None, now_ms: int | None) -> int | str:
    """The time, or why it is not believed. `now_ms` None: nobody knows what is in the future."""
    if at_ms is None:
        return "it is no time"
    if at_ms < _EARLIEST_MS:
        return "it is before the year 2000"
    if now_ms is not None and at_ms > now_ms + SKEW_MS:
        return "it is in the future"
    return at_ms


def time_ms(value: Any, unit: str = "") -> int | None:
    """None for what is no time."""
    number = number_of(value)
    if number is not None:
        if not unit:
            unit = next((each for most, each in _GUESSES if abs(number) < most), "")
        ms = number * UNITS[unit] if unit else 0.0
        return int(ms) if abs(ms) < 2**53 and unit else None
    found = _RFC3339.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _TEXT_CHARS_MAX else None
    if found is None:
        return None
    second = found["time"][:6] + ("59" if found["time"].endswith(":60") else found["time"][6:])  # a leap second
    try:
        at = datetime.fromisoformat(f"{found['date']}T{second}").replace(tzinfo=timezone(_offset(found["zone"])))
        part_ms = int((found["part"] or "0").ljust(3, "0")[:3])
        return int(at.timestamp()) * 1_000 + part_ms
    except (ValueError, OverflowError):
        return None


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta()
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return timedelta(minutes=-minutes if zone[0] == "-" else minutes)


def read_time(options: Options) -> TimeRule | None:
    """`time = "ts"`, or `{ field = "ts", unit = "ms" }`."""
    value = options.value("time")
    if value is None:
        return None
    table = value if isinstance(value, Mapping) else {"field": value}
    for name in table:
        if name not in ("field", "unit"):
            options.wrong(f"time.{name}", f"there is no key '{name}' here", "use field, unit")
    unit = table.get("unit", "")
    if unit != "" and unit not in UNITS:
        options.wrong("time.unit", f"{shown(unit)} is no unit", 'write "s", "ms", "us" or "ns", or leave it out')
        unit = ""
    path = read_path(options, "time.field" if isinstance(value, Mapping) else "time", table.get("field"))
    return None if path is None else TimeRule(path, unit)
