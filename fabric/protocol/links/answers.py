"""Answers that a peer has yet to hear (SPEC 7.5): which of its messages this node has, and which it does not take.

Guarantee: each is said once, in the order in which it was decided; a frame holds no more than one may.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_ELEMENTS_MAX, ITEMS_MAX
from fabric.protocol.wire.frames import Ack, Nack

_ACKS_MAX = FRAME_ELEMENTS_MAX // 2


class Answers:
    """Of one link, until the end of the turn."""

    __slots__ = ("_acks", "_nacks")

    def __init__(self) -> None:
        self._acks: list[bytes] = []
        self._nacks: list[tuple[bytes, Code, str]] = []

    def ack(self, id_: bytes) -> None:
        self._acks.append(id_)

    def nack(self, id_: bytes, reason: Reject) -> None:
        self._nacks.append((id_, reason.code, reason.detail))

    def frames(self) -> Iterator[Ack | Nack]:
        """What is to be said now; it is not said again."""
        acks, nacks = self._acks, self._nacks
        self._acks, self._nacks = [], []
        for i in range(0, len(acks), _ACKS_MAX):
            yield Ack(acks[i : i + _ACKS_MAX])
        for i in range(0, len(nacks), ITEMS_MAX):
            yield Nack(nacks[i : i + ITEMS_MAX])
