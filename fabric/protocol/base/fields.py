"""Checks of single values that `codec.unpack` returned: of exactly this type and within this bound, or a TypeError.

They read what a `Shape` does not: what a later version wrote, and what a shape cannot express, like the bytes that text
takes. True is no number here, although Python takes it for one.
"""

from __future__ import annotations

from fabric.protocol.base.limits import NAME_BYTES_MAX
from fabric.protocol.base.shapes import INT_MAX


def integer(value: object) -> int:
    """From 0 to INT_MAX."""
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise TypeError
    return value


def text(value: object, bytes_max: int = NAME_BYTES_MAX) -> str:
    """Its length is counted in bytes of UTF-8."""
    if type(value) is not str or len(value) > bytes_max or (not value.isascii() and len(value.encode()) > bytes_max):
        raise TypeError
    return value


def binary(value: object, bytes_max: int, bytes_min: int = 0) -> bytes:
    """As many bytes as either bound are allowed, too."""
    if type(value) is not bytes or not bytes_min <= len(value) <= bytes_max:
        raise TypeError
    return value
