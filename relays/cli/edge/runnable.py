"""Whether a command can be run, found out before it is: what the operating system says of it afterwards is "no such
file" of a file that is there.

Guarantees: what it names is so; where nothing can be known (a program for another machine, a kind of file that this
machine may have a loader for) it says nothing, and the attempt tells.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

# As much of a first line as Linux reads.
_LINE_BYTES_MAX = 256
_ENV = "env"


def why_not(command: str) -> str:
    """Why this command, a path or a name on PATH, cannot be run; empty where nothing is known against it."""
    found = shutil.which(command)
    if found is None:
        return _not_found(command)
    try:
        with Path(found).open("rb") as file:
            first = file.read(_LINE_BYTES_MAX)
    except OSError:
        return ""  # a program may be executable and not readable
    if not first:
        return f"{found} is empty"
    line = first.split(b"\n", 1)[0]
    if line.startswith(b"#!"):
        return _interpreter(found, line[2:])
    if _is_text(first):
        return f"{found} is a script whose first line names no interpreter: let it begin with e.g. #!/bin/sh"
    return ""


def _not_found(command: str) -> str:
    if os.sep not in command:
        return f"no program {command} is on PATH"
    path = Path(command)
    if path.is_dir():
        return f"{command} is a folder"
    if path.exists():
        return f"{command} is not executable: run chmod +x {shlex.quote(command)}"
    return f"{command} is a link to nothing" if path.is_symlink() else f"there is no file {command}"


def _interpreter(path: str, line: bytes) -> str:
    """Of what follows `#!`."""
    if line.endswith(b"\r"):
        return (
            f"the lines of {path} end with CR LF, so that its interpreter's name ends with a CR: "
            f"run sed -i 's/\\r$//' {shlex.quote(path)}"
        )
    words = os.fsdecode(line).split()
    if not words:
        return f"the first line of {path} names no interpreter"
    if not os.access(words[0], os.X_OK):
        what = "may not be executed" if Path(words[0]).exists() else "is not there"
        return f"the interpreter of {path}, {words[0]}, {what}"
    # `env -S` and assignments are its own business.
    named = len(words) > 1 and Path(words[0]).name == _ENV and words[1][0] != "-" and "=" not in words[1]
    if named and shutil.which(words[1]) is None:
        return f"the interpreter of {path}, {words[1]}, is not on PATH"
    return ""


def _is_text(first: bytes) -> bool:
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        # A letter may have been cut in two at the end.
        text = first[: error.start].decode() if error.start > len(first) - 4 else ""
    return bool(text) and all(char.isprintable() or char in "\n\r\t" for char in text)
