"""What is published together: each with its own topic and options, or many of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fabric.edge.publishing.options import PublishOptions
from fabric.protocol.base.errors import Code, FabricError


class Publication(NamedTuple):
    """One of many. `position`: (source, how far it is read with this), as `publish` takes it."""

    topic: str
    content: Mapping[str, Any]
    position: tuple[str, str] | None
    options: PublishOptions


def at_positions(
    contents: Sequence[Mapping[str, Any]], positions: Sequence[tuple[str, str] | None] | None
) -> Iterable[tuple[Mapping[str, Any], tuple[str, str] | None]]:
    """Each with its position. Raises USAGE where these are not as many."""
    if isinstance(contents, str | bytes | Mapping) or not isinstance(contents, Sequence):
        raise FabricError(Code.USAGE, f"contents of type {type(contents).__name__[:64]}", "give a list of maps")
    if positions is None:
        return ((content, None) for content in contents)
    if isinstance(positions, str | bytes) or not isinstance(positions, Sequence):
        raise FabricError(Code.USAGE, f"positions of type {type(positions).__name__[:64]}", "give a list of pairs")
    if len(positions) != len(contents):
        raise FabricError(
            Code.USAGE, f"{len(positions)} positions for {len(contents)} records", "give one for each, or None"
        )
    return zip(contents, positions, strict=True)
