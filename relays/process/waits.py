"""For whom a relay holds what it holds, how much of it there is, and since when: a part of its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.protocol.custody.sessions import AWAY, NOWHERE, is_point, node_of
from fabric.protocol.links.links import UPLINK

if TYPE_CHECKING:  # who only reads a state does without the relay
    from fabric.protocol.custody.outbox import Outbox
    from fabric.protocol.relay.relay import Relay

# A relay may have thousands of readers; the state is written once a second, and names those with the most.
NAMED_MAX = 16
# What is only on its way is younger than this.
_PASSING_MS = 1_000


def queued(core: Relay) -> dict[str, list[int]]:
    """How many messages of each lane are in the outbox to each destination, of those where any is."""
    if not core.custody:  # a state is written once a second, and a relay is idle for most of them
        return {}
    counts = ((destination, outbox.counts()) for destination, outbox in core.outboxes.items())
    return {destination: lanes for destination, lanes in counts if any(lanes)}


def waiting(core: Relay, parent: str, now_ms: int) -> tuple[list[dict[str, Any]], int]:
    """Those for whom something waits, the most bytes first, and how many more there are.

    Each has `for` (a relay, a control point, or the target of an action that is connected nowhere), `kind` (parent,
    child, point or nowhere), `away`, `messages`, `bytes`, `since_ms` (when the oldest of them came, by this machine's
    clock). A control point also has `share_bytes`, what is kept for it at most, and `asleep`, how many of its messages
    are only on disk. Sessions of one control point are one. What is held for targets that are away is one: `names` has
    those for whom most is held, the first of them also as `for`, and `names_more` is how many more there are.
    What came within the last second to somebody who is there is only passing, and is not among them.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    in_outbox = queued(core)
    some = {*in_outbox, *core.custody.readers_asleep, *([UPLINK] if any(core.custody.asleep.rows) else ())}
    for destination, outbox in core.outboxes.items() if some else ():
        if destination not in some:
            continue
        messages, bytes_ = _held_for(core, destination, outbox, sum(in_outbox.get(destination, ())))
        if not messages:
            continue
        oldest = outbox.oldest()
        since_ms = core.time.own(now_ms if oldest is None else oldest.held.received_at_ms)
        name, kind, away = _whom(core, parent, destination, () if oldest is None else oldest.targets)
        entry = found.setdefault((kind, name), {
            "for": name, "kind": kind, "away": True, "messages": 0, "bytes": 0, "since_ms": since_ms,
        })
        entry["away"] = entry["away"] and away
        entry["messages"] += messages
        entry["bytes"] += bytes_
        entry["since_ms"] = min(entry["since_ms"], since_ms)
        if destination == AWAY:
            entry["names"] = list(core.absent.waits_for(NAMED_MAX))
            entry["names_more"] = max(0, core.absent.targets - NAMED_MAX)
        if kind == "point":
            entry["share_bytes"] = core.sessions.keep(destination).bytes
            entry["asleep"] = entry.get("asleep", 0) + core.custody.readers_asleep.rows_of(destination)
    passing_since_ms = core.time.own(now_ms) - _PASSING_MS
    waits = [entry for entry in found.values() if entry["away"] or entry["since_ms"] <= passing_since_ms]
    waits.sort(key=lambda entry: -int(entry["bytes"]))
    return waits[:NAMED_MAX], max(0, len(waits) - NAMED_MAX)


def _held_for(core: Relay, destination: str, outbox: Outbox, messages: int) -> tuple[int, int]:
    """Messages and bytes, asleep or awake. `messages`: those awake."""
    asleep = core.custody.asleep
    if destination == UPLINK:
        return messages + sum(asleep.rows), outbox.bytes + sum(asleep.bytes)
    return messages + core.custody.readers_asleep.rows_of(destination), core.custody.waiting_bytes(outbox)


def _whom(core: Relay, parent: str, destination: str, targets: tuple[str, ...]) -> tuple[str, str, bool]:
    """Name, kind, and whether nothing can be sent there now."""
    link = core.by_destination.get(destination)
    if destination == UPLINK:
        return (link.peer.id if link is not None and link.peer is not None else parent), "parent", link is None
    if destination == AWAY:
        return next(iter(core.absent.waits_for(1)), ""), "nowhere", True
    if destination == NOWHERE:
        return (targets[0] if targets else ""), "nowhere", True
    if is_point(destination):
        return node_of(destination), "point", core.sessions.is_away(destination)
    return node_of(destination), "child", link is None
