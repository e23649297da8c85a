"""What a kind of source or sink needs of a machine, looked for: files that can be read, packages that are installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from relays.gateways.kinds import Need
from relays.gateways.secret import Secret


def readable(paths: Iterable[Path | Secret | None]) -> list[Need]:
    """Each of these files, and those with secrets; None is none."""
    found = []
    for each in paths:
        path = Path(each.name) if isinstance(each, Secret) and each.where == "file" else each
        if isinstance(path, Path):
            problem = "" if os.access(path, os.R_OK) else "it is not there, or cannot be read"
            found.append(Need(str(path), problem, "put it there, readable by this user"))
        elif isinstance(path, Secret):
            problem = "" if os.environ.get(path.name) else "it is not in the environment"
            found.append(Need(f"the variable {path.name}", problem, "set it for `fabric edge run`"))
    return found


def installed(module: str, extra: str) -> Need:
    """A package that an extra of Message Fabric brings."""
    is_there = importlib.util.find_spec(module) is not None
    return Need(f"the package {module}", "" if is_there else "it is not installed",
                f"pip install 'message-fabric[{extra}]'")
