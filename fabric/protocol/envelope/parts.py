"""Parts (SPEC 3.3): a record's fields grouped by label, one part per label, merged again by the reader.

Guarantees: a field lands in exactly one part, that of its label; a part's length says nothing of its content to
who may not see it (padding above the envelope's label); what is decoded is bounded by the size that was signed; what a
message costs its reader is bounded for all its parts together (`Budget`), and no one publishes what costs more.
Refuses, as a `Reject`: bodies that are not what the manifest says. As a `FabricError`: content that is no object.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fabric.protocol.base.codec import (
    Rows,
    Shapes,
    elements_of,
    pack,
    plain_elements,
    shapes_of,
    unpack_counted,
    unpack_rows,
)
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import (
    BODY_BYTES_MAX,
    BODY_DEPTH_MAX,
    BODY_ELEMENTS_MAX,
    FIELD_NAMES_CHARS_MAX,
    PART_BYTES_MAX,
    SALT_BYTES,
)
from fabric.protocol.envelope.field_labels import FieldLabels, Record, label_fields, merge
from fabric.protocol.envelope.header import Encoding, Header, PartEntry
from fabric.protocol.envelope.layout import part_digest
from fabric.protocol.vocabulary.tlp import Label

CONTENT_RECORDS = 0  # content type: an array with one map per record
_LENGTH_BYTES = 4
_NUMBER_CHARS_MAX = 20  # a key that is a number: 64 bits and a sign
_COMPRESS_FROM_BYTES = 512  # below this, zlib gains less than a frame's overhead


class Budget:
    """What the parts of one message may still cost together: bytes of content, elements, and joined names of fields."""

    __slots__ = ("_bytes", "_elements", "_names_chars")

    def __init__(self) -> None:
        self._bytes = BODY_BYTES_MAX
        self._elements = BODY_ELEMENTS_MAX
        self._names_chars = FIELD_NAMES_CHARS_MAX

    def take_bytes(self, size: int) -> Reject | None:
        """Before they are there: of a part with this much content."""
        self._bytes -= size
        return Reject(Code.TOO_LARGE, f"more than {BODY_BYTES_MAX} bytes of content") if self._bytes < 0 else None

    def unpack(self, packed: bytes, records: int) -> Rows | Reject:
        """One map per record, if they have no more elements than are left."""
        rows = unpack_rows(packed, rows=records, elements_max=self._elements, depth_max=BODY_DEPTH_MAX)
        if rows is None:
            counted = unpack_counted(
                packed, bytes_max=BODY_BYTES_MAX, elements_max=self._elements, depth_max=BODY_DEPTH_MAX
            )
            if isinstance(counted, Reject):
                return counted
            maps, elements = counted
            if not isinstance(maps, list) or len(maps) != records or not all(isinstance(each, dict) for each in maps):
                return Reject(Code.BAD_BODY, "records")
            rows = Rows(maps, elements, None)
        self._elements -= rows.elements
        return rows

    def take_elements(self, elements: int) -> bool:
        """Whether there are so many left, for a value that is known to be readable."""
        if elements > self._elements:
            return False
        self._elements -= elements
        return True

    def take_plain(self, shapes: Shapes, parts: int) -> bool:
        """Whether plain records with these keys, in so many parts at most, are within what is left of all."""
        elements = plain_elements(shapes) + (parts - 1) * (1 + shapes.total())
        names_chars = _plain_names_chars(shapes)
        if names_chars > self._names_chars or not self.take_elements(elements):
            return False
        self._names_chars -= names_chars
        return True

    def take_names(self, chars: int) -> Reject | None:
        """Before they are joined."""
        self._names_chars -= chars
        over = self._names_chars < 0
        return Reject(Code.TOO_LARGE, f"names of fields above {FIELD_NAMES_CHARS_MAX} characters") if over else None


def _names_chars_of(rows: Rows) -> int:
    """How long the names of all fields are."""
    if rows.shapes is None:
        return sum([_names_chars(each, 0) for each in rows.maps])
    return _plain_names_chars(rows.shapes)


def _names_chars(value: Any, above_chars: int) -> int:
    """How long the names of all fields would be, each joined with those above it and a dot."""
    if isinstance(value, list):
        return sum([_names_chars(item, above_chars) for item in value if type(item) in _HOLDERS])
    total = len(value) * (above_chars + 1)
    try:
        total += sum(map(len, value))
    except TypeError:
        total += sum(map(_name_chars, value))
    for key in [key for key, item in value.items() if type(item) in _HOLDERS]:
        total += _names_chars(value[key], above_chars + _name_chars(key) + 1)
    return total


def _plain_names_chars(shapes: Shapes) -> int:
    return sum([count * (len(keys) + len("".join(keys))) for keys, count in shapes.items()])


def _name_chars(key: Any) -> int:
    return len(key) if isinstance(key, str) else _NUMBER_CHARS_MAX


_HOLDERS = frozenset({list, dict})


def padme(size: int) -> int:
    """The next size with few significant bits (Padme, PURBs 2019): at most 12% more, and log log n sizes seen."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def build_parts(
    records: Sequence[Record], labels: FieldLabels, envelope_label: Label, salt: Callable[[int], bytes],
    seal: Callable[[bytes], bytes] | None = None, shapes: Shapes | None = None,
) -> tuple[tuple[PartEntry, ...], list[bytes]]:
    """A batch's manifest and parts. `salt(n)` gives n random bytes. Raises FabricError when content is too large.

    `seal`: makes the body of RED content, which only recipients can read then. `shapes`: of these records, from whoever
    knows them.
    """
    budget = Budget()
    shapes = shapes_of(records) if shapes is None else shapes
    # Where all is plain it can be read if it can be encoded: what it costs then follows from its keys.
    is_readable = shapes is not None and budget.take_plain(shapes, len(labels.labels))
    entries: list[PartEntry] = []
    parts: list[bytes] = []
    shared = next(iter(shapes)) if shapes is not None and len(shapes) == 1 else None
    for label, row in labels.rows(records, shared).items():
        if not any(row) and label != labels.rest:
            continue
        packed = pack(row)
        if not is_readable:
            _check_readable(row, packed, budget)
        encoding, size, body = _encode_body(
            packed, label, envelope_label, budget, seal if label is Label.RED else None
        )
        part = salt(SALT_BYTES) + body
        entries.append(PartEntry(label, CONTENT_RECORDS, encoding, size, part_digest(part)))
        parts.append(part)
    return tuple(entries), parts


def _check_readable(row: list[Record], packed: bytes, budget: Budget) -> None:
    """What no reader could read would take the rest of its batch with it."""
    shapes = shapes_of(row)
    elements = elements_of(row, BODY_DEPTH_MAX) if shapes is None else plain_elements(shapes)
    if elements is not None and len(packed) <= BODY_BYTES_MAX and budget.take_elements(elements):
        rows: Rows | Reject = Rows(row, elements, shapes)  # what can be encoded can be read
    else:
        rows = budget.unpack(packed, len(row))
    refused = rows if isinstance(rows, Reject) else budget.take_names(_names_chars_of(rows))
    if refused is not None:
        code = Code.BAD_INPUT if refused.code is Code.MALFORMED else refused.code
        raise FabricError(code, f"content: {refused.detail}")


def _encode_body(
    packed: bytes, label: Label, envelope_label: Label, budget: Budget, seal: Callable[[bytes], bytes] | None
) -> tuple[int, int, bytes]:
    content = len(packed).to_bytes(_LENGTH_BYTES) + packed
    if label > envelope_label or seal is not None:
        content = content.ljust(padme(len(content)), b"\x00")
    too_large = budget.take_bytes(len(content))
    if too_large is not None:
        raise FabricError(Code.TOO_LARGE, f"{len(content)} bytes of content in one part of it")
    body, encoding = (content, Encoding.PLAIN) if seal is None else (seal(content), Encoding.SEALED)
    # RED is never compressed: its length must not follow its content.
    if label < Label.RED and len(content) >= _COMPRESS_FROM_BYTES:
        squeezed = zlib.compress(content, 1)
        if len(squeezed) < len(content):
            body, encoding = squeezed, Encoding.ZLIB
    if len(body) + SALT_BYTES > PART_BYTES_MAX:
        raise FabricError(Code.TOO_LARGE, f"{len(body)} bytes in one part")
    return int(encoding), len(content), body


def decode_part(
    entry: PartEntry, part: bytes, records: int, budget: Budget, opened: bytes | None = None
) -> Rows | Reject:
    """One map per record. The output never grows beyond the size that was signed, nor beyond what is left.

    `opened`: the content of a part that was sealed.
    """
    too_large = budget.take_bytes(entry.size)
    if too_large is not None:
        return Reject(Code.BAD_BODY, too_large.code.reason)
    body = part[SALT_BYTES:]
    if entry.content_type != CONTENT_RECORDS:
        return Reject(Code.BAD_BODY, f"content type {entry.content_type}")
    if entry.encoding == Encoding.ZLIB:
        try:
            content = zlib.decompressobj().decompress(body, entry.size + 1)
        except zlib.error:
            return Reject(Code.BAD_BODY, "not zlib")
    elif entry.encoding == Encoding.PLAIN:
        content = body
    elif entry.is_sealed and opened is not None:
        content = opened
    else:
        return Reject(Code.BAD_BODY, f"encoding {entry.encoding}")
    if len(content) != entry.size or len(content) < _LENGTH_BYTES:
        return Reject(Code.BAD_BODY, "size")
    length = int.from_bytes(content[:_LENGTH_BYTES])
    packed = content[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(packed) != length:
        return Reject(Code.BAD_BODY, "length")
    rows = budget.unpack(packed, records)
    if isinstance(rows, Reject) and rows.code is not Code.BAD_BODY:
        return Reject(Code.BAD_BODY, rows.code.reason)
    return rows


class Columns(NamedTuple):
    """The records of a message as their reader sees them. Of each: what arrived, merged, and each field's label by its
    name; of all: how many parts of each label were withheld."""

    contents: list[Record]
    labels: list[dict[str, Label]]
    withheld: dict[Label, int]


class Reading(NamedTuple):
    """One of them."""

    content: Record
    labels: dict[str, Label]
    withheld: dict[Label, int]


Open = Callable[[Header, PartEntry, bytes], bytes | Reject | None]


def read_records(header: Header, parts: Sequence[bytes | None], open_: Open | None = None) -> list[Reading] | Reject:
    """Every record of a message: `header.records` readings, in order. The rest as `read_columns` has it."""
    read = read_columns(header, parts, open_)
    if isinstance(read, Reject):
        return read
    return [Reading(*record, read.withheld) for record in zip(read.contents, read.labels, strict=True)]


def read_columns(header: Header, parts: Sequence[bytes | None], open_: Open | None = None) -> Columns | Reject:
    """The records of a message, `header.records` of them, in order.

    `open_`: the content of a sealed part, or that it is for others (None), or does not open. Where there is nobody to
    open it, and where it does not open, it counts as withheld.
    """
    withheld: dict[Label, int] = {}
    parts_here: list[tuple[Label, Rows]] = []
    budget = Budget()
    for entry, part in zip(header.manifest, parts, strict=True):
        opened = open_(header, entry, part) if part is not None and entry.is_sealed and open_ is not None else None
        if part is None or (entry.is_sealed and not isinstance(opened, bytes)):
            withheld[entry.label] = withheld.get(entry.label, 0) + 1
            continue
        rows = decode_part(entry, part, header.records, budget, opened if isinstance(opened, bytes) else None)
        if isinstance(rows, Reject):
            return rows
        too_large = budget.take_names(_names_chars_of(rows))
        if too_large is not None:
            return Reject(Code.BAD_BODY, too_large.code.reason)
        parts_here.append((entry.label, rows))
    labels = _labels_of(parts_here, header.records)  # before the parts are put together
    return Columns(_contents_of([rows for _, rows in parts_here], header.records), labels, withheld)


def _labels_of(parts: Sequence[tuple[Label, Rows]], records: int) -> list[dict[str, Label]]:
    """Of each record the label of each field by its name."""
    if any(rows.shapes is None for _, rows in parts):
        found: list[dict[str, Label]] = [{} for _ in range(records)]
        for label, rows in parts:
            for record, into in zip(rows.maps, found, strict=True):
                label_fields(record, label, into)
        return found
    if all(rows.shapes and len(rows.shapes) == 1 for _, rows in parts):  # mostly: one source says the same things
        labels = _labels_by_keys([(label, next(iter(rows.shapes or ()))) for label, rows in parts])
        return [dict(labels) for _ in range(records)]
    known: dict[tuple[tuple[str, ...], ...], dict[str, Label]] = {}
    found = []
    for keys in zip(*[map(tuple, rows.maps) for _, rows in parts], strict=True):
        if keys not in known:
            known[keys] = _labels_by_keys([(label, own) for (label, _), own in zip(parts, keys, strict=True)])
        found.append(dict(known[keys]))
    return found


def _labels_by_keys(parts: Sequence[tuple[Label, tuple[str, ...]]]) -> dict[str, Label]:
    """Of a record with these keys in each part, and plain values."""
    into: dict[str, Label] = {}
    for label, keys in parts:
        label_fields(dict.fromkeys(keys), label, into)
    return into


def _contents_of(parts: Sequence[Rows], records: int) -> list[Record]:
    """Each record, put together of what the parts have of it; they are used up."""
    if not parts:
        return [{} for _ in range(records)]
    first, *others = parts
    for rows in others:
        join = merge if first.shapes is None or rows.shapes is None else dict.update
        for content, row in zip(first.maps, rows.maps, strict=True):
            join(content, row)
    return first.maps
