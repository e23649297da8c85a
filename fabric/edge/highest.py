"""The label of a message as a whole: its envelope's, or that of a part above it (SPEC 3.3).

Who shows something, or answers with what it read, goes by this one: the envelope's own label says who may know that
there is a message, and not who may see what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.envelope.header import Header
from fabric.protocol.vocabulary.tlp import Label


def label_of_whole(header: Header) -> Label:
    """Of one that is there with all its parts, as an action is, or not at all (SPEC 3.5)."""
    return header.highest_label


def label_of_visible(header: Header, parts: Sequence[bytes | None]) -> Label:
    """Of what came of one, whose other parts were withheld."""
    came = (entry.label for entry, part in zip(header.manifest, parts, strict=True) if part is not None)
    return max((header.label, *came))
