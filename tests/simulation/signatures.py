"""Each signature is checked once in a process that plays all nodes.

A message crosses a dozen relays, and every one of them checks it. The same bytes under the same key have the same
answer each time, and in a tree of real processes each would have to find out for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import nacl.bindings

# What is not valid raises, and is not remembered.
_check = lru_cache(maxsize=8_192)(nacl.bindings.crypto_sign_open)


@contextmanager
def remembered() -> Iterator[None]:
    """Within it, a signature that was valid once is so without another look."""
    before = nacl.bindings.crypto_sign_open
    nacl.bindings.crypto_sign_open = _check
    try:
        yield
    finally:
        nacl.bindings.crypto_sign_open = before
