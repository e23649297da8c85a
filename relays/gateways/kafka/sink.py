"""The kind `kafka`, of sinks: produces messages to Apache Kafka.

    [points.siem-1.sinks.bus]
    kind = "kafka"
    servers = ["kafka.example:9093"]
    tls = true
    topics = ["detections.>"]

Guarantees: a message is on all replicas in sync before it is acknowledged, and those of one key are in order. While
this process lives nothing is there twice; what was under way when it ended is produced again, and Kafka knows nothing
of the fabric's ids: `Fabric-Id`, a header, says which it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.groups import hand_over
from relays.gateways.handing.headers import headers_of
from relays.gateways.handing.names import name_for
from relays.gateways.handing.texts import json_of
from relays.gateways.kafka.settings import OPTIONS, Settings, needs_of, read_settings
from relays.gateways.kinds import Outtake, Place, SinkKind
from relays.terminal import json_text

# Under way at a time: so many are there twice after kill -9, at most.
RECORDS_AT_ONCE: Final = 256
_NAME_MAX: Final = 249  # of a topic, as Kafka has it


class KafkaSink:
    """`place`: whose it is, which the brokers show."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._name = f"message-fabric-{place.id}-{place.name}"

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        from relays.gateways.kafka.link import Item, Link  # noqa: PLC0415 - it is an extra, and takes a while to import

        def item_of(message: Message) -> Item:
            return Item(self._topic(message), self._key(message), headers_of(message), self._data(message))

        def begin(items: list[Item]) -> Callable[[], list[FabricError | None]]:
            link.begin(items)
            return link.finish

        link = Link(self._settings, self._name)
        try:
            hand_over(outtake, stop, RECORDS_AT_ONCE, item_of, begin)
        finally:
            link.close()

    def _topic(self, message: Message) -> str:
        topic = name_for(self._settings.topic, message.topic)
        if len(topic) > _NAME_MAX:
            raise FabricError(Code.TOO_LARGE, f"a topic of {len(topic)} characters, and Kafka has {_NAME_MAX}",
                              'write one topic for all: topic = "fabric"')
        return topic

    def _data(self, message: Message) -> bytes:
        data = json_of(message).encode()
        if len(data) > self._settings.message_max:
            raise FabricError(Code.TOO_LARGE, f"{len(data):,} bytes, and message_max is {self._settings.message_max:,}",
                              "raise message_max, and max.message.bytes of the topic")
        return data

    def _key(self, message: Message) -> bytes:
        of = {"origin": message.origin, "topic": message.topic, "id": message.id}
        order_by = self._settings.order_by
        if isinstance(order_by, str):
            return of.get(order_by, f"{message.origin} {message.topic}").encode()
        value = order_by.value(dict(message.content))
        return (value if isinstance(value, str) else json_text(value)).encode("utf-8", "replace")


SINK: Final = SinkKind(
    "kafka", "Produces messages to Apache Kafka, in order for each key.", OPTIONS, read_settings, KafkaSink,
    needs_of, hands_over=True,
)
