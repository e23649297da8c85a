"""What of a message may be handed on to whoever is cleared for less than its reader.

Guarantees: nothing that is left bears a label above `label_max`, and a field of which no label is known is not left.
What was taken out is said as a relay says it, in `withheld`: a reader sees what it would if a hop had taken it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fabric.edge.messages import Message
from fabric.protocol.envelope.field_labels import FieldLabels, merge
from fabric.protocol.vocabulary.tlp import Label


def narrowed(message: Message, label_max: Label) -> Message | None:
    """The message without the fields above `label_max`; itself where there are none, and None where its envelope is
    above it: then nobody cleared for less may know that it exists."""
    if message.label > label_max:
        return None
    gone = {label for label in message.labels.values() if label > label_max}
    if not gone:
        return message
    withheld = dict(message.withheld)
    for label in sorted(gone):  # a label is a part, which a hop takes out as a whole
        withheld[label] = withheld.get(label, 0) + 1
    return replace(
        message, content=_content(message, label_max),
        labels={name: label for name, label in message.labels.items() if label <= label_max}, withheld=withheld,
    )


def _content(message: Message, label_max: Label) -> Mapping[str, Any]:
    content: dict[str, Any] = {}
    for label, piece in FieldLabels(message.labels, Label.RED).split(dict(message.content)).items():
        if label <= label_max:
            merge(content, piece)
    return content
