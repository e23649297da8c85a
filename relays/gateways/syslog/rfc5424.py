r"""RFC 5424: header, structured data, message. What is not as it should be stays in the message, flagged.

Seen of senders, and read: no structured data where a "-" should be; `[]`; `]` that is not escaped within quotes; a name
twice; elements written as `[action:"Accept"; src:"192.0.2.1"]`, which are kept as the element `pairs`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from relays.gateways.syslog.pairs import MORE_PAIRS, PAIRS_MAX, Pairs, put
from relays.gateways.syslog.text import without_bom

BAD_STRUCTURED_DATA: Final = "bad-structured-data"
# A name with "|" in it is the beginning of CEF or LEEF behind a header that lacks the rest.
_HEADER: Final = re.compile(
    r"([1-9]\d{0,2}) (-|\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d\S{0,30}) ([^ |]+) ([^ |]+) ([^ ]+) ([^ ]+)(?: |\Z)"
)
_ID: Final = re.compile(r'\[([^\s=\]":]{1,255})(?=[ \]])')
_PARAM: Final = re.compile(r' +([^\s=\]"]{1,255})="([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_END: Final = re.compile(r" *\]")
_COLON_PAIR: Final = re.compile(r' *([\w.\-]{1,255}):"([^"\\]*(?:\\.[^"\\]*)*)"(?:; ?)?', re.DOTALL)
_ESCAPE: Final = re.compile(r'\\(["\\\]])')


def read_5424(text: str, start: int, into: dict[str, Any], flags: list[str]) -> str | None:
    """Its timestamp, "" where there is none, and the rest `into` a record; None where it is not this."""
    found = _HEADER.match(text, start)
    if found is None:
        return None
    version, timestamp, host, app, proc_id, msg_id = found.groups()
    if version != "1":
        into["version"] = int(version)
    if host != "-":
        into["host"] = host
    if app != "-":
        into["app"] = app
    if proc_id != "-":
        into["proc_id"] = proc_id
    if msg_id != "-":
        into["msg_id"] = msg_id
    at = found.end()
    if text.startswith("- ", at):
        at += 2
    elif text.startswith("[", at):
        at = _elements(text, at, into, flags)
    elif at < len(text) and text[at:] != "-":
        flags.append(BAD_STRUCTURED_DATA)
    else:
        at = len(text)
    # Some write the letters for what the standard calls BOM. rsyslog keeps the space behind an RFC 3164 tag when it
    # forwards as RFC 5424, so that two are before the message.
    message = without_bom(text[at:].removeprefix(" "))
    into["message"] = message[3:] if message.startswith("BOM%") else message
    return "" if timestamp == "-" else timestamp


def _elements(text: str, at: int, into: dict[str, Any], flags: list[str]) -> int:
    """Structured data from here: where the message begins. All of it stays message from the first that is none."""
    elements: dict[str, Any] = {}
    count = 0
    while text.startswith("[", at):
        began = at
        if text.startswith("[]", at):
            at += 2
            continue
        name, params, at = _element(text, at)
        count += len(params)
        if at < 0 or count > PAIRS_MAX:
            flags.append(BAD_STRUCTURED_DATA if at < 0 else MORE_PAIRS)
            at = began
            break
        put(elements, name, params)
    else:
        at += text.startswith(" ", at)
    if elements:
        into["structured_data"] = elements
    return at


def _element(text: str, at: int) -> tuple[str, Pairs, int]:
    """Its name, its pairs and where it ends; below 0 where it is none."""
    params: Pairs = {}
    found = _ID.match(text, at)
    if found is not None:
        name, pair, at = found[1], _PARAM, found.end()
    else:
        name, pair, at = "pairs", _COLON_PAIR, at + 1
    while (param := pair.match(text, at)) is not None:
        value = param[2]
        put(params, param[1], _ESCAPE.sub(r"\1", value) if "\\" in value else value)
        at = param.end()
    end = _END.match(text, at)
    if end is None or (found is None and not params):
        return name, params, -1
    return name, params, end.end()
