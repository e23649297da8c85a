"""The records in a body: one, an array, lines, or CloudEvents in each of their modes.

    application/json                     an object, or an array of them
    application/x-ndjson, application/jsonl    an object a line
    application/cloudevents+json         one CloudEvent 1.0; -batch+json: an array of them
    any type, with a header ce-id        one CloudEvent whose data is the body ("binary content mode")

A CloudEvent is the record that its JSON format has, in whichever mode it came: the mapping finds `type`, `source` and
`data.severity` in it. Guarantees: strict UTF-8, no key twice, no NaN; integers are as they were written, or refused.
Of what is bad among many records the rest is taken; a body that is not JSON as a whole is refused as a whole.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from fabric.documents import parse_strictly
from fabric.protocol.base.errors import Code, FabricError
from relays.reading.records import fault_of

_JSON: Final = ("application/json", "text/json")
_LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
                 "application/json-lines", "application/jsonlines")
_EVENT: Final = "application/cloudevents+json"
_EVENTS: Final = "application/cloudevents-batch+json"
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]{1,64}")
_NEEDED: Final = ("id", "source", "type")
_DATA: Final = ("data", "data_base64")
# What a value takes in memory besides its text, and what one begins with or is followed by: `{},{},{}` is 25 times as
# large when it was read.
_VALUE_BYTES: Final = 96
_MARKS: Final = (b",", b"{", b"[", b"\n")


class Fault(NamedTuple):
    """What is wrong with one of many. `raw`: what is kept of it."""

    error: FabricError
    raw: bytes


# In the order in which they were sent.
Found = list[dict[str, Any] | Fault]


def read_records(body: bytes, content_type: str, headers: Mapping[str, str], records_max: int) -> tuple[Found, bool]:
    """What is in it, and whether it is one record by itself. `headers` by lower-case name. Raises HTTP_BODY,
    HTTP_SIZE, BAD_INPUT."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = re.search(r'charset\s*=\s*"?([\w-]+)', parameters.lower())
    if charset is not None and charset[1] not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported("it is not in UTF-8")
    if "ce-id" in headers or "ce-specversion" in headers:
        return [_binary(body, kind, headers)], True
    if kind in _LINES:
        return _lines(body, records_max), False
    if kind not in (*_JSON, _EVENT, _EVENTS):
        raise _unsupported("its Content-Type is not known here" if kind else "it has no Content-Type")
    document = _parsed(_text(body))
    check: Callable[[Any], dict[str, Any] | Fault] = _checked_event if kind in (_EVENT, _EVENTS) else _checked
    if isinstance(document, list) and kind != _EVENT:
        if len(document) > records_max:
            raise FabricError(Code.HTTP_SIZE, f"more than {records_max:,} records")
        return [check(item) for item in document], False
    if kind == _EVENTS:
        raise FabricError(Code.HTTP_BODY, "it is no JSON array of CloudEvents")
    found = check(document)
    if isinstance(found, Fault):
        raise found.error
    return [found], True


def memory_of(body: bytes) -> int:
    """About how many bytes it takes when it is read."""
    return 2 * len(body) + _VALUE_BYTES * sum(body.count(mark) for mark in _MARKS)


def is_unsupported(error: FabricError) -> bool:
    """Whether it is the type of the body that is not known here."""
    return isinstance(error, _UnsupportedError)


class _UnsupportedError(FabricError):
    """Another type would do."""


def _unsupported(detail: str) -> FabricError:
    return _UnsupportedError(
        Code.HTTP_BODY, detail, "send application/json, application/x-ndjson or application/cloudevents+json, in UTF-8"
    )


def _text(body: bytes) -> str:
    try:
        return body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FabricError(Code.HTTP_BODY, f"it is not UTF-8 (byte {error.start + 1})") from None


def _parsed(text: str) -> Any:
    try:
        return parse_strictly(text)
    except ValueError as error:
        raise FabricError(Code.HTTP_BODY, f"it is not JSON: {error}") from None


def _lines(body: bytes, records_max: int) -> Found:
    found: Found = []
    for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line or line.isspace():
            continue
        if len(found) >= records_max:
            raise FabricError(Code.HTTP_SIZE, f"more than {records_max:,} records")
        try:
            found.append(_checked(parse_strictly(line.decode())))
        except UnicodeDecodeError:
            found.append(Fault(FabricError(Code.BAD_INPUT, "it is not UTF-8", "send UTF-8"), line))
        except ValueError as error:
            found.append(Fault(FabricError(Code.BAD_INPUT, f"it is not JSON: {error}", "send one object a line"), line))
    return found


def _checked(record: Any) -> dict[str, Any] | Fault:
    if not isinstance(record, dict):
        return Fault(FabricError(Code.BAD_INPUT, "it is no JSON object", "send objects"), _raw(record))
    fault = fault_of(record)
    if fault:
        return Fault(FabricError(Code.BAD_INPUT, fault, "change the field, or leave it out"), _raw(record))
    return record


def _raw(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"..."


def _checked_event(event: Any) -> dict[str, Any] | Fault:
    found = _checked(event)
    if isinstance(found, Fault):
        return found
    fault = _event_fault(found)
    return Fault(FabricError(Code.BAD_INPUT, fault, "send a CloudEvent 1.0"), _raw(found)) if fault else found


def _event_fault(event: dict[str, Any]) -> str:
    if event.get("specversion") != "1.0":
        return "specversion is not 1.0"
    for name in _NEEDED:
        value = event.get(name)
        if not isinstance(value, str) or not value:
            return f"{name}: a CloudEvent needs it, as text"
    for name, value in event.items():
        if name in _DATA:
            continue
        if not _ATTRIBUTE.fullmatch(name):
            return "the name of an attribute is not of a-z and 0-9"
        if isinstance(value, dict | list | float):
            return f"{name}: an attribute is text, a whole number or a boolean"
    if "data" in event and "data_base64" in event:
        return "it has data and data_base64"
    if not isinstance(event.get("data_base64", ""), str):
        return "data_base64: it is text"
    return ""


def _binary(body: bytes, kind: str, headers: Mapping[str, str]) -> dict[str, Any]:
    event: dict[str, Any] = {
        name[3:]: _unquoted(name, value) for name, value in headers.items() if name.startswith("ce-")
    }
    if any(name in event for name in _DATA):
        raise FabricError(Code.BAD_INPUT, "data is in a header", "send it as the body")
    if kind:
        event["datacontenttype"] = headers.get("content-type", kind)
    if body:
        if not kind or kind in _JSON or kind.endswith("+json"):
            event["data"] = _parsed(_text(body))
        elif kind.startswith("text/"):
            event["data"] = _text(body)
        else:
            event["data_base64"] = base64.b64encode(body).decode()
    found = _checked_event(event)
    if isinstance(found, Fault):
        raise found.error
    return found


def _unquoted(name: str, value: str) -> str:
    try:
        return unquote(value.strip().strip('"'), errors="strict")
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, f"{name}: it is not UTF-8 behind its %", "send UTF-8") from None
