"""The dead letters of all sources and sinks that run for one identity. From any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.deadletter.letter import Form, letter_of
from relays.gateways.deadletter.store import FOLDER, Store


class DeadLetters:
    """`labels`: for each source the highest that a record of it can bear; of one that is not named it is RED.
    `messages`: those of which what is rejected are messages, not records."""

    def __init__(
        self, identity_folder: Path, labels: Mapping[str, Label], messages: frozenset[str] = frozenset(),
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._folder = identity_folder / FOLDER
        self._labels = dict(labels)
        self._messages = messages
        self._now_ms = now_ms
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()

    def keep(
        self, source: str, raw: bytes | Mapping[str, Any], error: FabricError, where: str,
        severity: Severity | None = None, by: str = "",
    ) -> None:
        """What a source rejected: in its file when this returns. `by`: whom it came from, of those that share the
        source, and its room. Raises OSError, NOT_PRIVATE."""
        label = self._labels.get(source, Label.RED)
        form = Form.MESSAGE if source in self._messages else Form.RECORD
        at_ms = self._now_ms()
        with self._lock:
            store = self._stores.get(source)
            if store is None:
                store = self._stores[source] = Store(self._folder / source)
            store.add(lambda number: letter_of(number, at_ms, raw, error, where, label, form, severity, by))

    def sync(self) -> None:
        """From time to time: what was kept is on disk. Raises OSError."""
        with self._lock:
            for store in self._stores.values():
                store.sync()

    def close(self) -> None:
        """All is on disk."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
