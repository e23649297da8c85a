"""How long the way to a relay takes: the time in which TCP connects, of many addresses in parallel.

Guarantees: bounded threads, addresses and time, also where a name cannot be resolved; nothing is sent to the peer. The
threads end with the program, which need not wait for addresses that do not answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Sequence

TIMEOUT_S = 1.0
# In four rounds of this many at a time, if none answers.
ADDRESSES_MAX = 64
_THREADS = 16


def measure(addresses: Sequence[str], timeout_s: float = TIMEOUT_S) -> dict[str, float]:
    """The round trip in ms of each address ("host:port") that answered in time, of the first `ADDRESSES_MAX`."""
    asked = list(dict.fromkeys(addresses))[:ADDRESSES_MAX]
    waiting, found = deque(asked), dict[str, float]()

    def work() -> None:
        while waiting:
            try:
                address = waiting.popleft()
            except IndexError:  # another took the last
                return
            took_ms = _round_trip_ms(address, timeout_s)
            if took_ms is not None:
                found[address] = took_ms

    threads = [
        threading.Thread(target=work, name="fabric nearest", daemon=True) for _ in range(min(_THREADS, len(asked)))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s * (1 + len(asked) // _THREADS) + timeout_s / 2
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {address: found[address] for address in asked if address in found}


def _round_trip_ms(address: str, timeout_s: float) -> float | None:
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.settimeout(timeout_s)
            began = time.perf_counter()
            tried.connect(where)
            return (time.perf_counter() - began) * 1_000
    except (OSError, ValueError, OverflowError):  # a name that cannot be one is a ValueError
        return None
