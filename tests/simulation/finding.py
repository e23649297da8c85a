"""Which of many parts are in a frame, in a time that does not grow with how many they are."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

# What every part begins with is random, and hardly ever the same.
_SALT_BYTES = 16


class Parts(Generic[T]):
    """Parts, and what each of them stands for."""

    def __init__(self) -> None:
        self._by_salt: dict[bytes, list[tuple[bytes, T]]] = {}
        self._all: list[tuple[bytes, T]] = []
        self._shortest = 0

    def add(self, part: bytes, meaning: T) -> None:
        assert len(part) >= _SALT_BYTES
        self._by_salt.setdefault(part[:_SALT_BYTES], []).append((part, meaning))
        self._all.append((part, meaning))
        self._shortest = min(self._shortest or len(part), len(part))

    def within(self, payload: bytes) -> list[T]:
        """What those stand for that are in these bytes."""
        if not self._all or len(payload) < self._shortest:
            return []
        looked_for = self._all
        if len(payload) < 2 * len(self._all):  # else to look for each of them is faster
            pieces = dict.fromkeys(payload[n : n + _SALT_BYTES] for n in range(len(payload) - _SALT_BYTES + 1))
            looked_for = [each for piece in pieces if piece in self._by_salt for each in self._by_salt[piece]]
        return [meaning for part, meaning in looked_for if part in payload]
