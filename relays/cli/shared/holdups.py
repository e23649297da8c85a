"""What a command reports while it waits for something outside itself: it never hangs silently.

A thread looks a few times a second. Short waits are not mentioned. A wait of two seconds is: once with the reason and
what waits, again when the reason changes, and once when it is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType

from fabric.protocol.base.errors import FabricError
from relays.terminal import Screen, say_json

_LOOK_S = 0.25
# Less is nothing that anybody has to know: relays start, links change, queues fill for a moment.
PATIENCE_S = 2.0


class Holdups:
    """`why`: the reason why nothing goes on, if there is one. `progress`: something that changes while something goes on.

    `waits`: in words, what waits; and their number. All are asked from a thread of their own.
    """

    def __init__(
        self,
        why: Callable[[], FabricError | None],
        progress: Callable[[], Hashable],
        waits: Callable[[], tuple[str, int]],
        screen: Screen,
        as_json: bool,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._why = why
        self._progress = progress
        self._waits = waits
        self._screen = screen
        self._as_json = as_json
        self._patience_s = patience_s
        self._seen: Hashable = None
        self._since_s = time.monotonic()
        self._told: FabricError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fabric hold-ups", daemon=True)

    def __enter__(self) -> Holdups:
        self._thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.look(time.monotonic())

    def look(self, now_s: float) -> None:
        """Whether there is something to say by now."""
        why, seen = self._why(), self._progress()
        if why is None or seen != self._seen:
            self._seen, self._since_s = seen, now_s
            if self._told is not None and why is None:
                self._told = None
                self._tell(None)
            return
        if now_s - self._since_s >= self._patience_s and (self._told is None or self._told.code is not why.code):
            self._told = why
            self._tell(why)

    def _tell(self, why: FabricError | None) -> None:
        words, number = self._waits()
        if self._as_json:
            code = why.code if why is not None else None
            say_json({"waiting": {
                "records": number, "code": code.label if code else None, "cause": code.cause if code else "",
                "detail": why.detail if why else "", "next": why.next_step if why else "",
            }}, error=True)
        elif why is None:
            self._screen.say("goes on")
        else:
            self._screen.say(f"waiting: {why}" + (f"; {words}" if words else ""))
            self._screen.say(f"  next: {why.next_step}")
