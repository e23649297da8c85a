"""Taking a relay out of service (SPEC 7.7): one small file beside its state says that it is to go, and how it went.

    FABRIC_HOME/<fabric>/run/<relay>.drain      {"within_ms": n}, and when it has gone {"left": [...], "held": n}

While the file is there the relay does not run: neither a supervisor nor a service manager brings it back before
somebody says so. It survives a crash in the middle for the same reason.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fabric.edge.home import fabric_folder, make_private, write_private

# For those who have no other relay: how long they are served on.
WITHIN_MS = 10_000


@dataclass(frozen=True)
class Draining:
    """`left`: who was still here when it went, having no other relay; `held`: messages that wait on its disk."""

    within_ms: int = WITHIN_MS
    gone: bool = False
    left: tuple[str, ...] = ()
    held: int = 0


def drain_path(fabric: str, relay: str, home: Path | None = None) -> Path:
    return fabric_folder(fabric, home) / "run" / f"{relay}.drain"


def write_draining(path: Path, state: Draining) -> None:
    make_private(path.parent)
    write_private(path, json.dumps(asdict(state)).encode())


def read_draining(path: Path) -> Draining | None:
    """None when the relay is not to go. A file that cannot be read was meant to be one."""
    try:
        document = json.loads(path.read_bytes())
        return Draining(
            int(document["within_ms"]), bool(document["gone"]), tuple(map(str, document["left"])), int(document["held"])
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Draining()


def end_draining(path: Path) -> bool:
    """The relay may run again; False when it was not told to go."""
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False
