"""What a relay is told besides who it is: where it listens, who its parents may be, and whom it dials.

Read from its identity's folder, so that a bundle on another machine needs no topology file and no validator.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric.edge.identity.identity import Dial, Identity, dial_in
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import READERS_BYTES
from fabric.protocol.wire.frames import Role

# Under this name an identity says it, where it is not the default.
READERS = "readers_bytes"


@dataclass(frozen=True)
class RelayConfig:
    """Addresses are as the topology file has them; ids are those of relays."""

    listen: str
    parent: str  # the preferred one; empty: the root
    parents: tuple[str, ...]  # the preferred one, then its backups in order
    dials: tuple[tuple[Role, Dial], ...]  # what we say we are to the peer, and the peer
    readers_bytes: int = READERS_BYTES  # what it has for all that its readers may keep


def relay_config(identity: Identity) -> RelayConfig:
    """From the identity's own file. Raises BAD_IDENTITY where that is not a relay's."""
    extra = identity.extra
    try:
        children = tuple((Role.PARENT, dial_in(child)) for child in extra["children"])
        upwards = tuple((Role.CHILD, dial) for dial in identity.dials)
        parent = str(extra["parent"])
        preferred = [parent] if parent else []
        parents = extra.get("parents", preferred)  # an older identity has only the one
        if parents[:1] != preferred:
            raise ValueError("parents")
        return RelayConfig(
            str(extra["listen"]), parent, tuple(map(str, parents)), (*upwards, *children),
            int(extra.get(READERS, READERS_BYTES)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FabricError(Code.BAD_IDENTITY, f"{identity.folder} is not a relay's") from error
