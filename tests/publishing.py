"""The components that bring what a program publishes on its way, wired as a connection has them."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.in_flight import InFlight
from fabric.edge.publishing.lanes import Lanes
from fabric.edge.publishing.publisher import Publisher
from fabric.edge.publishing.sources import Sources
from fabric.protocol.point.point import Point


@dataclass
class Publishing:
    lanes: Lanes
    sources: Sources
    in_flight: InFlight
    publisher: Publisher


def publishing(core: Point, composer: Composer, awaiting_keys: AwaitingKeys) -> Publishing:
    lanes, sources = Lanes(in_flight := InFlight(core)), Sources()
    publisher = Publisher(core, lanes, sources, in_flight, composer, awaiting_keys, structlog.get_logger())
    return Publishing(lanes, sources, in_flight, publisher)
