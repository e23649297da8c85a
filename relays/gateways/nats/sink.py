"""The kind `nats`: publishes messages to a stream of NATS JetStream.

    [points.siem-1.sinks.bus]
    kind = "nats"
    servers = ["tls://nats.example:4222"]
    stream = "FABRIC"
    topics = ["detections.>"]

Guarantees: a message is stored in the stream before it is acknowledged, in order. Its id is the one that JetStream
knows it by (`Nats-Msg-Id`): what is published again, after kill -9 of whomever, is stored once, if that is within the
stream's duplicate window. The subject follows from the topic.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Final

from fabric.edge.messages import Message
from relays.gateways.handing.groups import hand_over
from relays.gateways.handing.headers import headers_of
from relays.gateways.handing.names import name_for
from relays.gateways.handing.texts import json_of
from relays.gateways.kinds import Outtake, Place, SinkKind
from relays.gateways.nats.settings import OPTIONS, Settings, needs_of, read_settings

# On their way at a time: so many are published again after a fault.
RECORDS_AT_ONCE: Final = 256


class NatsSink:
    """`place`: whose it is, which the server shows."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._name = f"message-fabric {place.id} {place.name}"

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        from relays.gateways.nats.link import Item, Link  # noqa: PLC0415 - it is an extra, and takes a while to import

        def item_of(message: Message) -> Item:
            headers = {"Nats-Msg-Id": message.id, **headers_of(message)}
            return Item(name_for(self._settings.subject, message.topic), headers, json_of(message).encode())

        link = Link(self._settings, self._name)
        try:
            hand_over(outtake, stop, RECORDS_AT_ONCE, item_of, lambda items: partial(link.publish, items))
        finally:
            link.close()


SINK: Final = SinkKind(
    "nats", "Publishes messages to a stream of NATS JetStream, where each is once.", OPTIONS, read_settings, NatsSink,
    needs_of, hands_over=True,
)
