"""A network of its own for a test: a new network namespace, in which a thread of the test runs, and what it starts."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000


def in_new_network(function: Callable[[], _T]) -> _T:
    """What the function returned or raised. It has a loopback, which is up, and nothing else."""
    returned: list[_T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            assert ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            returned.append(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def why_no_tables() -> str:
    """Why there can be no network with nftables here; empty where there can."""
    if os.geteuid() != 0:
        return "a network of its own needs root"
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"no program {missing[0]}"
    try:
        in_new_network(lambda: subprocess.run(["nft", "list", "tables"], check=True, capture_output=True))
    except (AssertionError, subprocess.CalledProcessError) as error:
        return f"no network of its own: {error}"
    return ""


NO_TABLES = why_no_tables()
needs_tables = pytest.mark.skipif(bool(NO_TABLES), reason=NO_TABLES)
