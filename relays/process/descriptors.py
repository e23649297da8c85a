"""How many descriptors this process may have: as many as the machine lets it, within reason."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

# What a service file of ours asks for. libzmq and Python look through all of them at some places, and some machines
# allow a billion.
DESCRIPTORS_MAX: Final = 65_536


def raise_limit() -> int:
    """Raise the soft limit towards the hard one. The limit that holds afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft == resource.RLIM_INFINITY:
        return DESCRIPTORS_MAX
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return min(soft, DESCRIPTORS_MAX)
