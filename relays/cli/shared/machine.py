"""What the operating system refused, as an error of ours: which file, why, and what helps."""

from __future__ import annotations

import errno
import os

from fabric.protocol.base.errors import Code, FabricError

_OWN_HOME = "name a folder that this user may write to, e.g. with FABRIC_HOME"
# What helps, by what was refused; else the code's own words.
_NEXT = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room: this user's share of the disk is used up",
    errno.EROFS: f"that disk is read-only: {_OWN_HOME}",
    errno.EACCES: f"change its permissions, or {_OWN_HOME}",
    errno.EPERM: f"change its permissions, or {_OWN_HOME}",
    errno.ENOTDIR: "something on the way there is a file: name another path",
    errno.EMFILE: "let one process have more open files: ulimit -n",
    errno.ENFILE: "close programs: this machine has as many open files as it may",
    errno.ENOMEM: "close programs: this machine has no memory left",
    errno.EIO: "the disk or the terminal fails: look at the system's own log",
}


def machine_error(error: OSError) -> FabricError:
    """As MACHINE_REFUSED: the cause, and the file where there is one."""
    words = error.strerror or type(error).__name__
    name = next((name for name in (error.filename, error.filename2) if name is not None), None)
    where = f"{words}: {os.fsdecode(name) if isinstance(name, str | bytes) else name}" if name is not None else words
    return FabricError(Code.MACHINE_REFUSED, where, _NEXT.get(error.errno or 0, ""))
