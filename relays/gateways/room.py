"""Writing where the disk may be full: it is waited for, and its sink says so meanwhile."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Outtake

_T = TypeVar("_T")
_WAIT_S: Final = 1.0
# What a disk, a quota or a process's limit says that has no room.
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def when_there_is_room(write: Callable[[], _T], path: Path, outtake: Outtake, stop: threading.Event) -> _T:
    """What `write` gives, once it finds room. Raises SINK_AWAY where its sink is to stop before, and any other
    OSError."""
    while True:
        try:
            done = write()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            why = FabricError(Code.SINK_AWAY, f"{path}: {(error.strerror or '').lower()}",
                              "make room there: nothing is lost meanwhile")
            outtake.waits(why)
            if stop.wait(_WAIT_S):
                raise why from None
        else:
            outtake.waits(None)
            return done
