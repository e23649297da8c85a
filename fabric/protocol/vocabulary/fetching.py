"""Fetching what an action left at its target (SPEC 9.9): what is asked for, a range at a time, and in which pieces.

Pure. Guarantees: a range that was read is within bounds, so nobody asks a target for more than a window at a time, and
no answer is larger than a message may be. It is this fabric's own target type: OpenC2 has none for it, and handlers of
its `artifact` are not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CHUNK_BYTES, NAME_BYTES_MAX, WINDOW_BYTES_MAX

FETCH_ACTION: Final = "query"
FETCH_TYPE: Final = "x-fabric:artifact"
FETCH: Final = "query.x-fabric.artifact"
# An artifact's id, in hex: random, so that nobody guesses what others left.
ARTIFACT_ID_CHARS: Final = 16
# What is between a node's id and the beginning of its session, where an answer is for that session alone.
SESSION_MARK: Final = "/"
_SESSION_CHARS: Final = 8
_ID: Final = re.compile(rf"[0-9a-f]{{{ARTIFACT_ID_CHARS}}}")
_SESSION: Final = re.compile(rf"[0-9a-f]{{{_SESSION_CHARS}}}|")
_SIZE_MAX: Final = 2**53 - 1


class Wanted(NamedTuple):
    """So many bytes of an artifact, from there on. `session`: of the requester, the one that asks; empty: any."""

    id: str
    offset: int
    bytes: int
    session: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the target of an action, {type: value}, in its one spelling."""
        session = {"session": self.session} if self.session else {}
        return {FETCH_TYPE: {"bytes": self.bytes, "id": self.id, "offset": self.offset, **session}}

    def answer_to(self, requester: str) -> str:
        """For whom the pieces are: all that a node has open or away would get them else."""
        address = f"{requester}{SESSION_MARK}{self.session}"
        return address if self.session and len(address.encode()) <= NAME_BYTES_MAX else requester

    def pieces(self, size: int) -> Iterator[tuple[int, int]]:
        """(offset, bytes) of each piece of an artifact of this size, in order; none beyond its end."""
        end = min(self.offset + self.bytes, size)
        for offset in range(self.offset, end, CHUNK_BYTES):
            yield offset, min(CHUNK_BYTES, end - offset)


def session_beginning(session: bytes) -> str:
    """As much of a session as tells it from the others of its node."""
    return session.hex()[:_SESSION_CHARS]


def read_wanted(value: object) -> Wanted | Reject:
    """The value of the target, or BAD_ACTION. Never raises, whatever it is given."""
    if isinstance(value, Mapping):
        id_, offset, bytes_ = value.get("id"), value.get("offset"), value.get("bytes")
        session = value.get("session", "")
        right = (
            isinstance(id_, str) and _ID.fullmatch(id_) and isinstance(session, str) and _SESSION.fullmatch(session)
            and _is_number(offset, 0, _SIZE_MAX) and _is_number(bytes_, 1, WINDOW_BYTES_MAX)
        )
        if right:
            return Wanted(id_, offset, bytes_, session)  # type: ignore[arg-type]
    return Reject(Code.BAD_ACTION, f"target.{FETCH_TYPE}: id, offset, and bytes up to {WINDOW_BYTES_MAX:,}")


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
