"""Sizes as people write them: `16MB`, `2GB`, `1TB`. A MB is 1,048,576 bytes here, as everywhere in this protocol."""

from __future__ import annotations

import re
from typing import Final

from fabric.protocol.base.errors import Code, FabricError

_UNITS: Final = (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("KB", 2**10))
_SIZE: Final = re.compile(r"([0-9]{1,6})(TB|GB|MB|KB)", re.ASCII)


def parse_size(text: str) -> int:
    """In bytes. Raises FabricError(USAGE)."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise FabricError(Code.USAGE, "not a size", "write it like 512KB, 16MB, 2GB or 1TB")
    return int(found[1]) * dict(_UNITS)[found[2]]


def format_size(bytes_: int) -> str:
    """In the largest unit, about where it is no whole number of it."""
    for unit, unit_bytes in _UNITS:
        if bytes_ >= unit_bytes:
            count = bytes_ / unit_bytes
            return f"{count:.0f}{unit}" if bytes_ % unit_bytes == 0 else f"{count:.1f}{unit}"
    return f"{bytes_} bytes"
