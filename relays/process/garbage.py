"""When a relay's process looks for garbage: not while it holds much.

Python looks through all objects that there are whenever their number has grown by a quarter: 90 ms for 40,000 messages
that wait for a parent, and everybody's urgent ones wait with them. What a relay holds has no cycles, so nothing is
to be found in it. Guarantees: a full look at most once a minute, and only while little is held.
"""

from __future__ import annotations

import gc

_EVERY_MS = 60_000
# Messages; a look then takes a few milliseconds.
_LITTLE = 1_000
_NEVER = 1_000_000


class Garbage:
    """Takes over from Python. What there is by now is taken for what the program consists of."""

    def __init__(self, now_ms: int) -> None:
        self._looked_ms = now_ms
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        gc.collect()
        gc.freeze()

    def look(self, held: int, now_ms: int) -> None:
        if held <= _LITTLE and now_ms - self._looked_ms >= _EVERY_MS:
            self._looked_ms = now_ms
            gc.collect()
