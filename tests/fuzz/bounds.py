"""How large each container of a core may become: found by looking at everything that a core holds.

A container that nobody listed may have `UNLISTED_MAX` entries, so a new one is held to a bound from its first day.
Names follow attributes; what is inside a container is `[]`: `links[].introductions` are those of every link.
"""

from __future__ import annotations

import enum
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fabric.protocol.base.limits import (
    ADMISSIONS_QUEUED_MAX,
    ASKED_MAX,
    CREDENTIALS_CACHED_MAX,
    FRAME_ELEMENTS_MAX,
    REVOCATIONS_MAX,
)
from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.header import Header
from fabric.protocol.envelope.layout import Envelope
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.trust.credentials import Credential
from tests.fuzz.invariants import BrokenError

UNLISTED_MAX = 2_048
# Where an entry is a message held: bytes bound their number, the quota of a lane by its smallest message.
_HELD_MAX = 300_000
BOUNDS: dict[str, int] = {
    "custody._held": _HELD_MAX,
    "custody._deadlines": 2 * _HELD_MAX + 32,
    "custody.dedup._until": 200_000,
    "trust._credentials._vouched[]": CREDENTIALS_CACHED_MAX,
    "trust._credentials._voucher": CREDENTIALS_CACHED_MAX,
    "trust._credentials._of_id": CREDENTIALS_CACHED_MAX,
    "trust._credentials._owner": CREDENTIALS_CACHED_MAX,
    "kept._digests": CREDENTIALS_CACHED_MAX,
    "roots._good": 4_096,
    "trust._revocations.ids": REVOCATIONS_MAX,
    "route_exchange._withdrawn": 4_096,
    "enrolment._asked._source": ASKED_MAX,
    "_admission._node_of": ADMISSIONS_QUEUED_MAX,
    "_admission._queues": ADMISSIONS_QUEUED_MAX,
    # One frame's worth may be waiting for its answer.
    "links[].answers._acks": FRAME_ELEMENTS_MAX,
    "links[].answers._nacks": FRAME_ELEMENTS_MAX,
    "links[].introductions._told": CREDENTIALS_CACHED_MAX,
}
# Whole things that a peer made, and that were bounded when they were read; and what is no state.
_WHOLE = (
    Credential, Envelope, Header, Attachment, Signer, Verified, enum.Enum, str, bytes, int, float, type(None), type,
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, Callable,
)
# Of the entries of a container so many are looked into: they are alike.
_ALIKE = 48


def containers(core: object) -> Iterator[tuple[str, int]]:
    """(name, entries) of every container that this object holds, itself or through what it holds."""
    seen: set[int] = {id(core)}
    waiting: deque[tuple[str, Any]] = deque([("", core)])
    while waiting:
        name, value = waiting.popleft()
        for inner_name, inner in _inside(name, value):
            if isinstance(inner, _WHOLE) or id(inner) in seen:
                continue
            seen.add(id(inner))
            if isinstance(inner, dict | list | deque | set | frozenset) and not isinstance(inner, tuple):
                yield inner_name, len(inner)
            waiting.append((inner_name, inner))


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for _, inner in zip(range(_ALIKE), list(value.values())):  # noqa: B905 - the first few
            yield f"{name}[]", inner
    elif isinstance(value, list | tuple | deque | set | frozenset):
        for _, inner in zip(range(_ALIKE), list(value)):  # noqa: B905
            yield f"{name}[]", inner
    dot = f"{name}." if name else ""
    for class_ in type(value).__mro__:
        for slot in getattr(class_, "__slots__", ()):
            if isinstance(slot, str) and hasattr(value, slot):
                yield dot + slot, getattr(value, slot)
    for attribute, inner in getattr(value, "__dict__", {}).items():
        yield dot + attribute, inner


def check_bounds(core: object) -> None:
    for name, entries in containers(core):
        most = BOUNDS.get(name, UNLISTED_MAX)
        if entries > most:
            raise BrokenError(f"{name} has no bound: {entries} entries, {most} are allowed")
