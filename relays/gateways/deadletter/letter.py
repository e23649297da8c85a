"""One dead letter: what was rejected, why, when and where, and as the bytes that it has in a file.

Guarantees: whatever was rejected can be kept, of what is large the beginning. A damaged letter is never taken for one:
each has a checksum.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label, label_from_wire

# A line of a log has a few hundred bytes; of what is larger somebody looks at the beginning.
RAW_BYTES_MAX: Final = 262_144
_TEXT_CHARS_MAX: Final = 1_024
_HEAD_BYTES: Final = 8
# The texts and numbers around what was rejected.
_AROUND_BYTES_MAX: Final = 16_384
_FIELDS: Final = 10  # of the oldest form; the severity came later, and by whom it was sent after that
_BY_CHARS_MAX: Final = 64
_NO_SEVERITY: Final = -1


class Form(Enum):
    """What the bytes are."""

    RAW = 0  # as the source read them
    RECORD = 1  # a record that it made of them, in JSON
    MESSAGE = 2  # a message that a sink could not write, in JSON


class Letter(NamedTuple):
    """`number`: of its source, never given twice. `code`: an error's number. `bytes_`: of all that was rejected, of
    which `raw` is the beginning."""

    number: int
    at_ms: int
    code: int
    detail: str
    where: str
    label: Label
    form: Form
    raw: bytes
    bytes_: int
    again: int = 0  # how often it was rejected again
    severity: Severity | None = None  # what its source knew of it, where its declaration says none
    by: str = ""  # whom it came from, of those that share its source

    @property
    def is_cut(self) -> bool:
        return self.bytes_ > len(self.raw)

    @property
    def error(self) -> FabricError | None:
        """Why it was rejected; None for an error that this version does not know."""
        code = next((code for code in Code if code.number == self.code), None)
        return None if code is None else FabricError(code, self.detail)

    @property
    def why(self) -> str:
        """In words."""
        return str(self.error or f"E{self.code}: {self.detail}")


def letter_of(
    number: int, at_ms: int, raw: bytes | Mapping[str, Any], error: FabricError, where: str, label: Label,
    form: Form = Form.RECORD, severity: Severity | None = None, by: str = "",
) -> Letter:
    """Of what was just rejected. `form`: of what is no bytes; `severity`: what its source knew of it; `by`: whom it
    came from, of those that share its source."""
    if isinstance(raw, bytes):
        data, form = raw, Form.RAW
    else:
        try:
            data = json.dumps(raw).encode()
        except (TypeError, ValueError, RecursionError):
            # No JSON can hold it, and so no mapping would take it: it is kept for somebody to look at.
            data, form = _described(raw), Form.RAW
    return Letter(
        number, at_ms, error.code.number, _short(error.detail), _short(where), label, form, data[:RAW_BYTES_MAX],
        len(data), severity=severity, by=_short(by[:_BY_CHARS_MAX]),
    )


def encode(letter: Letter) -> bytes:
    """Length, checksum, and the fields by position."""
    body = pack([
        letter.number, letter.at_ms, letter.code, letter.detail, letter.where, int(letter.label), letter.form.value,
        letter.raw, letter.bytes_, letter.again, _NO_SEVERITY if letter.severity is None else int(letter.severity),
        letter.by,
    ])
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def decode(data: bytes) -> Iterator[tuple[int, Letter]]:
    """(where it ends, letter), up to the first that is not whole."""
    at = 0
    while len(data) - at >= _HEAD_BYTES:
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        if len(body) < size or zlib.crc32(body) != int.from_bytes(data[at + 4 : at + 8], "big"):
            return
        letter = _letter(body)
        if letter is None:
            return
        at += _HEAD_BYTES + size
        yield at, letter


def _letter(body: bytes) -> Letter | None:
    fields = unpack(body, bytes_max=RAW_BYTES_MAX + _AROUND_BYTES_MAX, elements_max=64, depth_max=2)
    if isinstance(fields, Reject) or not isinstance(fields, list) or len(fields) < _FIELDS:
        return None
    number, at_ms, code, detail, where, label, form, raw, bytes_, again = fields[:_FIELDS]
    known = fields[_FIELDS] if len(fields) > _FIELDS else _NO_SEVERITY
    by = fields[_FIELDS + 1] if len(fields) > _FIELDS + 1 else ""
    whole = all(isinstance(each, int) for each in (number, at_ms, code, form, bytes_, again, known))
    texts = all(isinstance(each, str) for each in (detail, where, by))
    if not whole or not texts or not isinstance(raw, bytes):
        return None
    try:
        severity = None if known == _NO_SEVERITY else Severity(known)
        return Letter(
            number, at_ms, code, detail, where, label_from_wire(label), Form(form), raw, bytes_, again, severity, by
        )
    except ValueError:
        return None


def _short(text: str) -> str:
    return text[:_TEXT_CHARS_MAX].encode(errors="backslashreplace").decode()


def _described(value: Any) -> bytes:
    try:
        return repr(value).encode(errors="backslashreplace")
    except Exception as error:  # noqa: BLE001 - whatever the types of somebody else's package do
        return f"{type(value).__name__} ({type(error).__name__})".encode()
