"""The one list of targets."""

from __future__ import annotations

from tests.fuzz import documents, faces, files, policing, shown, stories
from tests.fuzz.engine import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *documents.TARGETS, *policing.TARGETS, *files.TARGETS, *faces.TARGETS, *shown.TARGETS, *stories.TARGETS
    )
}
