"""What an action is about: one type, `Target`, from the command line to the handler.

Guarantees: a `Target` has a type of OpenC2 or an extension, and a value that is JSON of that type in its one spelling,
so that two spellings are never two targets; it does not change. Its `text` is what people see, type and approve, and is
read again as the same target.

    ipv4_net=203.0.113.9                              text types as they stand
    file=invoice.pdf    file=/tmp/invoice.pdf         a file's name; its path where it is an absolute one
    process=sshd        process=4711                  a process's name; its pid where it is a number
    device=laptop-7                                   a device's hostname
    features            features=versions,pairs       none or some; properties alike
    ipv4_connection=protocol=tcp,dst_port=443         a connection's fields
    slpf:rule_number=1234    x-acme:crane=north       an extension: JSON where it is that, else text
    file={"hashes": {"md5": "..."}}                   anything else: JSON
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import NAME_BYTES_MAX
from fabric.protocol.vocabulary.plain_json import Faults, below, parse_ijson
from fabric.protocol.vocabulary.target_types import (
    TARGET_BYTES_MAX,
    TEXT_TYPES,
    WRONG,
    is_extension,
    is_target_type,
    read_value,
)

# As JSON a value may take more than its text: quotes, braces, numbers.
_TYPED_CHARS_MAX: Final = NAME_BYTES_MAX + 1 + 8 * TARGET_BYTES_MAX
_NO_TYPE: Final = "one type of target and its value, e.g. {\"ipv4_net\": \"203.0.113.9\"}"


class Target:
    """`type`, e.g. "ipv4_net"; `value`, OpenC2's JSON: text, or a list or map; `text`, as it is typed and shown."""

    __slots__ = ("_json", "_text", "_type")

    def __init__(self, type_: str, value: Any = "") -> None:
        """Raises FabricError(BAD_ACTION) with the path of each fault."""
        faults = Faults()
        read = read_value(type_, value, below("target", type_), faults) if isinstance(type_, str) else WRONG
        if read is WRONG:
            raise FabricError(Code.BAD_ACTION, faults.detail)
        self._set(type_, read)

    def _set(self, type_: str, value: Any) -> None:
        self._type = type_
        self._json = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self._text = _spelled(type_, value, self._json)

    @classmethod
    def _of(cls, type_: str, value: Any) -> Target:
        target = cls.__new__(cls)
        target._set(type_, value)
        return target

    @property
    def type(self) -> str:
        return self._type

    @property
    def value(self) -> Any:
        """New each time: nobody who changes it changes the target."""
        return json.loads(self._json)

    @property
    def text(self) -> str:
        return self._text

    def to_json(self) -> dict[str, Any]:
        """As OpenC2 writes it: {"ipv4_net": "203.0.113.9"}."""
        return {self._type: self.value}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and (self._type, self._json) == (other._type, other._json)

    def __hash__(self) -> int:
        return hash((self._type, self._json))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Target({self._type!r}, {self.value!r})"


def read_target(document: object, path: str, faults: Faults) -> Target | None:
    """The target of a command, {type: value}, or None, and its faults were told. Never raises."""
    if not isinstance(document, dict) or len(document) != 1:
        faults.add(path, _NO_TYPE)
        return None
    ((type_, value),) = document.items()
    if not isinstance(type_, str) or not is_target_type(type_):
        faults.add(path, "the type is not known")
        return None
    read = read_value(type_, value, below(path, type_), faults)
    return None if read is WRONG else Target._of(type_, read)


def parse_target(text: str, faults: Faults) -> Target | None:
    """The target that somebody typed, `type=value`, or None, and its faults were told."""
    if len(text) > _TYPED_CHARS_MAX:
        faults.add("target", f"more than {TARGET_BYTES_MAX:,} bytes")
        return None
    type_, _, typed = text.partition("=")
    if not is_target_type(type_):
        faults.add("target", "the type is not known")
        return None
    path = below("target", type_)
    if not typed and type_ != "features" and not is_extension(type_):
        faults.add(path, f"no value: write {type_}=...")
        return None
    try:
        value = _typed(type_, typed)
    except ValueError as error:
        faults.add(path, str(error))
        return None
    read = read_value(type_, value, path, faults)
    return None if read is WRONG else Target._of(type_, read)


# -- how a value is typed ----------------------------------------------------------------------------------------


def _typed(type_: str, text: str) -> Any:
    """What was meant, yet to be checked. Raises ValueError."""
    if type_ in TEXT_TYPES:
        return text
    if is_extension(type_):
        return _json_or_text(text)
    if text[:1] in ("{", "["):
        return parse_ijson(text)
    if text != text.strip():
        raise ValueError("a value with spaces around it: write it as JSON")
    return _SHORT[type_](text) if type_ in _SHORT else parse_ijson(text)


def _json_or_text(text: str) -> Any:
    try:
        return parse_ijson(text) if text else ""
    except ValueError:
        # What begins like JSON was to be JSON: its fault is told, and not taken for text.
        if text[:1] in ("{", "[", '"') or text != text.strip():
            raise
        return text


_ABSOLUTE: Final = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")


def _file(text: str) -> Any:
    return {"path" if _ABSOLUTE.match(text) else "name": text}


def _process(text: str) -> Any:
    return {"pid": int(text)} if _NUMBER.fullmatch(text) else {"name": text}


def _device(text: str) -> Any:
    return {"hostname": text}


def _names(text: str) -> Any:
    return text.split(",") if text else []


def _connection(text: str) -> Any:
    fields: dict[str, Any] = {}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError("write e.g. protocol=tcp,dst_addr=203.0.113.9,dst_port=443")
        if name in fields:
            raise ValueError("a field comes twice")
        fields[name] = int(value) if name.endswith("_port") and _NUMBER.fullmatch(value) else value
    return fields


_SHORT: Final[Mapping[str, Callable[[str], Any]]] = {
    "file": _file, "process": _process, "device": _device, "features": _names, "properties": _names,
    "ipv4_connection": _connection, "ipv6_connection": _connection,
}


def _spelled(type_: str, value: Any, as_json: str) -> str:
    """The short form where it is read as this very value, else JSON."""
    short = _short(value, named=type_.endswith("_connection"))
    if short is None:
        return f"{type_}={as_json}"
    if type_ not in TEXT_TYPES:
        try:
            if not short.isprintable() or _typed(type_, short) != value:
                short = as_json
        except ValueError:
            short = as_json
    return f"{type_}={short}" if short else type_


def _short(value: Any, *, named: bool) -> str | None:
    """A value as it might be typed without JSON; None for one that has to be JSON. `named`: with its fields' names."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    if isinstance(value, dict) and named:
        return ",".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, dict) and len(value) == 1:
        (only,) = value.values()
        return str(only)
    return None
