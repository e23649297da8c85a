"""What every core of a story decided, as a digest: two versions of the code that decide the same have the same one.

A trace is exact: bytes, order and times of everything in each `Ready`. So it says whether a change that was to move
code changed anything, and with `lines` where it did first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.verify import Verified
from tests.simulation.world import Observer, SimNode


class Trace(Observer):
    """`lines`: a line for each step of each node, where they are asked for; they take much room."""

    def __init__(self, *, keep: bool = False) -> None:
        self._whole = hashlib.sha256()
        self._keep = keep
        self.lines: list[str] = []

    def stepped(self, node: SimNode, ready: Ready) -> None:
        step = hashlib.sha256(_said(_of(ready)).encode()).hexdigest()[:16]
        line = f"{node.name} {ready.wake_at_ms} {step}"
        self._whole.update(line.encode())
        if self._keep:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._whole.hexdigest()[:16]


def _of(ready: Ready) -> Sequence[Any]:
    return (ready.early, ready.persist, ready.send, ready.deliver, ready.close, ready.notes)


def _said(value: Any) -> str:
    """The same text for the same value, in every run."""
    if isinstance(value, Verified):
        return value.raw.hex()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Reject):
        return f"{value.code.name}:{value.detail}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_said(key)}:{_said(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return type(value).__name__ + "(" + ",".join(map(_said, value)) + ")"
    assert value is None or isinstance(value, str | bytes | int | float), f"{type(value).__name__} has no text"
    return repr(value)
