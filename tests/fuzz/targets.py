"""The one list of targets."""

from __future__ import annotations

from tests.fuzz import (
    documents,
    faces,
    files,
    handed,
    mapping,
    policing,
    pulls,
    reading,
    shown,
    stixes,
    stories,
    syslogs,
)
from tests.fuzz.engine import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *documents.TARGETS, *policing.TARGETS, *files.TARGETS, *faces.TARGETS, *shown.TARGETS, *syslogs.TARGETS,
        *mapping.TARGETS, *pulls.TARGETS, *stixes.TARGETS, *handed.TARGETS, *reading.TARGETS, *stories.TARGETS
    )
}
