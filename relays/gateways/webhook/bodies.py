"""What is posted: messages as `fabric subscribe --json` prints them, or as CloudEvents 1.0 in structured mode.

Labels travel with what bears them: a CloudEvent's data is the whole message as JSON, labels of fields included, and the
highest that is visible is an attribute, by which a receiver can route.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from fabric.edge.messages import Message
from relays.gateways.handing.texts import json_of, time_of
from relays.gateways.webhook.settings import CLOUDEVENTS

_TYPES: Final = {
    (False, False): "application/json", (False, True): "application/json",
    (True, False): "application/cloudevents+json", (True, True): "application/cloudevents-batch+json",
}


class Item(NamedTuple):
    """A message, and how it is posted."""

    message: Message
    text: bytes


class Body(NamedTuple):
    """`id`: the same for the same messages, and for no others."""

    id: str
    content_type: str
    data: bytes


def item_of(message: Message, format_: str, fabric: str) -> Item:
    """Raises BAD_BODY for what no JSON can hold."""
    text = json_of(message)
    if format_ == CLOUDEVENTS:
        text = f'{{{json.dumps(_attributes(message, fabric))[1:-1]}, "data": {text}}}'
    return Item(message, text.encode())


def body_of(items: Sequence[Item], format_: str, is_array: bool) -> Body:
    """Of all of these; one alone where it is no array."""
    ids = [item.message.id for item in items]
    content_type = _TYPES[format_ == CLOUDEVENTS, is_array]
    if not is_array:
        return Body(ids[0], content_type, items[0].text)
    # After a fault other messages may be together: an id of the first of them would have a receiver drop the others.
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
    return Body(f"batch-{digest}", content_type, b"[" + b",\n".join(item.text for item in items) + b"]")


def size_of(items: Sequence[Item]) -> int:
    """In bytes, of the body of these."""
    return sum(len(item.text) + 2 for item in items)


def _attributes(message: Message, fabric: str) -> dict[str, str]:
    at = time_of(message)
    return {
        "specversion": "1.0",
        "id": message.id,
        "source": f"urn:message-fabric:{fabric}:{message.origin}",
        "type": message.topic,
        **({"time": at} if at else {}),
        "datacontenttype": "application/json",
        "kind": message.kind,
        "severity": message.severity.name.lower(),
        "tlp": message.highest_label.short,
    }
