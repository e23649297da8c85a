"""Taking a relay out of service (SPEC 7.7): one small file beside its state says that it is to go, and how it went.

    FABRIC_HOME/<fabric>/run/<relay>.drain      {"within_ms": n}, and when it has gone {"left": [...], "held": n,
                                                "waits_for": {reader: n}, "actions": n, "away": {target: n}}

While the file is there the relay does not run: neither a supervisor nor a service manager brings it back before
somebody says so. It survives a crash in the middle for the same reason.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fabric.documents import parse_object
from fabric.edge.identity.home import fabric_folder, make_private, write_private

# For those who have no other relay: how long they are served on.
WITHIN_MS = 10_000
# A day: who is still here then will not find another.
_WITHIN_MS_MAX = 86_400_000
# Readers are named by relays above; of them, and of targets that are away, those first for whom most waits.
NAMED_MAX = 16
# It names who was left: some thousands of ids.
_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Draining:
    """`left`: who was still here when it went, having no other relay; `held`: messages that wait on its disk.

    `waits_for`: readers further up that are full and lose nothing, and how many of these messages wait for each.
    `actions`: how many it holds for targets that are away, which no other relay may; `away`: how many for whom.
    """

    within_ms: int = WITHIN_MS
    gone: bool = False
    left: tuple[str, ...] = ()
    held: int = 0
    waits_for: Mapping[str, int] = field(default_factory=dict)
    actions: int = 0
    away: Mapping[str, int] = field(default_factory=dict)


def drain_path(fabric: str, relay: str, home: Path | None = None) -> Path:
    """Where the file of this relay is; `home` is FABRIC_HOME where it is not given."""
    return fabric_folder(fabric, home) / "run" / f"{relay}.drain"


def write_draining(path: Path, state: Draining) -> None:
    """Write the file, in place of an older one. Raises FabricError or OSError."""
    make_private(path.parent)
    write_private(path, json.dumps(asdict(state)).encode())


class DrainFile:
    """The file, looked at again and again. Only one that can be read, and is valid, says anything.

    One that cannot be read leaves what was known of it: a machine that is short of descriptors drains nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: Draining | None = None
        self.problem = ""  # why the last look saw nothing, as the name of an error; empty when it did

    def look(self) -> Draining | None:
        """None when the relay is not to go."""
        try:
            with self._path.open("rb") as file:
                document = parse_object(file.read(_BYTES_MAX))
            self._state = Draining(
                min(max(0, int(document["within_ms"])), _WITHIN_MS_MAX), bool(document["gone"]),
                tuple(map(str, document["left"])), int(document["held"]),
                _counts(document.get("waits_for", {})), int(document.get("actions", 0)),
                _counts(document.get("away", {})),
            )
        except FileNotFoundError:
            self._state = None
        except OSError as error:
            self.problem = errno.errorcode.get(error.errno or 0, type(error).__name__)
            return self._state
        except (ValueError, KeyError, TypeError, AttributeError):
            self.problem = "not valid"
            return self._state
        self.problem = ""
        return self._state


def _counts(said: dict[str, int]) -> dict[str, int]:
    return {str(name): int(count) for name, count in said.items()}


def read_draining(path: Path) -> Draining | None:
    """What the file says now. None when the relay is not to go, and when it cannot be read."""
    return DrainFile(path).look()


def end_draining(path: Path) -> bool:
    """The relay may run again; False when it was not told to go."""
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False
