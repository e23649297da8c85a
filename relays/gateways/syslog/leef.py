r"""LEEF 1 and 2, the format of IBM QRadar: `LEEF:2.0|vendor|product|version|event id|delimiter|key=value^key=value`.

The delimiter of LEEF 2 is a character or its number (`^`, `x5E`, `0x09`), and may be left out; LEEF 1 has a tab. Some
write LEEF 1 with `|` or spaces between the pairs: these are found where there is no tab, and flagged.
"""

from __future__ import annotations

import re
from typing import Any, Final

from relays.gateways.syslog.bars import Header
from relays.gateways.syslog.cef import read_extension
from relays.gateways.syslog.pairs import MORE_PAIRS, PAIRS_MAX, Pairs, put

BAD_LEEF: Final = "bad-leef"
GUESSED_DELIMITER: Final = "guessed-delimiter"
_TAB: Final = "\t"
_HEADER: Final = Header("LEEF", r"[12](?:\.\d{1,3})?", "version", "vendor", "product", "device_version", "event_id")
_DELIMITER: Final = re.compile(r"(?:0?[xX]([0-9A-Fa-f]{1,4})|(\\t)|([^|]?))\|", re.DOTALL)
_KEY: Final = re.compile(r"\s*([\w.\-\[\]: ]{1,128}?)\s*=")
_BARS: Final = re.compile(r"\|[\w.\-]{1,128}=")
_SPACES: Final = re.compile(r" [\w.\-]{1,128}=")


def read_leef(text: str) -> tuple[dict[str, Any] | None, str]:
    """The header's fields and `attributes`, from text that begins with "LEEF:"; None where it is none. And a flag, or
    ""."""
    found = _HEADER.read(text)
    if found is None:
        return None, BAD_LEEF
    leef, at = found
    delimiter, flag = _TAB, ""
    if leef["version"][0] == "2" and (given := _DELIMITER.match(text, at)) is not None:
        delimiter, at = _delimiter(given), given.end()
    body = text[at:]
    if delimiter == _TAB and _TAB not in body:
        if _BARS.search(body):
            delimiter, flag = "|", GUESSED_DELIMITER
        elif _SPACES.search(body):
            delimiter, flag = " ", GUESSED_DELIMITER
    attributes, rest = read_extension(body) if delimiter == " " else _attributes(body, delimiter)
    if attributes:
        leef["attributes"] = attributes
    if rest:
        leef["rest"] = rest
        flag = MORE_PAIRS if len(attributes) >= PAIRS_MAX else BAD_LEEF
    return leef, flag


def _delimiter(given: re.Match[str]) -> str:
    if given[1]:
        number = int(given[1], 16)
        return chr(number) if number and not 0xD800 <= number <= 0xDFFF else _TAB
    return _TAB if given[2] else given[3] or _TAB


def _attributes(text: str, delimiter: str) -> tuple[Pairs, str]:
    """Pairs, and what is none. A piece that has no key goes on with the value before it: the delimiter was in it."""
    pairs: Pairs = {}
    rest, key, value = "", "", ""
    escaped = "\\" + delimiter
    pieces = text.split(delimiter) if escaped not in text else _unescaped(text, delimiter)
    for count, piece in enumerate(pieces):
        found = _KEY.match(piece)
        if found is None:
            if key:
                value += delimiter + piece
            else:
                rest += piece
            continue
        if key:
            put(pairs, key, _value(value))
        if count >= PAIRS_MAX:
            return pairs, rest + delimiter.join(pieces[count:])
        key, value = found[1], piece[found.end() :]
    if key:
        put(pairs, key, _value(value.rstrip(delimiter)))
    return pairs, rest.strip()


def _unescaped(text: str, delimiter: str) -> list[str]:
    """Split at the delimiter, but not where a backslash is before it, which goes."""
    pieces: list[str] = []
    joined = False
    for piece in text.split(delimiter):
        if joined:
            pieces[-1] = pieces[-1][:-1] + delimiter + piece
        else:
            pieces.append(piece)
        joined = piece.endswith("\\")
    return pieces


def _value(text: str) -> str:
    r"""Of the standard's escapes only these: `C:\new` is a path, which nobody escapes."""
    return text.replace("\\=", "=").replace("\\|", "|") if "\\" in text else text
