"""Messages that cost whoever reads them far more than they take on the wire."""

from __future__ import annotations

import zlib

from fabric.protocol.base.codec import pack
from fabric.protocol.base.limits import BODY_DEPTH_MAX, ENVELOPE_BYTES_MAX, PARTS_MAX, RECORDS_MAX, SALT_BYTES
from fabric.protocol.envelope.header import Encoding, PartEntry
from fabric.protocol.envelope.layout import part_digest
from fabric.protocol.vocabulary.tlp import Label


class Message:
    """What a publisher that follows no rules makes of these rows, one part each."""

    def __init__(self, *parts_of_rows: list[object]) -> None:
        self.records = len(parts_of_rows[0])
        self.manifest, self.parts = [], []
        for rows in parts_of_rows:
            packed = pack(rows)
            content = len(packed).to_bytes(4) + packed
            part = bytes(SALT_BYTES) + zlib.compress(content, 9)
            self.manifest.append(PartEntry(Label.GREEN, 0, int(Encoding.ZLIB), len(content), part_digest(part)))
            self.parts.append(part)
        assert sum(map(len, self.parts)) < ENVELOPE_BYTES_MAX, "it goes into one message"


def nested(levels: int, key: str, inner: object) -> object:
    for _ in range(levels):
        inner = {key: inner}
    return inner


def wide(fields: int, inner: object = 0) -> dict[str, object]:
    return {str(n): inner for n in range(fields)}


# Each shape is one that costs far more than it takes on the wire.
SHAPES = {
    "one long name above many fields": lambda: Message([{"k" * 1_000_000: wide(40_000)}]),
    "names that grow at each level": lambda: Message([nested(BODY_DEPTH_MAX - 3, "k" * 10_000, wide(20_000))]),
    "one field below many long names": lambda: Message([{"k" * 900_000 + str(n): {"x": 0} for n in range(2)}]),
    "many maps with nothing in them": lambda: Message([wide(90_000, {})]),
    "many maps with one field": lambda: Message([wide(49_000, {"a": 0})]),
    "the widest record": lambda: Message([wide(99_000)]),
    "the most records": lambda: Message([wide(96) for _ in range(RECORDS_MAX)]),
    "the deepest": lambda: Message([{"a": [nested(28, "a", 0) for _ in range(3_400)]}]),
    "the most elements in each part": lambda: Message(*[[{str(p): [{}] * 190_000}] for p in range(PARTS_MAX)]),
    "the most content in each part": lambda: Message(*[[{str(p): "x" * 1_900_000}] for p in range(PARTS_MAX)]),
}
