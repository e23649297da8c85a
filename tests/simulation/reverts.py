"""What an executor's program does about effects that end: the real leases, and an inverse that fails now and then."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from fabric.edge.effects.lasting import lasting_of
from fabric.edge.effects.lease_clock import Clocks
from fabric.edge.effects.leasing import Lasts, Leasing
from fabric.edge.effects.reverting import Effect
from fabric.edge.handling.handlers import Answer, action_kept, failed
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ledger_ops import KeepLease
from fabric.protocol.core.ready import Delivery, Op
from fabric.protocol.core.timekeeper import Timekeeper

# Whose effects the program of an executor can end.
REVERTED = ("stop.device", "set.device")


class _NoList:
    """Nobody looks at the list of leases here."""

    is_changed = False

    def changed(self) -> None: ...

    def write(self, *_: Any, **__: Any) -> None: ...


class Reverts:
    """What `Leasing` needs of a program: it calls an inverse after a while, which fails now and then."""

    def __init__(
        self, name: str, time: Timekeeper, chosen: random.Random, later: Callable[[int, Callable[[], None]], None],
        reverted: Callable[[KeepLease, Answer], None], tell: Callable[[Effect], None],
    ) -> None:
        self._chosen = chosen
        self._later = later
        self._reverted = reverted
        self.tell = tell
        self.leasing = Leasing(name, Path(name), time, structlog.wrap_logger(structlog.ReturnLogger()), _clocks)
        self.leasing._list = _NoList()  # type: ignore[assignment]

    def start(self, ops: Sequence[Op], now_ms: int) -> None:
        self.leasing.opened(ops, self, now_ms)

    def knows(self, topic: str) -> bool:
        return topic in REVERTED

    def hanging(self, now_ms: int) -> list[bytes]:
        del now_ms
        return []

    def revert(self, lease: KeepLease) -> None:
        well = self._chosen.random() < 0.8
        self._later(self._chosen.choice([1, 200, 2_000]), lambda: self._reverted(
            lease, Answer() if well else failed(Code.HANDLER_FAILED)
        ))


def lasts(delivery: Delivery) -> Lasts | None:
    """For how long what a handler does is to last; None where nothing ends it."""
    message = delivery.message
    action = action_kept(message.raw, delivery.hops) if message.header.topic in REVERTED else None
    if not isinstance(action, Action):
        return None
    found = lasting_of(action)
    return Lasts(found.effect, found.variant, found.left_ms(message.counts_from_ms + delivery.age_ms))


def _clocks(time: Timekeeper, now_ms: int) -> Clocks:
    """Of a machine that runs throughout: its programs die."""
    fabric_ms = time.now(now_ms) if time.measured and not time.suspect else 0
    return Clocks(now_ms, "boot", now_ms, time.own(now_ms), fabric_ms)
