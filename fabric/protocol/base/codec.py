"""Bounded msgpack: the only way in which bytes become values, and values bytes.

Guarantees: nothing is allocated for a peer before the whole structure has been checked against the caller's bounds, or
(`unpack_rows`) in proportion to the bytes that are there, with some MB at most besides; whatever the bytes are, `scan`
and `unpack` return and never raise; a value that `unpack` returns has one reading only. Refuses: truncated input, bytes
after the value, more elements or levels than allowed, extension types (timestamps too), the reserved byte 0xc1, text
that is not UTF-8, map keys that are neither text nor integer, and a key that comes twice (two readers could take
different ones).

It does not require the shortest encoding of a number or length: the bytes as they were sent are what is signed and
forwarded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgpack

from fabric.protocol.base.errors import Code, FabricError, Reject


def _widths() -> bytes:
    """Per first byte: the bytes of the whole element, or 0 where its length has to be read first."""
    widths = bytearray(256)
    for first in range(0x80):  # positive fixint
        widths[first] = 1
    for first in range(0xA0, 0xC0):  # fixstr
        widths[first] = 1 + (first & 0x1F)
    for first in (0xC0, 0xC2, 0xC3):  # nil, false, true
        widths[first] = 1
    for first, width in ((0xCA, 5), (0xCB, 9)):  # float
        widths[first] = width
    for first in range(0xCC, 0xD4):  # uint 8..64, int 8..64
        widths[first] = 1 + (1 << (first & 3))
    for first in range(0xE0, 0x100):  # negative fixint
        widths[first] = 1
    return bytes(widths)


_WIDTHS = _widths()
# First byte of a string or bin -> the bytes of its length.
_BODIES = {0xC5: 2, 0xC6: 4, 0xDA: 2, 0xDB: 4}
# First byte of an array or map whose length follows -> (bytes of the length, elements per entry).
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}

# A value that holds no others, and the only kind of key that nearly all maps have.
PLAIN_TYPES: Final = frozenset({str, int, float, bool, bytes, type(None)})
TEXT: Final = frozenset({str})
_MAP: Final = frozenset({dict})
# An array is made as long as it says that it is before it is read, and those around it are there already.
_ARRAY_MAX: Final = 1_024
# How many maps have which keys, in this order.
Shapes = Counter[tuple[str, ...]]

_TRUNCATED = Reject(Code.MALFORMED, "truncated")
_TRAILING = Reject(Code.MALFORMED, "bytes after the value")


def pack(value: object) -> bytes:
    """The value as msgpack: shortest encodings, text and bytes apart, a map in the order it was built.

    Raises FabricError(BAD_INPUT) for what msgpack cannot carry: other types, integers beyond 64 bits, text
    with lone surrogates, a structure that contains itself.
    """
    try:
        packed = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # Only the kind of fault is named: msgpack's own message can quote the value.
        raise FabricError(Code.BAD_INPUT, f"not a plain value ({type(error).__name__})") from None
    return bytes(packed) if packed is not None else b""


def scan(data: bytes | memoryview, *, elements_max: int, depth_max: int) -> Reject | None:
    """Walk one value's structure without creating it; None if it is whole and within the bounds."""
    counted = count(data, elements_max=elements_max, depth_max=depth_max)
    return counted if isinstance(counted, Reject) else None


def count(data: bytes | memoryview, *, elements_max: int, depth_max: int) -> int | Reject:
    """How many elements the value in `data` has, without creating it, or why it is refused.

    Every scalar, array, map, key and map value counts as an element. A scalar has depth 0, a flat array 1.
    """
    widths = _WIDTHS
    size = len(data)
    at = 0
    left = 1  # elements still to come in the innermost container
    total = 1
    outer: list[int] = []  # the same for the containers around it
    try:
        while True:
            while left:
                left -= 1
                first = data[at]
                width = widths[first]
                if width:
                    at += width
                    continue
                if first < 0xA0:  # fixmap, fixarray
                    count = (first & 0x0F) << 1 if first < 0x90 else first & 0x0F
                    at += 1
                elif first == 0xC4 or first == 0xD9:  # ids, digests, most text: worth a way of their own
                    at += 2 + data[at + 1]
                    continue
                elif first in _BODIES:
                    digits = _BODIES[first]
                    body = at + 1 + digits
                    if body > size:
                        return _TRUNCATED
                    at = body + int.from_bytes(data[at + 1 : body], "big")
                    continue
                elif first in _CONTAINERS:
                    digits, per_entry = _CONTAINERS[first]
                    body = at + 1 + digits
                    if body > size:
                        return _TRUNCATED
                    count = int.from_bytes(data[at + 1 : body], "big") * per_entry
                    at = body
                else:
                    return Reject(Code.MALFORMED, "an extension type or reserved byte")
                # The declared length is judged before a single one of its elements is read.
                total += count
                if total > elements_max:
                    return Reject(Code.TOO_LARGE, f"more than {elements_max} elements")
                if len(outer) >= depth_max:
                    return Reject(Code.TOO_DEEP, f"more than {depth_max} levels")
                if count > size - at:  # an element takes a byte at least
                    return _TRUNCATED
                outer.append(left)
                left = count
            if not outer:
                break
            left = outer.pop()
    except IndexError:
        return _TRUNCATED
    if at != size:
        return _TRAILING if at < size else _TRUNCATED
    if total > elements_max:
        return Reject(Code.TOO_LARGE, f"more than {elements_max} elements")
    return total


class _BadKeyError(ValueError):
    """A map key that is no text or integer, or comes twice."""


def _map(pairs: list[tuple[Any, Any]]) -> dict[str | int, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise _BadKeyError
    for key in built:
        # Exact types: True is an integer to Python, and would be the same key as 1.
        if type(key) is not str and type(key) is not int:
            raise _BadKeyError
    return built


def unpack(data: bytes | memoryview, *, bytes_max: int, elements_max: int, depth_max: int) -> Any | Reject:
    """The one value in `data` (arrays as lists), or why it is refused. Never raises.

    No msgpack value is a Reject, so `isinstance(value, Reject)` tells the two apart.
    """
    counted = unpack_counted(data, bytes_max=bytes_max, elements_max=elements_max, depth_max=depth_max)
    return counted if isinstance(counted, Reject) else counted[0]


def unpack_counted(
    data: bytes | memoryview, *, bytes_max: int, elements_max: int, depth_max: int
) -> tuple[Any, int] | Reject:
    """The same, and how many elements it has, for whoever bounds several values together."""
    size = len(data)
    if size > bytes_max:
        return Reject(Code.TOO_LARGE, f"{size} bytes where {bytes_max} are allowed")
    elements = count(data, elements_max=elements_max, depth_max=depth_max)
    if isinstance(elements, Reject):
        return elements
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,  # integers are allowed too: `_map` checks the keys
            object_pairs_hook=_map,
            # `scan` has seen every length; the same bounds again cost nothing.
            max_str_len=size,
            max_bin_len=size,
            max_array_len=elements_max,
            max_map_len=elements_max,
            max_ext_len=0,
        )
    except UnicodeDecodeError:
        return Reject(Code.MALFORMED, "text that is not UTF-8")
    except (_BadKeyError, TypeError):  # TypeError: a key that cannot be hashed
        return Reject(Code.MALFORMED, "a map key that is no text or integer, or comes twice")
    except msgpack.StackError:
        return Reject(Code.TOO_DEEP, "more levels than can be decoded")
    except (ValueError, msgpack.UnpackException):
        return Reject(Code.MALFORMED, "not decodable")
    return value, elements


class Rows(NamedTuple):
    """Maps that were in an array. `elements`: of all of it, as `count` counts them. `shapes`: where no value holds
    others and every key is text, as in nearly all."""

    maps: list[dict[Any, Any]]
    elements: int
    shapes: Shapes | None


def unpack_rows(data: bytes, *, rows: int, elements_max: int, depth_max: int) -> Rows | None:
    """So many maps in an array: as `unpack` reads them, in a fraction of the time.

    None where it is anything else, or not encoded as `pack` does it, or may be beyond these bounds, or has keys that
    are no text, or a longer array than `_ARRAY_MAX`: `unpack` knows then.
    """
    size = len(data)
    if size > elements_max:  # an element takes a byte at least: what is shorter needs no counting
        return None
    try:
        found = msgpack.unpackb(
            data, raw=False, max_str_len=size, max_bin_len=size, max_array_len=_ARRAY_MAX, max_map_len=size,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    if type(found) is not list or len(found) != rows or not _MAP.issuperset(map(type, found)):
        return None
    shapes = shapes_of(found)
    elements = elements_of(found, depth_max) if shapes is None else plain_elements(shapes)
    # Of a key that came twice the map has one: it is shorter then.
    return None if elements is None or pack(found) != data else Rows(found, elements, shapes)


def elements_of(value: Any, depth_max: int) -> int | None:
    """How many elements an array or a map has, as `count` counts them in its encoding. None where there is anything in
    it but arrays, maps with text for keys and plain values, or where it is deeper."""
    kind = type(value)
    if depth_max < 1 or not (kind is list or (kind is dict and TEXT.issuperset(map(type, value)))):
        return None
    inner = value if kind is list else value.values()
    elements = 1 + (len(value) if kind is list else 2 * len(value))
    for item in [item for item in inner if type(item) not in PLAIN_TYPES]:
        more = elements_of(item, depth_max - 1)
        if more is None:
            return None
        elements += more - 1
    return elements


def shapes_of(rows: Sequence[Any]) -> Shapes | None:
    """What keys these have, if all are maps of plain values under text. None where anything is something else."""
    if not (_MAP.issuperset(map(type, rows))
            and PLAIN_TYPES.issuperset(map(type, chain.from_iterable(map(dict.values, rows))))):
        return None
    shapes = Counter(map(tuple, rows))
    return shapes if TEXT.issuperset(map(type, chain.from_iterable(shapes))) else None


def plain_elements(shapes: Shapes) -> int:
    """How many elements an array of such maps has."""
    return 1 + sum([count * (1 + 2 * len(keys)) for keys, count in shapes.items()])
