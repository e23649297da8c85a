"""Which log somebody means, and what is needed to verify it: its folder, and whose signatures are believed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fabric.audit.segments import is_log
from fabric.audit.verifying import entries_of, heads_taken, verify_log
from fabric.edge.identity.home import AUDIT, audit_folder, home_path, ids_folder
from fabric.edge.identity.identity import Identity, find_identity, load_identity
from fabric.protocol.audit.checking import Found, Known
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import NodeKind, name_ok


class Log(NamedTuple):
    """A log on this machine. `authority_key` is empty where no identity of its fabric is here to say it."""

    folder: Path
    authority_key: bytes = b""
    fabric: str = ""
    node: str = ""


def log_of(identity: Identity) -> Log:
    """The log of an identity of this machine."""
    is_relay = identity.credential.kind is NodeKind.RELAY
    folder = audit_folder(identity.fabric, identity.id) if is_relay else identity.folder / AUDIT
    return Log(folder, identity.authority_key, identity.fabric, identity.id)


def log_in(folder: Path, who: str = "") -> Log:
    """The log in this folder, wherever it came from; `who`: whose it is to be. Raises FabricError (NO_AUDIT)."""
    if who:
        named = log_of(find_identity(who))
        return named._replace(folder=folder)
    entry = next(entries_of(folder), None)
    fabric = entry.fields.get("fabric") if entry is not None else None
    key = _authority_key(fabric) if isinstance(fabric, str) and name_ok(fabric) else b""
    return Log(folder, key, fabric if key and isinstance(fabric, str) else "")


def named_log(name: str) -> Log:
    """By an id of this machine, or a log's folder."""
    folder = home_path(Path(name))
    if "/" in name and is_log(folder):
        return log_in(folder)
    return log_of(find_identity(name))


def verified(log: Log, parent: Log | None = None) -> Found:
    """Whether it is whole, and what its parent knows of it. Raises FabricError, also where the parent's own is not."""
    if parent is None:
        return verify_log(log.folder, log.authority_key, log.fabric, log.node)
    above = verify_log(parent.folder, parent.authority_key, parent.fabric, parent.node)
    if not above.is_whole:
        raise FabricError(Code.AUDIT_BROKEN, f"that of {above.node or parent.folder}, which cannot vouch for another")
    node = log.node or verify_log(log.folder, b"").node
    return verify_log(log.folder, log.authority_key, log.fabric, log.node, _known(parent, node, above.node))


def _known(parent: Log, node: str, by: str) -> tuple[Known, ...]:
    """What the parent's log says of the logs of this node."""
    heads = heads_taken(parent.folder, node)
    if not heads:
        raise FabricError(
            Code.NO_AUDIT, f"that of {by} has no head of {node}", "name the log of a relay that is, or was, its parent"
        )
    return tuple(
        Known(head.log, head.number, head.hash, f"its head of entry {head.number:,} that {by} has") for head in heads
    )


def _authority_key(fabric: str) -> bytes:
    """By any identity of the fabric that is here."""
    ids = ids_folder(fabric)
    for folder in sorted(ids.iterdir()) if ids.is_dir() else ():
        try:
            return load_identity(folder).authority_key
        except FabricError:
            continue
    return b""
