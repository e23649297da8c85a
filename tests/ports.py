"""Ports for the listeners of tests: free, and not taken by an outgoing connection before the listener comes.

What `bind(0)` offers is of the range from which the kernel takes the ports of outgoing connections, and hundreds are
made while tests run: now and then one has the port by the time that a relay wants it. These are from below that range.
"""

from __future__ import annotations

import functools
import os
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
# Processes that test at the same time, workers of one run or of several, take every so many-th each.
_SHARES = 16
_given: set[int] = set()
_claims: list[socket.socket] = []  # what says that this process has its share, until it ends


def _share() -> int:
    """Of this process alone, while there are no more than shares. A name that is bound is nobody else's (Linux)."""
    worker = int(os.environ.get("FABRIC_TESTS_WORKER", "gw0").removeprefix("gw"))
    for share in range(_SHARES):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0fabric tests, ports {share}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return share
    return worker % _SHARES


@functools.cache
def _own() -> range:
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    return range(_LOWEST + _share(), highest, _SHARES)


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
