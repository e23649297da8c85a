"""What an indicator is about, and values of it that can be blocked as they are: the one table for all sources of intel.

Guarantees: a value is one address, name, URL or digest, in one spelling; never a range, a wildcard or a part of
something else, and nothing in it is a space or could end a line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

# What is in a topic, so that `intel.ipv4.>` has all about IPv4 addresses; and what no one word is for.
KINDS: Final = ("ipv4", "ipv6", "domain", "url", "email", "file")
OTHER: Final = "indicator"
# Of what was seen, and is not said to be bad.
OBSERVED: Final = "observed-data"
# Longer than any URL that a product takes.
VALUE_CHARS_MAX: Final = 2_048
# Of one indicator: more than a person writes.
VALUES_MAX: Final = 1_000

_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
# With a host, and without a user: what is left where a reader cuts the scheme, or the user, off is no other place.
_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9._-]{1,253}))"
    r"(?::[0-9]{1,5})?(?:[/?#][!-~]{0,2048})?"
)
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?P<domain>[^@]{1,253})")
_DIGEST_CHARS: Final[Mapping[str, int]] = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "sha3-256": 64}


def _ipv4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text.removesuffix("/32")))
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    try:
        found = ipaddress.IPv6Address(text.removesuffix("/128"))
    except ValueError:
        return None
    return None if found.scope_id else found.compressed


def _domain(text: str) -> str | None:
    name = text.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            return None
    return name if _NAME.fullmatch(name) else None


def _url(text: str) -> str | None:
    return text if host_of(text) and "*" not in text else None


def host_of(url: str) -> str:
    """The address or name that a URL leads to, in its one spelling; empty where it is no URL."""
    found = _URL.fullmatch(url)
    if found is None:
        return ""
    if found["ipv6"] is not None:
        return _ipv6(found["ipv6"]) or ""
    return _ipv4(found["host"]) or _domain(found["host"]) or ""


def _email(text: str) -> str | None:
    found = _EMAIL.fullmatch(text)
    return text.lower() if found is not None and _domain(found["domain"]) else None


def _digest(chars: int) -> Callable[[str], str | None]:
    form = re.compile(rf"[0-9a-f]{{{chars}}}")
    return lambda text: text.lower() if form.fullmatch(text.lower()) else None


_READ: Final[Mapping[str, Callable[[str], str | None]]] = {
    "ipv4": _ipv4, "ipv6": _ipv6, "domain": _domain, "url": _url, "email": _email,
    **{name: _digest(chars) for name, chars in _DIGEST_CHARS.items()},
}
# What a value can be: as `fabric.values` has them, and a block list is of.
VALUE_KINDS: Final = tuple(_READ)


def plain_value(kind: str, text: str) -> str | None:
    """The value in its one spelling; None for what is none of this kind."""
    return _READ[kind](text) if len(text) <= VALUE_CHARS_MAX else None


def kind_of_values(value_kinds: Iterable[str]) -> str:
    """What an indicator with values of these kinds is about: one of `KINDS`, or else OTHER."""
    kinds = {"file" if each in _DIGEST_CHARS else each for each in value_kinds}
    return kinds.pop() if len(kinds) == 1 else OTHER
