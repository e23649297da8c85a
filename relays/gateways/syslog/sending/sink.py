"""The kind `syslog`, of sinks: sends messages as RFC 5424 over UDP, TCP and TLS.

    [points.siem-1.sinks.siem]
    kind = "syslog"
    to = "tls://siem.example:6514"
    topics = ["detections.>"]

Guarantees, over TCP and TLS: a message is sent until the receiver's machine has it, in order. What that loses itself
when it ends cannot be known: after a connection that was cut the group before is sent again, so what was being read
then comes twice rather than never. `id` says which it is. UDP promises nothing, as ever.
"""

from __future__ import annotations

import threading
from typing import Final

from fabric.protocol.base.errors import FabricError
from relays.gateways.handing.tls import Contexts
from relays.gateways.handing.trying import Trying
from relays.gateways.kinds import Outtake, Place, SinkKind
from relays.gateways.syslog.sending.channel import Channel
from relays.gateways.syslog.sending.settings import OPTIONS, Settings, needs_of, read_settings
from relays.gateways.syslog.sending.writing import text_of

# Of a group, which is held in memory until the one after it is there.
RECORDS_AT_ONCE: Final = 128


class SyslogSink:
    """Of one run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel = Channel(settings.to, Contexts(settings.tls), settings.timeout_s)
        self._before: list[bytes] = []  # the group that was sent last: its receiver may have lost it

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        trying = Trying(outtake, stop)
        try:
            for group in outtake.groups(RECORDS_AT_ONCE):
                texts = []
                for message in group:
                    try:
                        texts.append(text_of(message, self._settings))
                    except FabricError as error:
                        outtake.reject(message, error)
                if texts:
                    trying(lambda texts=texts: self._send(texts))  # type: ignore[misc]
                    self._before = texts
        finally:
            self._channel.close()

    def _send(self, texts: list[bytes]) -> None:
        """Raises NotNowError."""
        self._channel.look()
        if not self._channel.is_open:
            self._channel.open()
            if self._before:
                self._channel.send(self._before)
        self._channel.send(texts)


def _open(settings: Settings, _place: Place) -> SyslogSink:
    return SyslogSink(settings)


SINK: Final = SinkKind(
    "syslog", "Sends messages as syslog (RFC 5424) over UDP, TCP and TLS, labels included.", OPTIONS, read_settings,
    _open, needs_of, hands_over=True,
)
