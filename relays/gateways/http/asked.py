"""What somebody who reads asks for: `?topic=PATTERN`, as often as there are, and the id that it had last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SUBSCRIPTIONS_MAX
from fabric.protocol.vocabulary.topics import advice_on, check_pattern

_TOPIC: Final = "topic"
_LAST: Final = "last_event_id"
_EXAMPLE: Final = "write e.g. ?topic=detections.>&topic=intel.*"


class Asked(NamedTuple):
    """`topics`: patterns, none for all that may be read. `last`: the id of the last event; empty where it says none."""

    topics: tuple[str, ...]
    last: str


def read_asked(parameters: Sequence[tuple[str, str]], last_ids: Sequence[str]) -> Asked:
    """`last_ids`: each header Last-Event-ID, which is newer than a parameter: a reader that comes again has the same
    address as at first. Raises USAGE, BAD_TOPIC."""
    topics: dict[str, None] = {}
    given: list[str] = []
    for name, value in parameters:
        if name == _TOPIC:
            fault = check_pattern(value)
            if fault is not None:
                raise FabricError(fault.code, fault.detail, advice_on(value) or _EXAMPLE)
            topics[value] = None
        elif name == _LAST:
            given.append(value)
        else:
            raise FabricError(Code.USAGE, f"the parameters are {_TOPIC} and {_LAST}", _EXAMPLE)
    if len(topics) > SUBSCRIPTIONS_MAX:
        raise FabricError(Code.USAGE, f"more than {SUBSCRIPTIONS_MAX} topics", "ask for fewer, wider ones")
    if len(given) > 1 or len(last_ids) > 1:
        raise FabricError(Code.USAGE, "the last id is there twice", "say it once, best as the header Last-Event-ID")
    return Asked(tuple(topics), (*last_ids, *given, "")[0])
