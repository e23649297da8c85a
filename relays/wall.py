"""This machine's time, in which credentials, lists and tokens state how long they are valid."""

from __future__ import annotations

import time

from fabric.protocol.base.errors import Code, FabricError

# A version that is less was counted from one: as a time it would be one before there was anything to sign.
_SECONDS_MIN = 1_000_000_000


def wall_ms() -> int:
    """Milliseconds since 1970, to look at something by. A clock from before that shows what holds as not valid yet."""
    return max(0, time.time_ns() // 1_000_000)


def utc(ms: int) -> str:
    """As people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(ms / 1_000))


def of_version(version: int) -> str:
    """Of a list or directory. Its version is the second in which it was signed, unless there was one of a later."""
    return f"of {utc(version * 1_000)}" if version > _SECONDS_MIN else f"version {version}"


def signing_ms() -> int:
    """The same, to sign something by. Raises CLOCK_UNSET where the machine's clock is before 1970: what is signed then
    could not even be written down."""
    now_ms = time.time_ns() // 1_000_000
    if now_ms < 0:
        raise FabricError(Code.CLOCK_UNSET, time.strftime("%Y-%m-%d", time.gmtime(now_ms // 1_000)))
    return now_ms
