"""Declarations that are read, for the tests of what becomes of a record."""

import tomllib

from relays.gateways.mapping import Mapped, RecordMapping, read_mapping
from relays.gateways.options import Fault, Options


def declared(toml: str) -> RecordMapping:
    mapping, faults = read(toml)
    assert not faults, faults
    return mapping


def read(toml: str) -> tuple[RecordMapping, list[Fault]]:
    text = toml if "topic" in toml else f'topic = "detections.test"\n{toml}'
    options = Options(tomllib.loads(text))
    return read_mapping(options), options.faults


def mapped(toml: str, record: dict, **known) -> Mapped:
    found = declared(toml).apply(record, **known)
    assert isinstance(found, Mapped), found
    return found
