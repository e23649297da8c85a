"""What a topology asks for and no relay enforces: nothing is signed by it, since whoever wrote it would rely on it."""

from __future__ import annotations

from fabric.protocol.base.errors import Code, FabricError
from relays.topology.model import Topology


def check_enforced(topology: Topology) -> None:
    """Raises TOPOLOGY_INVALID where actions are to be approved: they would run with nobody asked."""
    if topology.approvals:
        raise FabricError(
            Code.TOPOLOGY_INVALID,
            "[[approval]] with require = 1 or more is not enforced yet: actions would run with nobody asked",
            "set require = 0 where the grant alone may decide, or remove the table and the grants that it is about",
        )
