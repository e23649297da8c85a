"""A line of `fabric subscribe --json`, or of a file that a sink wrote, as the message that it was.

Guarantees: what is returned has every type that `Message` says. Refuses a line that lacks what a message needs, or has
something else in its place, with the name of what it is. Nobody signed the line: whoever hands it over may have edited
it, and answers for what is made of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from fabric.edge.messages import Message
from fabric.edge.publishing.options import AUDIENCE_PARTS
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX, DIGEST_BYTES, ID_BYTES, RECORDS_MAX
from fabric.protocol.vocabulary.severity import parse_phase, parse_severity
from fabric.protocol.vocabulary.tlp import Audience, Label, parse_label

_BYTES_KEY = "base64"


def message_in(record: Mapping[str, Any], where: str = "it") -> Message:
    """The message in a line that was read as JSON. Raises BAD_INPUT."""
    return _Line(record, where).message()


class _Line:
    def __init__(self, record: Mapping[str, Any], where: str) -> None:
        self._record = record
        self._where = where

    def message(self) -> Message:
        severity, phase = parse_severity(self._text("severity")), parse_phase(self._text("phase"))
        if severity is None or phase is None:
            raise self._wrong("severity" if severity is None else "phase")
        return Message(
            self._id(), self._text("topic"), self._text("kind"), self._text("origin"), severity, phase,
            self._label("label", self._text("label")), self._number("issued_at"), self._number("ttl_ms"),
            self._number("age_ms"), (), _with_bytes(self._map("content")),
            {name: self._label("labels", said) for name, said in self._map("labels").items()},
            {self._label("withheld", said): self._count(count) for said, count in self._map("withheld").items()},
            self._audience(), self._leaf(),
        )

    def _id(self) -> str:
        id_ = self._text("id")
        message, _, record = id_.rpartition(".")
        is_one = record.isascii() and record.isdecimal() and len(record) <= len(str(RECORDS_MAX))
        if message != self._leaf()[:ID_BYTES].hex() or not is_one or int(record) >= RECORDS_MAX:
            raise self._wrong("id")
        return id_

    def _leaf(self) -> bytes:
        try:
            leaf = bytes.fromhex(self._text("leaf"))
        except ValueError:
            leaf = b""
        if len(leaf) != DIGEST_BYTES:
            raise self._wrong("leaf")
        return leaf

    def _audience(self) -> Audience:
        said = self._record.get("audience", {})
        if not isinstance(said, Mapping):
            raise self._wrong("audience")
        parts = [said.get(part, []) for part in AUDIENCE_PARTS]
        for names in parts:
            if not isinstance(names, list) or len(names) > AUDIENCE_NAMES_MAX or not all(map(_is_text, names)):
                raise self._wrong("audience")
        return Audience(*map(tuple, parts))

    def _text(self, name: str) -> str:
        value = self._record.get(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def _number(self, name: str) -> int:
        value = self._record.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name)
        return value

    def _count(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self._wrong("withheld")
        return value

    def _map(self, name: str) -> dict[str, Any]:
        value = self._record.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return value

    def _label(self, name: str, said: object) -> Label:
        label = parse_label(said) if isinstance(said, str) else None
        if label is None:
            raise self._wrong(name)
        return label

    def _wrong(self, name: str) -> FabricError:
        problem = "has no" if name not in self._record else "has something else for"
        return FabricError(
            Code.BAD_INPUT, f"{self._where} is no message: it {problem} {name}",
            "give lines as `fabric subscribe --json` prints them",
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _with_bytes(value: Any) -> Any:
    """As it was published: what JSON has not was written as `{"base64": "AP8="}`."""
    if isinstance(value, dict):
        if value.keys() == {_BYTES_KEY} and isinstance(value[_BYTES_KEY], str):
            try:
                return base64.b64decode(value[_BYTES_KEY], validate=True)
            except (binascii.Error, ValueError):
                return value
        return {name: _with_bytes(each) for name, each in value.items()}
    return [_with_bytes(each) for each in value] if isinstance(value, list) else value
