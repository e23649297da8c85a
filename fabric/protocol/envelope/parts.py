"""Parts (SPEC 3.3): a record's fields grouped by label, one part per label, merged again by the reader.

Guarantees: a field lands in exactly one part, that of its label; a part's length says nothing of its content to
who may not see it (padding above the envelope's label); what is decoded is bounded by the size that was signed; what a
message costs its reader is bounded for all its parts together (`Budget`), and no one publishes what costs more.
Refuses, as a `Reject`: bodies that are not what the manifest says. As a `FabricError`: content that is no object.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from fabric.protocol.base.codec import pack, unpack_counted
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
from fabric.protocol.envelope.layout import Encoding, Header, PartEntry, part_digest
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

    def unpack(self, packed: bytes) -> Any | Reject:
        """The value in it, if it has no more elements than are left."""
        counted = unpack_counted(
            packed, bytes_max=BODY_BYTES_MAX, elements_max=self._elements, depth_max=BODY_DEPTH_MAX
        )
        if isinstance(counted, Reject):
            return counted
        value, elements = counted
        self._elements -= elements
        return value

    def take_flat(self, packed: bytes, elements: int) -> bool:
        """Whether a value that is known to be readable, with so many elements, is within what is left."""
        if len(packed) > BODY_BYTES_MAX or elements > self._elements:
            return False
        self._elements -= elements
        return True

    def take_names(self, chars: int) -> Reject | None:
        """Before they are joined."""
        self._names_chars -= chars
        over = self._names_chars < 0
        return Reject(Code.TOO_LARGE, f"names of fields above {FIELD_NAMES_CHARS_MAX} characters") if over else None


def _names_chars(value: Any, above_chars: int) -> int:
    """How long the names of all fields would be, each joined with those above it and a dot."""
    if isinstance(value, list):
        return sum([_names_chars(item, above_chars) for item in value if isinstance(item, _HOLDERS)])
    total = len(value) * (above_chars + 1)
    try:
        total += sum(map(len, value))
    except TypeError:
        total += sum(map(_name_chars, value))
    for key, item in value.items():
        if isinstance(item, _HOLDERS):
            total += _names_chars(item, above_chars + _name_chars(key) + 1)
    return total


def _flat_cost(row: list[Record]) -> tuple[int, int] | None:
    """Elements, and characters of names, of records with plain values under names that are text: nearly all do. What
    of these can be encoded can be read. None for others."""
    elements, chars = 1, 0
    for record in row:
        if not (type(record) is dict and _TEXT.issuperset(map(type, record))
                and _PLAIN_TYPES.issuperset(map(type, record.values()))):
            return None
        elements += 1 + 2 * len(record)
        chars += len(record) + len("".join(record))
    return elements, chars


def _name_chars(key: Any) -> int:
    return len(key) if isinstance(key, str) else _NUMBER_CHARS_MAX


_HOLDERS = (list, dict)
_TEXT = frozenset({str})
_PLAIN_TYPES = frozenset({str, int, float, bool, bytes, type(None)})


def padme(size: int) -> int:
    """The next size with few significant bits (Padme, PURBs 2019): at most 12% more, and log log n sizes seen."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def build_parts(
    records: Sequence[Record], labels: FieldLabels, envelope_label: Label, salt: Callable[[int], bytes],
    seal: Callable[[bytes], bytes] | None = None,
) -> tuple[tuple[PartEntry, ...], list[bytes]]:
    """A batch's manifest and parts. `salt(n)` gives n random bytes. Raises FabricError when content is too large.

    `seal`: makes the body of RED content, which only recipients can read then.
    """
    rows: dict[Label, list[Record]] = {label: [] for label in labels.labels}
    budget = Budget()
    for record in records:
        split = labels.split(record)
        for label, row in rows.items():
            row.append(split.get(label, {}))
    entries: list[PartEntry] = []
    parts: list[bytes] = []
    for label, row in rows.items():
        if not any(row) and label != labels.rest:
            continue
        encoding, size, body = _encode_body(row, label, envelope_label, budget, seal if label is Label.RED else None)
        part = salt(SALT_BYTES) + body
        entries.append(PartEntry(label, CONTENT_RECORDS, encoding, size, part_digest(part)))
        parts.append(part)
    return tuple(entries), parts


def _encode_body(
    row: list[Record], label: Label, envelope_label: Label, budget: Budget, seal: Callable[[bytes], bytes] | None
) -> tuple[int, int, bytes]:
    packed = pack(row)
    # What no reader could read would take the rest of its batch with it.
    flat = _flat_cost(row)
    if flat is not None and budget.take_flat(packed, flat[0]):
        refused = budget.take_names(flat[1])
    else:
        read = budget.unpack(packed)
        refused = (
            read if isinstance(read, Reject) else budget.take_names(sum(_names_chars(record, 0) for record in read))
        )
    if refused is not None:
        code = Code.BAD_INPUT if refused.code is Code.MALFORMED else refused.code
        raise FabricError(code, f"content: {refused.detail}")
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
) -> list[Record] | Reject:
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
    rows = budget.unpack(packed)
    if isinstance(rows, Reject):
        return Reject(Code.BAD_BODY, rows.code.reason)
    if not isinstance(rows, list) or len(rows) != records or not all(isinstance(r, dict) for r in rows):
        return Reject(Code.BAD_BODY, "records")
    return rows


class Reading:
    """One record as its reader sees it: what arrived, merged; each field's label; what was withheld."""

    __slots__ = ("content", "labels", "withheld")

    def __init__(self, content: Record, labels: dict[str, Label], withheld: dict[Label, int]) -> None:
        self.content = content
        self.labels = labels
        self.withheld = withheld


Open = Callable[[Header, PartEntry, bytes], bytes | Reject | None]


def read_records(header: Header, parts: Sequence[bytes | None], open_: Open | None = None) -> list[Reading] | Reject:
    """Every record of a message: `header.records` readings, in order.

    `open_`: the content of a sealed part, or that it is for others (None), or does not open. Where there is nobody to
    open it, and where it does not open, it counts as withheld.
    """
    withheld: dict[Label, int] = {}
    readings = [Reading({}, {}, withheld) for _ in range(header.records)]
    budget = Budget()
    for entry, part in zip(header.manifest, parts, strict=True):
        opened = open_(header, entry, part) if part is not None and entry.is_sealed and open_ is not None else None
        if part is None or (entry.is_sealed and not isinstance(opened, bytes)):
            withheld[entry.label] = withheld.get(entry.label, 0) + 1
            continue
        rows = decode_part(entry, part, header.records, budget, opened if isinstance(opened, bytes) else None)
        if isinstance(rows, Reject):
            return rows
        too_large = budget.take_names(sum(_names_chars(row, 0) for row in rows))
        if too_large is not None:
            return Reject(Code.BAD_BODY, too_large.code.reason)
        for reading, row in zip(readings, rows, strict=True):
            label_fields(row, entry.label, reading.labels)
            merge(reading.content, row)
    return readings
