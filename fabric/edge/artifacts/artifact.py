"""An artifact as its requester knows it: what the result of an action names (SPEC 9.9).

Guarantees: of what a target says only what can be one is believed, in a bounded number; a name can be given to a file
and printed as it is, whoever chose it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.edge.artifacts.names import distinct, file_name
from fabric.protocol.base.limits import ARTIFACTS_MAX
from fabric.protocol.vocabulary.fetching import ARTIFACT_ID_CHARS
from fabric.protocol.vocabulary.tlp import Label, parse_label

_ID = re.compile(rf"[0-9a-f]{{{ARTIFACT_ID_CHARS}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER_MAX = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Artifact:
    """What an action left at a target. `action`: its id; `bytes` and `sha256` (hex): of the content; `label`: of the
    content, never below `result_label`, which its name, its size and its digest bear; `until_ms`: so long the target
    keeps it, in milliseconds since 1970, unless newer ones of the same requester take its place."""

    id: str
    name: str
    bytes: int
    sha256: str
    label: Label
    until_ms: int
    target: str
    action: str
    result_label: Label = Label.CLEAR

    def to_json(self) -> dict[str, Any]:
        """As `fabric artifacts --json` prints it."""
        return {
            "action": self.action, "target": self.target, "id": self.id, "name": self.name, "bytes": self.bytes,
            "sha256": self.sha256, "label": self.label.short, "until": self.until_ms,
        }

    def to_book(self) -> dict[str, Any]:
        """As a result names it, and the book keeps it."""
        return {
            "id": self.id, "name": self.name, "bytes": self.bytes, "sha256": self.sha256, "label": self.label.short,
            "until": self.until_ms,
        }


def read_artifacts(said: object, *, target: str, action: str, label: Label) -> tuple[Artifact, ...]:
    """Those of a result of this target, which bears this label. What is none is left out."""
    found: list[Artifact] = []
    for each in said[:ARTIFACTS_MAX] if isinstance(said, list | tuple) else ():
        one = _read(each, [other.name for other in found], target, action, label)
        if one is not None:
            found.append(one)
    return tuple(found)


def _read(said: object, taken: list[str], target: str, action: str, result_label: Label) -> Artifact | None:
    if not isinstance(said, Mapping):
        return None
    id_, name, digest, label = (said.get(field) for field in ("id", "name", "sha256", "label"))
    bytes_, until_ms = said.get("bytes"), said.get("until")
    if not (isinstance(id_, str) and _ID.fullmatch(id_) and isinstance(digest, str) and _SHA256.fullmatch(digest)):
        return None
    if not isinstance(name, str) or not _is_number(bytes_) or not _is_number(until_ms):
        return None
    # One that is not known is of a later version: as in headers it is the highest.
    read = parse_label(label) if isinstance(label, str) else None
    bears = Label.RED if read is None else max(read, result_label)
    return Artifact(
        id_, distinct(file_name(name), taken), bytes_, digest, bears, until_ms,  # type: ignore[arg-type]
        target, action, result_label,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NUMBER_MAX
