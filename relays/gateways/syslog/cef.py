r"""CEF, the Common Event Format of ArcSight: `CEF:0|vendor|product|version|class id|name|severity|key=value key=value`.

In the header `\|` and `\\` are escapes, in the extension `\=`, `\\`, `\n` and `\r`; any other backslash is one. A value
goes on to the next word that is followed by `=`, so an `=` that nobody escaped within one (of a URL) stays in it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from relays.gateways.syslog.bars import Header
from relays.gateways.syslog.pairs import MORE_PAIRS, PAIRS_MAX, Pairs, first, put

BAD_CEF: Final = "bad-cef"
_HEADER: Final = Header(
    "CEF", r"\d{1,3}(?:\.\d{1,3})?", "version", "vendor", "product", "device_version", "class_id", "name", "severity"
)
_KEY: Final = re.compile(r"(?:\A|(?<=\s))([\w.\-\[\]:]{1,128})=")
_ESCAPE: Final = re.compile(r"\\([=\\nr])")
_ESCAPED: Final = {"=": "=", "\\": "\\", "n": "\n", "r": "\r"}
_LABEL: Final = "Label"


def read_cef(text: str, fold: bool = False) -> tuple[dict[str, Any] | None, str]:
    """The header's fields and `extension`, from text that begins with "CEF:"; None where it is none. And a flag, or "".

    `fold`: `cs1=5 cs1Label=rule` becomes `rule=5`, unless there is a `rule` already.
    """
    found = _HEADER.read(text)
    if found is None:
        return None, BAD_CEF
    cef, at = found
    extension, rest = read_extension(text[at:])
    if extension:
        cef["extension"] = folded(extension) if fold else extension
    if rest:
        cef["rest"] = rest
        return cef, MORE_PAIRS if len(extension) >= PAIRS_MAX else BAD_CEF
    return cef, ""


def read_extension(text: str) -> tuple[Pairs, str]:
    """Its pairs, and what is none of them: text before the first key, or everything behind too many of them."""
    pairs: Pairs = {}
    rest, key, at = "", "", 0
    for count, found in enumerate(_KEY.finditer(text)):
        if key:
            put(pairs, key, _value(text[at : found.start()]))
        else:
            rest = text[: found.start()].strip()
        if count >= PAIRS_MAX:
            return pairs, f"{rest} {text[found.start():]}".strip()
        key, at = found[1], found.end()
    if not key:
        return pairs, text.strip()
    put(pairs, key, _value(text[at:]))
    return pairs, rest


def _value(text: str) -> str:
    text = text.rstrip()
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text) if "\\" in text else text


def folded(pairs: Pairs) -> Pairs:
    """`cs1=5 cs1Label=rule` as `rule=5`, in the place of cs1. A pair whose label says nothing, or a name that is taken,
    stays as it is."""
    names = {key: first(pairs, key + _LABEL) for key in pairs if key + _LABEL in pairs}
    taken = set(pairs)
    result: Pairs = {}
    gone: set[str] = set()
    for key, name in names.items():
        if not name or name in taken or isinstance(pairs[key + _LABEL], list):
            continue
        taken.add(name)
        gone.add(key)
    for key, value in pairs.items():
        if key in gone:
            result[names[key]] = value
        elif not (key.endswith(_LABEL) and key.removesuffix(_LABEL) in gone):
            result[key] = value
    return result
