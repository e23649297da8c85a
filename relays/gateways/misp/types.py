"""Types of MISP's attributes, in the words of the one table for intel: what each is about, and its value.

Guarantees: a value is only taken from a type of which it is the whole, or the part that tells it apart: of
`filename|sha256` the digest, of `ip-dst|port` nothing, for whoever blocked the address would block more than is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from relays.gateways.stix.values import OTHER, kind_of_values, plain_value

_IP: Final = ("ipv4", "ipv6")
# By type: which kinds of values its whole is, the first that it fits.
_WHOLE: Final[Mapping[str, tuple[str, ...]]] = {
    "ip-src": _IP, "ip-dst": _IP, "domain": ("domain",), "hostname": ("domain",), "url": ("url",), "uri": ("url",),
    "email": ("email",), "email-src": ("email",), "email-dst": ("email",),
    **{name: (name,) for name in ("md5", "sha1", "sha256", "sha512", "sha3-256")},
}
# Of types with two parts: the kind that the second is of, which tells the whole apart.
_SECOND: Final[Mapping[str, str]] = {
    f"filename|{name}": name for name in ("md5", "sha1", "sha256", "sha512", "sha3-256")
}
# What these are about; they have no value that could be blocked alone.
_ABOUT: Final[Mapping[str, str]] = {
    "filename": "file", "ssdeep": "file", "imphash": "file", "authentihash": "file", "tlsh": "file",
    "email-subject": "email", "email-message-id": "email",
}
_WITH_PORT: Final = ("ip-src|port", "ip-dst|port")


def about(type_: str, value: str) -> tuple[str, dict[str, list[str]]]:
    """What an attribute that can be detected is about, and its value by kind; without one where it is none."""
    if type_ in _WITH_PORT:
        address = value.partition("|")[0]
        return next((kind for kind in _IP if plain_value(kind, address) is not None), OTHER), {}
    kinds, text = _WHOLE.get(type_, ()), value.strip()
    if type_ in _SECOND:
        kinds, text = (_SECOND[type_],), value.rpartition("|")[2].strip()
    for kind in kinds:
        plain = plain_value(kind, text)
        if plain is not None:
            return kind_of_values([kind]), {kind: [plain]}
    return (kind_of_values(kinds) if kinds and kinds != _IP else _ABOUT.get(type_, OTHER)), {}
