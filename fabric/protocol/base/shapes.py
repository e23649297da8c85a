"""Values of one exact shape, decoded in one step: what nearly all that peers send is like.

Guarantees: what `read` returns is what `codec.unpack` returns of the same bytes, in the types of the shape, and within
each bound that the shape names; whatever the bytes are, it returns and never raises, and nothing is allocated for a
length that was only announced. Bytes of any other shape, or beyond a bound, are None without a reason: they may be of a
later version, and `unpack` reads them or says what is wrong. A shape has no maps: of a key that comes twice one would
be taken.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fabric.protocol.base.limits import DIGEST_BYTES, ID_BYTES, NAME_BYTES_MAX

INT_MAX = 2**53  # what every language's JSON can hold
Number = Annotated[int, Meta(ge=0, le=INT_MAX)]
# How long text is, is counted in characters here: of what is not ASCII the bytes are still to be counted.
Name = Annotated[str, Meta(max_length=NAME_BYTES_MAX)]
Id = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class Shape:
    """`type_`: a tuple of types that msgspec knows, with their bounds (`Annotated[int, msgspec.Meta(ge=0)]`)."""

    __slots__ = ("_decode",)

    def __init__(self, type_: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(type_).decode

    def read(self, packed: bytes) -> Any | None:
        """The one value in these bytes, or None where it is not of this shape."""
        try:
            return self._decode(packed)
        except ValueError:  # whatever msgspec finds wrong, and text that is not UTF-8
            return None
