"""Randomness from a seed, and the values at which programs break: the same seed gives the same input."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgpack

_T = TypeVar("_T")
_EDGES = (
    0, 1, 2, 3, 15, 16, 17, 63, 64, 127, 128, 255, 256, 4_096, 65_535, 65_536, 2**31 - 1, 2**31, 2**32, 2**45,
    2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**31), -(2**63),
)
_TEXTS = (
    "", " ", "a", "A", "-", "*", ">", ".", "..", "a.b", "a..b", "/", "../x", "\x00", "\n", "\x1b[31m", "[/x]", "\u202e",
    "\u00e9", "\U0001f525", "x" * 63, "x" * 64, "x" * 65, "\u00e9" * 33, "x" * 257, "9" * 5_000, "hq", "mid", "acme",
    "1e999", "NaN", "-Infinity", "\ud800",
)


class Dice(random.Random):
    """Draws of an input; `Dice(seed)` for any text or number."""

    def one_in(self, n: int) -> bool:
        return self.randrange(n) == 0

    def number(self) -> int:
        """Any size, most often near an edge."""
        return self.choice(_EDGES) + self.choice((0, 0, 0, 1, -1)) if self.one_in(2) else self.getrandbits(
            self.randrange(1, 64)
        )

    def natural(self, most: int = 2**53) -> int:
        return min(most, abs(self.number()))

    def text(self) -> str:
        """Without lone surrogates, as msgpack and files bring it."""
        text = self.choice(_TEXTS) if self.one_in(2) else "".join(
            chr(self.randrange(0x20, 0x7F)) for _ in range(self.randrange(12))
        )
        return text.encode(errors="ignore").decode()

    def some(self, of: Sequence[_T], most: int) -> list[_T]:
        """Up to so many, in any order, perhaps one of them often."""
        if self.one_in(4):
            return self.sample(list(of), min(len(of), most))
        return [self.choice(of) for _ in range(self.randrange(most + 1))]

    def often(self, rest: Callable[[], _T], *usual: _T) -> _T:
        """One of the usual ones nearly always."""
        return rest() if self.one_in(25) else self.choice(usual)

    # -- structures ---------------------------------------------------------------------------------------

    def junk(self, depth: int = 3) -> Any:
        """What msgpack and JSON can say where something else was expected."""
        kind = self.randrange(10 if depth else 7)
        if kind == 0:
            return None
        if kind == 1:
            return self.one_in(2)
        if kind == 2:
            return self.choice((0.0, -1.5, float("inf"), float("nan"), 1e300))
        if kind in (3, 4):
            return max(-(2**63), min(2**64 - 1, self.number()))
        if kind == 5:
            return self.text()
        if kind == 6:
            return self.randbytes(self.choice((0, 1, 15, 16, 17, 31, 32, 33, 64)))
        if kind in (7, 8):
            return [self.junk(depth - 1) for _ in range(self.randrange(5))]
        return {self.text(): self.junk(depth - 1) for _ in range(self.randrange(4))}

    def changed(self, value: Any) -> Any:
        """The structure with something else in one place: another value, one more, one less, one twice."""
        places = list(_places(value))
        if not places:
            return self.junk()
        inner, key = self.choice(places)
        what = self.randrange(6)
        if what == 0 and isinstance(inner, list):
            inner.insert(key, self.junk())
        elif what == 1:
            del inner[key]
        elif what == 2 and isinstance(inner, list):
            inner[key:key] = [inner[key]] * self.choice((1, 2, 17, 70, 300))
        elif what == 3 and isinstance(inner[key], int):
            inner[key] = max(-(2**63), min(2**64 - 1, inner[key] + self.choice((1, -1, 256, self.number()))))
        elif what == 4 and isinstance(inner[key], str | bytes) and inner[key]:
            inner[key] = inner[key][: self.randrange(len(inner[key]))]
        else:
            inner[key] = self.junk()
        return value

    # -- bytes --------------------------------------------------------------------------------------------

    def damaged(self, raw: bytes) -> bytes:
        """With some bits, bytes or lengths other than they were."""
        data = bytearray(raw)
        for _ in range(self.choice((1, 1, 2, 4))):
            at = self.randrange(len(data) + 1)
            what = self.randrange(6)
            if what == 0 and at < len(data):
                data[at] ^= 1 << self.randrange(8)
            elif what == 1 and at < len(data):
                data[at] = self.randrange(256)
            elif what == 2:
                del data[at:]
            elif what == 3:
                data[at:at] = self.randbytes(self.randrange(1, 9))
            elif what == 4:
                to = min(len(data), at + self.randrange(32))
                data[at:at] = data[at:to] * self.choice((1, 2, 40))
            else:
                data[at : at + 5] = self.choice((b"\xdd", b"\xdf", b"\xc6", b"\xdb")) + self.randbytes(4)
        return bytes(data)

    def near(self, raw: bytes) -> bytes:
        """Near a valid msgpack value: changed in its structure, or in its bytes."""
        if self.one_in(3):
            return self.damaged(raw)
        try:
            value = msgpack.unpackb(raw, strict_map_key=False)
        except ValueError:
            return self.damaged(raw)
        for _ in range(self.choice((1, 1, 1, 2, 3))):
            value = self.changed(value)
        return packed(value)


def packed(value: Any) -> bytes:
    return msgpack.packb(value, use_bin_type=True) or b""


def _places(value: Any) -> Any:
    """(container, key) of every element of a structure."""
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)
