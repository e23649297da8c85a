"""Parts are found exactly where a plain look for each of them finds them."""

import random

import pytest

from tests.simulation.finding import Parts


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_it_finds_what_is_there_and_nothing_else(count):
    chosen = random.Random(count)
    known = [chosen.randbytes(chosen.randint(16, 60)) for _ in range(count)]
    known += [part[:16] + b"another of the same beginning" for part in known[:2]]
    parts = Parts()
    for n, part in enumerate(known):
        parts.add(part, n)
    for _ in range(200):
        pieces = [chosen.choice([chosen.choice(known or [b""]), chosen.randbytes(20)]) for _ in range(3)]
        payload = b"".join(pieces)[chosen.randint(0, 3):]
        assert sorted(parts.within(payload)) == [n for n, part in enumerate(known) if part in payload]
