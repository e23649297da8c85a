"""Where state lives: `FABRIC_HOME`, a folder per fabric, mode 0700.

    FABRIC_HOME/<fabric>/ids/<id>/      an identity: all that a node needs to connect
    FABRIC_HOME/<fabric>/authority/     the authority's key, where it is
    FABRIC_HOME/<fabric>/revocations    its newest revocation list
    FABRIC_HOME/<fabric>/directory      its newest directory of relays
    FABRIC_HOME/<fabric>/policies       its newest approval policies
    FABRIC_HOME/<fabric>/spool/         a relay's messages in custody
    FABRIC_HOME/<fabric>/run/           what runs, and its state
"""

from __future__ import annotations

import os
from pathlib import Path

from fabric.files import make_private as make_private
from fabric.files import write_private as write_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import name_ok

AUDIT = "audit"


def fabric_home() -> Path:
    """`FABRIC_HOME`, else the XDG data folder. Raises USAGE where neither says which."""
    set_home = os.environ.get("FABRIC_HOME")
    if set_home:
        return home_path(Path(set_home))
    data = home_path(Path(os.environ.get("XDG_DATA_HOME", "")))
    # One that is relative is to be ignored, says the XDG base directory specification.
    return (data if data.is_absolute() else home_path(Path("~/.local/share"))) / "message-fabric"


def home_path(path: Path) -> Path:
    """`~` and `~user`, at the beginning, are homes here too: in quotes, a shell leaves them as they are.

    Raises USAGE where nobody knows that home, and it is never taken for a folder of that name.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise FabricError(
            Code.USAGE, f"{path}: there is no such home", "write the whole path, or set FABRIC_HOME to one"
        ) from None


def fabric_folder(fabric: str, home: Path | None = None) -> Path:
    """The folder of one fabric. Names are checked, so a name never walks out of the home."""
    if not name_ok(fabric):
        raise FabricError(Code.USAGE, f"{fabric!r} is not a fabric's name")
    return (home or fabric_home()) / fabric


def ids_folder(fabric: str, home: Path | None = None) -> Path:
    """Where a fabric's identities on this machine are, a folder each."""
    return fabric_folder(fabric, home) / "ids"


def audit_folder(fabric: str, relay: str, home: Path | None = None) -> Path:
    """Where a relay's audit log is. That of any other identity is in its own folder, under `AUDIT`."""
    return fabric_folder(fabric, home) / AUDIT / relay


def revocations_path(fabric: str, home: Path | None = None) -> Path:
    """The authority's newest revocation list on this machine."""
    return fabric_folder(fabric, home) / "revocations"


def fabrics(home: Path | None = None) -> list[str]:
    """The fabrics that have a folder on this machine, by name."""
    root = home or fabric_home()
    if not root.is_dir():
        return []
    folders = (path for path in root.iterdir() if path.is_dir() and name_ok(path.name))
    return sorted(path.name for path in folders if (path / "ids").is_dir() or (path / "run").is_dir())
