"""The kind `http`: what is posted is mapped and published, as it is declared in a topology.

    [points.app-1.sources.api]
    kind = "http"
    listen = "127.0.0.1:8080"
    topic = "detections.app"
    [[points.app-1.sources.api.tokens]]
    name = "shop"
    secret = { file = "/etc/fabric/shop.token" }
    topics = ["detections.app.>", "detections.app"]

Guarantees: what was answered 202 is durable; what was not accepted is said by number, and is in the dead letters, or
was not taken at all. Who reads gets what comes from now on, and is told what is missing.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.asking import Asking
from relays.gateways.http.keys import Keys
from relays.gateways.http.rates import WORKERS
from relays.gateways.http.settings import (
    OPTIONS,
    STREAM,
    Settings,
    needs_of,
    publishes,
    read_settings,
    reads_of,
)
from relays.gateways.http.tokens import Tokens
from relays.gateways.kinds import Intake, Place, SourceKind
from relays.wall import wall_ms

_BACKLOG: Final = 512


class HttpSource:
    """`address` is there while it runs."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self.address: tuple[str, int] | None = None

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """As `kinds.Source` says."""
        tokens = Tokens(self._settings.tokens, intake.identity.credential, time.monotonic)
        # First of all: who connects now waits, and is not refused.
        with _listening(self._settings) as sock, ThreadPoolExecutor(WORKERS, "http") as pool:
            intake.waits(None)
            # Only here: it is an extra, and takes a while to import.
            from relays.gateways.http.app import App  # noqa: PLC0415
            from relays.gateways.http.commands import Commands  # noqa: PLC0415
            from relays.gateways.http.feeding import Feeding  # noqa: PLC0415
            from relays.gateways.http.serving import Serving  # noqa: PLC0415
            from relays.gateways.http.streams import Streams  # noqa: PLC0415

            keys = Keys(self._place.folder, self._place.name, intake.position_of, wall_ms)
            commands = Commands(
                Asking(self._place.name, intake), intake.identity.id, self._settings.answer_s, wall_ms
            )
            streams = Streams(intake, tokens.that_may(STREAM))
            app = App(self._settings, intake, tokens, keys, commands, streams, pool)
            serving = Serving(self._settings, app, sock)
            feeding = Feeding(intake, self._settings.read, streams) if self._settings.read else None
            self.address = sock.getsockname()[:2]
            try:
                serving.run(stop)
            finally:
                self.address = None
                if feeding is not None:
                    feeding.close()
                keys.close()


def _listening(settings: Settings) -> socket.socket:
    """A socket that listens. Raises HTTP_LISTEN."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        why = (error.strerror or type(error).__name__).lower()
        raise FabricError(Code.HTTP_LISTEN, f"{settings.address}: {why}") from None
    return sock


def _claims(settings: Settings) -> list[str]:
    return [f"tcp {settings.host}, port {settings.port}"] if settings.port else []


SOURCE: Final = SourceKind(
    "http", "What posts JSON, NDJSON or CloudEvents over HTTP, or reads there, with tokens.", OPTIONS, read_settings,
    HttpSource, needs_of, _claims, reads=reads_of, publishes=publishes,
)
