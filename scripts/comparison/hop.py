"""One hop with envelopes of 20 KB: a relay, and beside it a forwarder that does nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq

from fabric.transport.keys import random_keys
from scripts.comparison.figures import BYTES_RATE, RATE, Window
from scripts.comparison.hop_ends import HOP_BYTES
from scripts.comparison.measuring import Streaming, house_with_ends, until_it_arrives
from scripts.comparison.processes import Program
from tests.ports import free_port

_TOPOLOGY = """
fabric = "bench"
organisation = "acme"
defaults = { label = "green" }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }

[points]
sensor-p   = { relay = "hq", role = "sensor",  clearance = "amber" }
analyst-hq = { relay = "hq", role = "analyst", clearance = "red" }
"""


class Hop:
    """Megabytes a second, of messages that were made before."""

    def __init__(self, does: str, publisher: Program, between: dict[str, int], reader: Program) -> None:
        self.does, self._publisher = does, publisher
        self._streaming = Streaming(does, between, publisher, reader)

    def window(self, seconds: float) -> Window:
        self._publisher.ask("prepare", seconds, takes_s=seconds)
        found = self._streaming.window(seconds)
        return Window({BYTES_RATE.name: found.values[RATE.name] * HOP_BYTES / 1e6}, found.cpu_us, found.lost)


@contextmanager
def relay_hop(folder: Path) -> Iterator[Hop]:
    progress = (str(folder / "progress"),)
    with house_with_ends(
        folder, _TOPOLOGY, "scripts.comparison.hop_ends", read=progress, publish=progress
    ) as (house, reader, publisher):
        side = Hop(
            "one relay: authenticates both ends, verifies signature, digest and grant of each envelope, and has it on "
            "disk before it acknowledges; three share a signature and a frame, and its ends open nothing",
            publisher, {"hq": house.pid("hq")}, reader,
        )
        until_it_arrives(side)
        yield side


@contextmanager
def proxy_hop(folder: Path) -> Iterator[Hop]:
    folder.mkdir()
    keys = random_keys(os.urandom(32))
    ends, ports = "scripts.comparison.curve_ends", (str(free_port()), str(free_port()))
    with ExitStack() as stack:

        def begun(what: str, *ports: str) -> Program:
            program = stack.enter_context(Program(folder / f"curve {what}.log", ends, what, *ports))
            program.ask(keys.public.hex(), keys.secret.hex())
            return program

        proxy = begun("proxy", *ports)
        reader = begun("read", ports[1])
        publisher = begun("publish", ports[0])
        side = Hop(
            f"zmq.proxy of pyzmq {zmq.__version__} with CURVE: forwards bytes; authenticates nobody, verifies, parses, "
            "filters and keeps nothing, and acknowledges nothing",
            publisher, {"proxy": proxy.pid}, reader,
        )
        until_it_arrives(side)
        yield side
