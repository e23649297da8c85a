"""A syslog message of whatever dialect, as a record. Pure: the time is an argument.

Guarantees: any bytes make a record, and nothing that was sent is missing in it. What is not as its dialect says is kept
as text and flagged: see `flags`. What was read into fields is not in the record a second time as text, so that a label
on a field holds.

    {"format": "rfc5424" | "rfc3164" | "plain", "priority": 165, "facility": "local4", "severity": "low",
     "time": "2003-10-11T22:14:15.003Z", "host": .., "app": .., "proc_id": .., "msg_id": ..,
     "structured_data": {"exampleSDID@32473": {"iut": "3"}}, "message": .., "cef": {..}, "leef": {..}, "flags": [..]}

A field that a message does not have is not there. `severity` is CEF's or LEEF's where it has one, else its priority's.
`timestamp` is what the sender wrote, where no time could be made of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from relays.gateways.syslog.cef import read_cef
from relays.gateways.syslog.leef import read_leef
from relays.gateways.syslog.pairs import first
from relays.gateways.syslog.priority import read_priority, severity_of_ten
from relays.gateways.syslog.rfc3164 import CLOCK_NOT_SET, read_3164
from relays.gateways.syslog.rfc5424 import read_5424
from relays.gateways.syslog.text import INVALID_UTF8, to_text, without_bom
from relays.gateways.syslog.when import BAD_TIME, from_bsd, from_epoch, from_iso

Record = dict[str, Any]
_SPACES: Final = re.compile(" {2,}")
# Where CEF and LEEF begin in a message; some put words of their own before it.
_FORMAT: Final = re.compile(r"(?:\A|(?<=[\s:\]]))(?:CEF: ?\d|LEEF: ?[12])")
_FORMAT_WITHIN: Final = 512


@dataclass(frozen=True)
class How:
    """`zone`: of times that name none. `fold`: CEF's labels become names. `day`: about now, from `when.day_of`."""

    day: datetime
    zone: tzinfo = UTC
    fold: bool = False


def read_message(raw: bytes, how: How, marks: Sequence[str] = ()) -> Record:
    """The record. `marks`: what is to be flagged of it that its bytes do not say."""
    text, valid = to_text(raw)
    text = without_bom(text)
    record: Record = {"format": "rfc5424"}
    flags = list(marks)
    if not valid:
        flags.append(INVALID_UTF8)
    priority = read_priority(text)
    if priority.number is not None:
        record["priority"] = priority.number
    if priority.facility:
        record["facility"], record["severity"] = priority.facility, priority.severity
    if priority.flag:
        flags.append(priority.flag)
    stamp = read_5424(text, priority.end, record, flags)
    if stamp is not None:
        kind = "iso" if stamp else ""
    else:
        stamp, kind = read_3164(text, priority.end, record, flags)
        record["format"] = "rfc3164" if kind or stamp or "app" in record else "plain"
    if stamp:
        time = _time(stamp, kind, how)
        if time:
            record["time"] = time
        else:
            record["timestamp"] = stamp
            if CLOCK_NOT_SET not in flags:
                flags.append(BAD_TIME)
    _read_format(record, flags, how.fold)
    if flags:
        record["flags"] = flags
    return record


def _time(stamp: str, kind: str, how: How) -> str:
    if kind == "iso":
        return from_iso(stamp, how.zone)
    if kind == "bsd":
        return from_bsd(_SPACES.sub(" ", stamp.replace(", ", " ")), how.day, how.zone)
    return from_epoch(stamp) if kind == "epoch" else ""


def _read_format(record: Record, flags: list[str], fold: bool) -> None:
    """CEF or LEEF within the message, which then is what was before it."""
    message: str = record["message"]
    if "EF:" not in message[:_FORMAT_WITHIN]:
        return
    found = _FORMAT.search(message, 0, _FORMAT_WITHIN)
    if found is None:
        return
    body = message[found.start() :]
    if body[0] == "C":
        name, (fields, flag) = "cef", read_cef(body, fold)
        severity = fields["severity"] if fields else ""
    else:
        name, (fields, flag) = "leef", read_leef(body)
        severity = first(fields.get("attributes", {}), "sev") if fields else ""
    if flag:
        flags.append(flag)
    if fields is None:
        return
    record[name] = fields
    before = message[: found.start()].strip()
    if before:
        record["message"] = before
    else:
        del record["message"]
    if word := severity_of_ten(severity):
        record["severity"] = word
