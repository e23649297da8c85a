"""The words with which a relay's log ends when the relay itself does: written by who ends it, read for `fabric status`.

An error in a log is not the end of its relay: an alarm is one, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabric.documents import parse_object
from fabric.edge.identity.home import fabric_folder

CANNOT_RUN = "relay cannot run"
OWN_FAULT = "relay stopped by a fault of its own"
NOT_STARTED = "relay cannot be started"
_ENDS = frozenset({CANNOT_RUN, OWN_FAULT, NOT_STARTED})


def last_words(fabric: str, relay: str, home: Path | None = None) -> dict[str, Any] | None:
    """Why a relay ended or did not begin, for a table or a message; None where its log ends with anything else, such as
    an alarm of a relay that goes on."""
    path = fabric_folder(fabric, home) / "run" / f"{relay}.log"
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = parse_object(line)
        except ValueError:
            continue
        return entry if entry.get("event") in _ENDS else None
    return None
