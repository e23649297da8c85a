"""A relay's state in a small file, written once a second: for `fabric status`, also when the relay does not answer.

Names, numbers and reasons only: nothing that anybody published is in here.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import __version__
from fabric.documents import parse_object
from fabric.files import make_private, write_private
from fabric.protocol.links.links import UPLINK
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Role
from relays.process.config import RelayConfig
from relays.process.versions import spoken
from relays.process.waits import queued, waiting

if TYPE_CHECKING:  # who only reads a state does without the relay
    from fabric.protocol.relay.relay import Relay

# Older than this, a state file speaks of a relay that hangs or is gone.
STALE_MS = 5_000


def snapshot(
    core: Relay, config: RelayConfig, now_ms: int, gate: dict[str, int], door_closed: bool, refusals: dict[str, Any]
) -> dict[str, Any]:
    """The state as one JSON object. `refusals`: why links did not open."""
    uplink = core.by_destination.get(UPLINK)
    children, points, vouched = [], [], {}
    for link in core.by_destination.values():
        if link.peer is not None and link.peer_role == Role.CHILD:
            children.append(link.peer.id)
        elif link.peer is not None and link.peer_role == Role.POINT:
            points.append(link.peer.id)
        if link.peer is not None and link.peer.issuers and link.peer_role != Role.PARENT:
            vouched[link.peer.id] = link.peer.issuers[0]
    queue = list(core.custody.asleep.rows)
    for reader, lane in [(reader, lane) for reader in core.custody.readers_asleep for lane in Lane]:
        queue[lane] += core.custody.readers_asleep.rows_in_lane(reader, lane)
    for lanes in queued(core).values():
        queue = [a + b for a, b in zip(queue, lanes, strict=True)]
    waits, waits_more = waiting(core, config.parent, now_ms)
    speak, speak_more = spoken(core)
    return {
        "relay": core.me.id,
        "package": __version__,
        "protocol": list(PROTOCOL_VERSIONS),  # the lowest and the highest version that it speaks
        "protocol_floor": core.trust.revocations.floor,  # the lowest that may be spoken; 0: any
        "peers_speak": speak,  # the most first
        "peers_speak_more": speak_more,  # so many peers speak others
        "refusals": refusals,
        "segment": core.me.segment,
        "clearance": core.me.clearance.short,
        "pid": os.getpid(),
        "at_ms": core.time.own(now_ms),  # by the machine's clock: others look at it
        "listen": config.listen,
        "ready": door_closed,
        "parent": config.parent,
        "parent_now": uplink.peer.id if uplink is not None and uplink.peer is not None else "",
        "path": list(core.path),
        "draining": core.draining,
        "parent_link": "root" if core.is_root else ("up" if uplink is not None else "down"),
        "children": sorted(children),
        "points": sorted(points),
        "vouched_for": vouched,  # by an issuer, of those who are connected
        "queue": {lane.name.lower(): queue[lane] for lane in Lane},
        "held": len(core.custody) + sum(core.custody.asleep.rows),
        "intake_open": core.custody.intake_open,
        "waits_for": core.readers.waits_for(now_ms),
        "waiting": waits,  # for whom, the most first
        "waiting_more": waits_more,  # for so many others
        "routes": len(core.routes),
        "revocations": core.trust.revocations.version,
        "revocations_until_ms": core.trust.revocations.not_after_ms,
        "revocations_over": core.trust_distribution.list_is_over(now_ms),
        # Of this relay and those below: the version that is in force there, and since when.
        "applied": {relay: list(version) for relay, version in sorted(core.list_reach.applied.items())},
        "directory": core.directory.held.version,
        "policies": core.trust.policies.version,
        "clock_behind_ms": core.time.behind_ms,
        "clock_suspect": core.time.suspect,
        # Whose audit logs are not what their heads said before, and since when by fabric time.
        "rewritten": {forked.node: forked.since_ms for forked in core.witnesses.forked(now_ms)},
        "counters": dict(sorted(core.counters.items())),
        "gate": gate,
    }


class StatusFile:
    """The file of one relay. Makes its folder; raises OSError."""

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        self._path = path

    def write(self, state: dict[str, Any]) -> None:
        """Whole or not at all; a reader never sees half a state. No fsync: it is worth nothing after a crash.

        Raises OSError: a full disk costs the state, and the caller sees to it that it costs nothing else.
        """
        write_private(self._path, json.dumps(state).encode(), durable=False)

    def remove(self) -> None:
        """A relay that stopped in order has no state."""
        with suppress(OSError):
            self._path.unlink()


def read_status(path: Path, now_ms: int) -> dict[str, Any] | None:
    """The last state that a relay wrote, with its age; None when there is none that can be read."""
    try:
        state = parse_object(path.read_bytes())
        state["age_ms"] = max(0, now_ms - int(state["at_ms"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state
