"""Values of OpenC2 1.0 that are text: networks, names, addresses, hashes. Each is written in one way only.

Each function reads one type: the one way to write the value, or None where it is none. Networks are refused with host
bits set or a netmask (`10.1.2.3/24` could mean two things), addresses with a zone.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import Final

_PREFIX_LENGTH: Final = re.compile(r"[^/%]+(?:/[0-9]{1,3})?")


def ipv4_net(value: str) -> str | None:
    """Section 3.4.1.9, `203.0.113.0/24`; a single address is written without `/32`."""
    return _net(value, ipaddress.IPv4Network)


def ipv6_net(value: str) -> str | None:
    """Section 3.4.1.11, `2001:db8::/64`; a single address is written without `/128`."""
    return _net(value, ipaddress.IPv6Network)


def _net(value: str, of: type[ipaddress.IPv4Network] | type[ipaddress.IPv6Network]) -> str | None:
    # ipaddress would also take netmasks, hostmasks and zones.
    if _PREFIX_LENGTH.fullmatch(value) is None:
        return None
    try:
        net = of(value)
    except ValueError:
        return None
    return str(net.network_address) if net.num_addresses == 1 else str(net)


_MAC: Final = re.compile(r"[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?::[0-9a-f]{2}){7})")


def mac_addr(value: str) -> str | None:
    """EUI-48 or EUI-64 (3.4.1.14), lower case with colons."""
    if "-" in value and ":" in value:
        return None
    mac = value.lower().replace("-", ":")
    return mac if _MAC.fullmatch(mac) else None


# RFC 1035 lengths; the underscore is no host name, but names of services have it.
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_IDN_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[^\s.@/:]{1,63}(?:\.[^\s.@/:]{1,63})*")


def domain_name(value: str) -> str | None:
    """Lower case, without a dot at the end; also the name of a host (3.4.2.6)."""
    # ASCII first: a few other letters become ASCII when they are lowered.
    name = value.lower().removesuffix(".")
    return name if value.isascii() and _DOMAIN.fullmatch(name) else None


def idn_domain_name(value: str) -> str | None:
    """The same with letters beyond ASCII, composed and not in a wide or another form (NFKC): resolvers know but one."""
    name = _mapped(value).removesuffix(".")
    return name if _IDN_DOMAIN.fullmatch(name) and _mapped(name) == name else None


def _mapped(value: str) -> str:
    """What becomes of it in lower case is composed too; the full stop of other scripts is a dot (RFC 3490, 3.1)."""
    lower = unicodedata.normalize("NFKC", value).lower()
    return unicodedata.normalize("NFKC", lower).replace("\u3002", ".")


def email_addr(value: str) -> str | None:
    """The local part's case is the receiving host's business (RFC 5321, 2.4); the domain is in lower case."""
    return _email(value, domain_name) if value.isascii() else None


def idn_email_addr(value: str) -> str | None:
    """The same with letters beyond ASCII, composed (RFC 6532, 3.1)."""
    return _email(unicodedata.normalize("NFC", value), idn_domain_name)


def _email(value: str, domain_of: Callable[[str], str | None]) -> str | None:
    local, _, domain = value.rpartition("@")
    read = domain_of(domain)
    if not 1 <= len(local) <= 64 or any(char in " @" for char in local) or read is None:
        return None
    return f"{local}@{read}"


_IRI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


def uri(value: str) -> str | None:
    """RFC 3986, as it stands: what of it is the same as another is for its scheme to say."""
    return value if value.isascii() and _IRI.fullmatch(value) else None


def iri(value: str) -> str | None:
    """RFC 3987."""
    return value if _IRI.fullmatch(value) else None


def hexadecimal(digits: int) -> Callable[[str], str | None]:
    """Base16 of so many digits (3.4.2.5): RFC 4648 writes it in upper case, most tools in lower; both are read."""
    shape = re.compile(f"[0-9A-F]{{{digits}}}")

    def read(value: str) -> str | None:
        upper = value.upper()
        return upper if value.isascii() and shape.fullmatch(upper) else None

    return read


_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def binary(value: str) -> str | None:
    """Base64url (3.1.5), written with its padding; read without it too."""
    digits = value.rstrip("=")
    if _BASE64URL.fullmatch(value) is None or len(digits) % 4 == 1:
        return None
    padded = digits + "=" * (-len(digits) % 4)
    if value not in (digits, padded):
        return None
    # What is not a whole byte at the end has to be zero, or two spellings were one value.
    return padded if base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)).decode() == padded else None


_COMMAND_ID: Final = re.compile(r"\S{1,36}")


def command_id(value: str) -> str | None:
    """Section 3.4.2.16, but for the empty one, which names nothing."""
    return value if _COMMAND_ID.fullmatch(value) and value.isprintable() else None


_MIME_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def mime_type(value: str) -> str | None:
    """A registered media type (RFC 6838, 4.2), without parameters; its case means nothing."""
    return value.lower() if _MIME_TYPE.fullmatch(value) else None


def anything(value: str) -> str | None:
    """Text that OpenC2 leaves to the actuator: the names of files and processes, identifiers of an inventory."""
    return value or None
