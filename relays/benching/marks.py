"""What test records say: that they are no event, whose they are, and when they were published.

Guarantees: each says `"test": true` and what it is in words, whatever else is in it, so that nobody who gets it by
mistake takes it for something that happened. Records of one run are told from all others by 8 random bytes.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

RUN_BYTES: Final = 8
# A record without any filling, and the largest: a message takes a little less than 200 KB of one label.
SIZE_MIN, SIZE_MAX = 150, 100_000
_NOTE: Final = "fabric bench: this is no event"
# Filling does not compress, and no two records of one message begin at the same place in it.
_NOISE_BYTES = 262_144
_STRIDE = 7_919
# Of what is only to see whether anything arrives.
PROBE: Final = -1


class Mark(NamedTuple):
    """`number`: from 0 on, or `PROBE`. `at_s`: when it was published, by the machine's monotonic clock."""

    number: int
    at_s: float


class Records:
    """Makes the records of one run. `size`: about so many bytes of JSON each."""

    def __init__(self, size: int) -> None:
        self.run = os.urandom(RUN_BYTES).hex()
        bare = len(json.dumps(self._content(1_000_000, 1_000_000.0, "")))
        self._fill = max(0, size - bare)
        self._noise = base64.b64encode(os.urandom(_NOISE_BYTES)).decode() if self._fill else ""

    def make(self, number: int, at_s: float) -> dict[str, Any]:
        begin = number * _STRIDE % (len(self._noise) - self._fill) if self._fill else 0
        return self._content(number, at_s, self._noise[begin : begin + self._fill])

    def _content(self, number: int, at_s: float, fill: str) -> dict[str, Any]:
        content = {"test": True, "note": _NOTE, "run": self.run, "n": number, "at": round(at_s, 6)}
        return {**content, "fill": fill} if fill else content


def mark_of(content: Mapping[str, Any], run: str) -> Mark | None:
    """None where it is no record of this run. It came from outside: whatever it says, it says it in the right types, or
    it is none."""
    match content:
        case {"test": True, "run": str(of), "n": int(number), "at": float(at_s) | int(at_s)} if of == run:
            return Mark(number, float(at_s))
    return None
