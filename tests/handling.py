"""Actions for handlers, as their control point gives them."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import structlog

from fabric.edge.control import Control
from fabric.edge.messages import Action
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label
from relays.handlers.kinds import Place

_IDS = itertools.count(1)


def action_for(
    action: str, type_: str, value: Any, requester: str = "soar-1", ttl_s: float = 60.0, args: Any = None,
    control: Control | None = None,
) -> Action:
    now_ms = time.time_ns() // 1_000_000
    return Action(
        f"{next(_IDS):064x}", action, Target(type_, value), args or {}, requester, Severity.HIGH, Label.GREEN, now_ms,
        now_ms + int(ttl_s * 1000), (), control=control or Control(),
    )


def place_in(folder: Path, *relays: str) -> Place:
    return Place("fw-7", folder / "handler", lambda: relays, structlog.get_logger())


def end_of(answer: Any) -> tuple[str, str]:
    return str(answer.end), answer.code.label if answer.code else ""
