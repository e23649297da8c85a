"""RFC 3164 as it is sent: a timestamp, a host and a tag, each of which may not be there, and Cisco's own order of them.

    <34>Oct 11 22:14:15 mymachine su: 'su root' failed       as the RFC has it
    <34>2026-10-11T22:14:15.003Z mymachine su[12]: ...       with a timestamp of RFC 3339
    <13>su: failed      Oct 11 22:14:15 su: failed           no timestamp, no host, no priority
    <189>237: rtr1: 000012: *Nov 18 21:03:22.631 GMT: %SYS-5-CONFIG_I: ...      counters, origin, clock not set
    <134>1 1563249630.774247467 mx84 security_event ...      seconds since 1970

Where it cannot be known what a word is, it is what the RFC says that it should be; no word is lost.
"""

from __future__ import annotations

import re
from typing import Any, Final

CLOCK_NOT_SET: Final = "clock-not-set"
CLOCK_NOT_SYNCED: Final = "clock-not-synced"
# What begins with these is a format of its own, within the message.
FORMATS: Final = ("CEF", "LEEF")

_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_BSD: Final = rf"{_MONTH} +\d{{1,2}},? +(?:(?:19|20)\d\d,? +)?{_CLOCK}(?: (?:19|20)\d\d(?=[ :]))?"
_YEAR_FIRST: Final = rf"(?:19|20)\d\d {_MONTH} +\d{{1,2}} {_CLOCK}"
_ISO: Final = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_STAMP: Final = re.compile(
    rf"\s*(?:(?P<bsd>{_BSD}|{_YEAR_FIRST})|(?:1 )?(?P<iso>{_ISO})|1 (?P<epoch>\d{{9,11}}(?:\.\d{{1,9}})?))(?=[ :]|\Z)",
    re.IGNORECASE,
)
# "%SEC_LOGIN-5-LOGIN_SUCCESS: ", of which Cisco's header is known, in whatever order the rest of it comes.
_MNEMONIC: Final = r"\*?(?P<tag>%[A-Z0-9_]+(?:-[A-Za-z0-9_]+)*-[0-7]-[A-Za-z0-9_]+)\s?:?\s*"
_CISCO: Final = re.compile(
    rf"\s*(?:(?P<first>\d{{1,12}}):\s?)?(?::\s)?(?:(?P<origin>(?!\d+:\s)[^\s:%*][^\s%]{{0,254}}):\s)?"
    rf"(?:(?P<second>\d{{1,12}}):\s)?"
    rf"(?:(?P<unset>[*.])?(?P<stamp>{_BSD}|{_YEAR_FIRST}|{_ISO}|(?:\d{{1,4}}[ywdh]){{1,4}}|{_CLOCK})"
    rf"(?P<zone> [A-Za-z][\w+\-]{{0,31}}(?=:))?(?: (?P<host>[^\s:%]\S{{0,254}}?))?\s?:?\s+)?"
    + _MNEMONIC
)
_BSD_ONLY: Final = re.compile(f"(?:{_BSD}|{_YEAR_FIRST})", re.IGNORECASE)
# Of these a word behind the time is the host; of other devices it is the zone.
_NAMES_ITSELF: Final = ("%ASA", "%FTD", "%PIX", "%FWSM")
_TAG: Final = re.compile(r"([\w./%@+()#$~*\-]{1,128})(?:\[([^\]\s]{0,128})\](?::\s?|(?=\s|\Z))|:(?:\s|\Z))")
_HOST: Final = re.compile(r"""([^\s|=,"'{}\[\]()<>]{1,255}?):?(?:\s+|\Z)""")
_FORWARDED: Final = re.compile(r"Message forwarded from ([^\s:]{1,255}): ?")
_REPEATED: Final = "last message repeated"
# How far into a message Cisco's mnemonic is looked for.
_HEADER_MAX: Final = 320


def read_3164(text: str, start: int, into: dict[str, Any], flags: list[str]) -> tuple[str, str]:
    """Its timestamp and what that is ("bsd", "iso", "epoch", ""), and the rest `into` a record."""
    if text.find("%", start, start + _HEADER_MAX) >= 0:
        found = _CISCO.match(text, start)
        if found is not None:
            return _cisco(text, found, into, flags)
    stamp = _STAMP.match(text, start)
    if stamp is None:
        _tag(text, start, into)
        return "", ""
    at = stamp.end()
    while text.startswith((" ", ":"), at):
        at += 1
    forwarded = _FORWARDED.match(text, at)
    if forwarded is not None:
        into["host"] = forwarded[1]
        _tag(text, forwarded.end(), into)
    elif not _tag(text, at, into) and not text.startswith(_REPEATED, at):
        _host(text, at, into, flags)
    kind = stamp.lastgroup or ""
    return stamp[kind], kind


def _host(text: str, at: int, into: dict[str, Any], flags: list[str]) -> None:
    """A host from here, and what follows it."""
    host = _HOST.match(text, at)
    if host is None or host[1] in FORMATS:
        return
    into["host"] = host[1]
    at = host.end()
    if text.find("%", at, at + _HEADER_MAX) >= 0:  # what a relay put its own header before
        inner = _CISCO.match(text, at)
        if inner is not None:
            stamp, _ = _cisco(text, inner, into, flags)
            into["host"] = host[1]
            if stamp:
                into["timestamp"] = stamp
            return
    _tag(text, at, into)


def _tag(text: str, at: int, into: dict[str, Any]) -> bool:
    """Whether there is a tag from here; the message is what follows it."""
    tag = _TAG.match(text, at)
    # A word of digits is a counter or a time, and a word before CEF's own is none of its.
    if tag is None or tag[1].isdecimal() or tag[1] in FORMATS:
        into["message"] = text[at:]
        return False
    into["app"] = tag[1]
    if tag[2]:
        into["proc_id"] = tag[2]
    into["message"] = text[tag.end() :].removeprefix(" ") if tag[2] is not None else text[tag.end() :]
    return True


def _cisco(text: str, found: re.Match[str], into: dict[str, Any], flags: list[str]) -> tuple[str, str]:
    counters = [each for each in (found["first"], found["second"]) if each]
    if counters:
        into["sequence"] = counters
    zone, host = (found["zone"] or "").strip(), found["host"] or found["origin"] or ""
    if zone and found["tag"].startswith(_NAMES_ITSELF):
        host, zone = zone, ""
    if host:
        into["host"] = host.rstrip(":")
    into["app"] = found["tag"]
    into["message"] = text[found.end() :]
    stamp = found["stamp"] or ""
    unset = found["unset"]
    if unset:
        flags.append(CLOCK_NOT_SET if unset == "*" else CLOCK_NOT_SYNCED)
    if zone and zone not in ("UTC", "GMT", "Z"):
        into["zone"] = zone
    if unset == "*" or not (stamp[:4].isdecimal() or _BSD_ONLY.match(stamp)):
        return stamp, ""  # an uptime, or what a clock says that was never set
    return stamp, "bsd" if _BSD_ONLY.match(stamp) else "iso"
