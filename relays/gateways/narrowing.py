"""What of a message may be handed on to whoever is cleared for less than its reader.

Guarantees: nothing that is left bears a label above `label_max`, and a field of which no label is known is not left.
What was taken out is said as a relay says it, in `withheld`: a reader sees what it would if a hop had taken it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from fabric.edge.messages import Message
from fabric.protocol.envelope.field_labels import FieldLabels, merge
from fabric.protocol.vocabulary.tlp import Label

# Messages of one source have the same fields under the same labels: so many are remembered, where they are few.
_KNOWN_MAX: Final = 32
_FIELDS_MAX: Final = 64
_CHARS_MAX: Final = 2_048


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
    for label, piece in _rules_of(message.labels).split(dict(message.content)).items():
        if label <= label_max:
            merge(content, piece)
    return content


def _rules_of(labels: Mapping[str, Label]) -> FieldLabels:
    if len(labels) > _FIELDS_MAX or sum(map(len, labels)) > _CHARS_MAX:
        return FieldLabels(labels, Label.RED)
    return _known_rules(tuple(labels.items()))


@lru_cache(_KNOWN_MAX)
def _known_rules(labels: tuple[tuple[str, Label], ...]) -> FieldLabels:
    return FieldLabels(dict(labels), Label.RED)
