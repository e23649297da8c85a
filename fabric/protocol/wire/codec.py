"""Frames as bytes (SPEC 7): one msgpack array each, beginning with its kind.

Guarantees: a decoded frame has the types and bounds that its class says; envelopes inside are still opaque bytes.
Later versions append elements, and unknown ones at the end are ignored. Refuses, as a `Reject`: everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject, code_of
from fabric.protocol.base.fields import binary, integer, text
from fabric.protocol.base.limits import (
    ANSWER_BYTES_MAX,
    ASK_BYTES_MAX,
    CREDENTIAL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_DEPTH_MAX,
    FRAME_ELEMENTS_MAX,
    GROWN_MAX,
    HEAD_BYTES_MAX,
    HOPS_MAX,
    ID_BYTES,
    INTRO_MAX,
    ITEMS_MAX,
    KEY_BYTES,
    MOVED_MAX,
    POLICIES_BYTES_MAX,
    ROUTES_ENTRIES_MAX,
    TARGETS_MAX,
)
from fabric.protocol.base.shapes import Id, Number, Shape
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    SESSION_BYTES,
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Frame,
    Grown,
    Hello,
    Intro,
    Item,
    Join,
    Joined,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Rules,
    Welcome,
    Witnessed,
)

_DETAIL_BYTES_MAX = 512
_LANES = tuple(Lane)
# What later versions may append to an entry of a list.
_ENTRY_MAX = 32


def encode_frame(frame: Frame) -> bytes:
    """The frame's bytes (SPEC 7.1)."""
    number = _NUMBERS[type(frame)]
    match frame:
        case Data(lane, clock_ms, items):
            return pack([number, int(lane), clock_ms, [_item_out(item) for item in items]])
        case Refused(code, detail, nonce):
            return pack([number, code.number, detail, nonce])
        case Nack(refusals):
            return pack([number, [[id_, code.number, detail] for id_, code, detail in refusals]])
        case Routed(sequence, routed):
            return pack([number, sequence, [[index, code.number, detail] for index, code, detail in routed]])
        case Denied(counts):
            return pack([number, [[code.number, count] for code, count in counts]])
        case Bye(code, redirect):
            return pack([number, code.number, redirect])
        case Joined(id_, answered, detail, answer):
            return pack([number, id_, 0 if answered is None else answered.number, detail, answer])
        case Welcome():
            return pack([number, *frame[:-1], *([list(frame.path)] if frame.path else [])])
        case Pong(clock_ms, fabric_ms, path, log_known, spared_ms):
            more = [list(path), log_known, spared_ms]
            said = 3 if spared_ms else 2 if log_known is not None else 1 if path else 0
            return pack([number, clock_ms, fabric_ms, *more[:said]])
        case Witnessed(entry, code, witness):
            return pack([number, entry, 0 if code is None else code.number, witness])
        case _:
            return pack([number, *frame])


def _item_out(item: Item) -> list[object]:
    """What was appended to an item since is left out where it says nothing, as an older sender would."""
    return [int(item.direction), *item[1:5], *([item.moved] if item.moved else [])]


def decode_frame(payload: bytes, bytes_max: int = FRAME_BYTES_MAX) -> Frame | Reject:
    """The frame in these bytes, or MALFORMED, TOO_LARGE, TOO_DEEP or UNKNOWN_FRAME."""
    plain = _PLAIN.get(payload[:2]) if len(payload) <= bytes_max else None
    return (plain and plain(payload)) or _any_frame(payload, bytes_max)


def _any_frame(payload: bytes, bytes_max: int) -> Frame | Reject:
    fields = unpack(
        payload, bytes_max=bytes_max, elements_max=FRAME_ELEMENTS_MAX, depth_max=FRAME_DEPTH_MAX
    )
    if isinstance(fields, Reject):
        return Reject(fields.code, "frame")
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        return Reject(Code.MALFORMED, "frame")
    decoder = _DECODERS.get(fields[0])
    if decoder is None:
        return Reject(Code.UNKNOWN_FRAME, f"kind {fields[0]}")
    try:
        return decoder(fields)
    except _TooManyError:
        return Reject(Code.TOO_LARGE, f"frame kind {fields[0]}")
    except (TypeError, ValueError, LookupError):
        return Reject(Code.MALFORMED, f"frame kind {fields[0]}")


class _TooManyError(Exception):
    """Well formed, and more than anybody puts into one frame."""


def _list(value: object, length_max: int) -> list[Any]:
    if type(value) is not list or len(value) > length_max:
        raise TypeError
    return value


def _few(value: object, length_max: int) -> list[Any]:
    entries = _list(value, FRAME_ELEMENTS_MAX)
    if len(entries) > length_max:
        raise _TooManyError
    return entries


def _session(value: object) -> bytes:
    return binary(value, SESSION_BYTES, SESSION_BYTES)


def _hello(f: Any) -> Hello:
    return Hello(
        integer(f[1]), integer(f[2]), text(f[3]), Role(integer(f[4])), binary(f[5], CREDENTIAL_BYTES_MAX),
        _session(f[6]), _session(f[7]), integer(f[8]), integer(f[9]), integer(f[10]),
    )


def _welcome(f: Any) -> Welcome:
    return Welcome(
        integer(f[1]), binary(f[2], CREDENTIAL_BYTES_MAX), _session(f[3]), _session(f[4]), integer(f[5]), integer(f[6]),
        integer(f[7]), integer(f[8]), integer(f[9]), _path(f, 10),
    )


def _pong(f: Any) -> Pong:
    return Pong(
        integer(f[1]), integer(f[2]), _path(f, 3), _known(f[4]) if len(f) > 4 else None,
        integer(f[5]) if len(f) > 5 else 0,
    )


def _path(f: Any, at: int) -> tuple[str, ...]:
    return tuple([text(relay) for relay in _list(f[at], HOPS_MAX)]) if len(f) > at else ()


def _refused(f: Any) -> Refused:
    return Refused(code_of(integer(f[1])), text(f[2], _DETAIL_BYTES_MAX), binary(f[3], SESSION_BYTES))


def _intro(f: Any) -> Intro:
    return Intro([binary(c, CREDENTIAL_BYTES_MAX) for c in _few(f[1], INTRO_MAX)])


_DIRECTIONS = {int(direction): direction for direction in Direction}


def _item(entry: Any) -> Item:
    i = _list(entry, _ENTRY_MAX)
    return Item(
        _DIRECTIONS[integer(i[0])],
        integer(i[1]),
        [text(hop) for hop in _list(i[2], HOPS_MAX)],
        [text(target) for target in _list(i[3], TARGETS_MAX)],
        binary(i[4], ENVELOPE_BYTES_MAX),
        _moved(i[5]) if len(i) > 5 else 0,
    )


def _moved(value: object) -> int:
    times = integer(value)
    if times > MOVED_MAX:
        raise ValueError
    return times


def _data(f: Any) -> Data:
    return Data(Lane(integer(f[1])), integer(f[2]), [_item(i) for i in _list(f[3], ITEMS_MAX)])


_DATA = Shape(tuple[
    int, Lane, Number, Annotated[list[Item], Meta(max_length=ITEMS_MAX)]
])
# With what an item may have: itself, its fields, and what is in its lists.
_ITEM_ELEMENTS = 7


def _plain_data(payload: bytes) -> Data | None:
    """Nearly every one; None where it has to be looked at more closely."""
    fields = _DATA.read(payload)
    if fields is None:
        return None
    _, lane, clock_ms, items = fields
    names = [name for item in items for name in (*item.hops, *item.targets)]
    if _FIELDS_OF_DATA + _ITEM_ELEMENTS * len(items) + len(names) > FRAME_ELEMENTS_MAX or not "".join(names).isascii():
        return None
    return Data(lane, clock_ms, items)


_FIELDS_OF_DATA = 5
_ACK = Shape(tuple[
    int, Annotated[
        list[Id],
        Meta(max_length=FRAME_ELEMENTS_MAX - 3),  # beside those: the frame, its kind, and the list
    ]
])


def _plain_ack(payload: bytes) -> Ack | None:
    fields = _ACK.read(payload)
    return None if fields is None else Ack(fields[1])


def _id(value: object) -> bytes:
    return binary(value, ID_BYTES, ID_BYTES)


def _refusal(entry: Any) -> tuple[bytes, Code, str]:
    r = _list(entry, _ENTRY_MAX)
    return _id(r[0]), code_of(integer(r[1])), text(r[2], _DETAIL_BYTES_MAX)


def _routed(entry: Any) -> tuple[int, Code, str]:
    r = _list(entry, _ENTRY_MAX)
    return integer(r[0]), code_of(integer(r[1])), text(r[2], _DETAIL_BYTES_MAX)


def _withdrawal(entry: Any) -> tuple[str, bytes, int]:
    w = _list(entry, _ENTRY_MAX)
    return text(w[0]), _session(w[1]), integer(w[2])


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _routes(f: Any) -> Routes:
    return Routes(
        integer(f[1]),
        _bool(f[2]),
        [binary(a, CREDENTIAL_BYTES_MAX) for a in _few(f[3], ROUTES_ENTRIES_MAX)],
        [_withdrawal(w) for w in _few(f[4], ROUTES_ENTRIES_MAX)],
    )


def _credit(f: Any) -> Credit:
    allowed = [integer(n) for n in _list(f[1], len(Lane))]
    if len(allowed) != len(Lane):
        raise ValueError
    return Credit(allowed)


def _join(f: Any) -> Join:
    return Join(_id(f[1]), text(f[2]), binary(f[3], KEY_BYTES), binary(f[4], ASK_BYTES_MAX))


def _joined(f: Any) -> Joined:
    return Joined(_id(f[1]), _code(f[2]), text(f[3], _DETAIL_BYTES_MAX), binary(f[4], ANSWER_BYTES_MAX))


def _hash(value: object) -> bytes:
    return binary(value, KEY_BYTES, KEY_BYTES)


def _grown(f: Any) -> Grown:
    return Grown(binary(f[1], HEAD_BYTES_MAX), integer(f[2]), [_hash(digest) for digest in _few(f[3], GROWN_MAX)])


def _code(value: object) -> Code | None:
    number = integer(value)
    return None if number == 0 else code_of(number)


def _known(value: object) -> int | None:
    """Nil where heads are not taken and a later version says more after it."""
    return None if value is None else integer(value)


def _applied(entry: Any) -> tuple[str, int, int]:
    a = _list(entry, _ENTRY_MAX)
    return text(a[0]), integer(a[1]), integer(a[2])


def _denial(entry: Any) -> tuple[Code, int]:
    d = _list(entry, _ENTRY_MAX)
    return code_of(integer(d[0])), integer(d[1])


# The one list of what exists.
_TABLE: list[tuple[int, type, Callable[[Any], Frame]]] = [
    (1, Hello, _hello),
    (2, Welcome, _welcome),
    (3, Refused, _refused),
    (4, Intro, _intro),
    (5, Data, _data),
    (6, Ack, lambda f: Ack([_id(i) for i in _list(f[1], FRAME_ELEMENTS_MAX)])),
    (7, Nack, lambda f: Nack([_refusal(r) for r in _list(f[1], FRAME_ELEMENTS_MAX)])),
    (8, Credit, _credit),
    (9, Routes, _routes),
    (10, Routed, lambda f: Routed(integer(f[1]), [_routed(r) for r in _few(f[2], ROUTES_ENTRIES_MAX)])),
    (11, Ping, lambda f: Ping(integer(f[1]))),
    (12, Pong, _pong),
    (13, Bye, lambda f: Bye(code_of(integer(f[1])), text(f[2], _DETAIL_BYTES_MAX))),
    (14, Lists, lambda f: Lists(binary(f[1], FRAME_BYTES_MAX))),
    (15, Join, _join),
    (16, Joined, _joined),
    (17, Applied, lambda f: Applied([_applied(entry) for entry in _list(f[1], ITEMS_MAX)])),
    (18, Directory, lambda f: Directory(binary(f[1], FRAME_BYTES_MAX))),
    (19, Denied, lambda f: Denied([_denial(entry) for entry in _list(f[1], _ENTRY_MAX)])),
    (20, Rules, lambda f: Rules(binary(f[1], POLICIES_BYTES_MAX))),
    (21, Grown, _grown),
    (22, Witnessed, lambda f: Witnessed(integer(f[1]), _code(f[2]), binary(f[3], HEAD_BYTES_MAX))),
]
# By how they begin: an array of so many elements, and the kind.
_PLAIN: dict[bytes, Callable[[bytes], Frame | None]] = {b"\x94\x05": _plain_data, b"\x92\x06": _plain_ack}
_NUMBERS = {class_: number for number, class_, _ in _TABLE}
_DECODERS = {number: decoder for number, _, decoder in _TABLE}
_DATA_NUMBER = _NUMBERS[Data]
# An array of up to 15 elements, as this version writes DATA, and later ones may.
_ARRAY, _ARRAY_MASK = 0x90, 0xF0


def lane_claimed(payload: bytes) -> Lane | None:
    """The lane of which a frame says that its messages are, by its first bytes; None where it is no plain DATA.

    It is asked of frames that nobody has decoded: what it says may be untrue, and the rest of it no frame.
    """
    if len(payload) < 3 or payload[0] & _ARRAY_MASK != _ARRAY or payload[1] != _DATA_NUMBER or payload[2] > Lane.LOW:
        return None
    return _LANES[payload[2]]
