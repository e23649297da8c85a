"""Ports for the listeners of tests: free, and not taken by an outgoing connection before the listener comes.

What `bind(0)` offers is of the range from which the kernel takes the ports of outgoing connections, and hundreds are
made while tests run: now and then one has the port by the time that a relay wants it. These are from below that range.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
# Processes that test at the same time take every so many-th each.
_WORKERS_MAX = 8
_given: set[int] = set()


def _own() -> range:
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(_LOWEST + worker % _WORKERS_MAX, highest, _WORKERS_MAX)


def free_port() -> int:
    """One that nobody listens on, and that this process was not given before."""
    ports = [port for port in _own() if port not in _given]
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind(("127.0.0.1", port))
                door.listen()
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError(f"no port is free from {_LOWEST} up to what {_RANGE} says")
