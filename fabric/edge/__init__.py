"""What a control point imports: `ControlPoint` for asyncio, `fabric.edge.blocking.ControlPoint` for everything else.

Each name is imported when it is asked for: who wants one of the modules in here does not wait for all of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabric.edge.approving.request import ApprovalRequest
    from fabric.edge.approving.verdict import Verdict
    from fabric.edge.artifacts.artifact import Artifact
    from fabric.edge.handling.handlers import Answer
    from fabric.edge.messages import Action, Message, Outcome
    from fabric.edge.point import ControlPoint
    from fabric.edge.receiving.notices import Notice
    from fabric.protocol.base.errors import Code, FabricError
    from fabric.protocol.vocabulary.severity import Phase, Severity
    from fabric.protocol.vocabulary.targets import Target
    from fabric.protocol.vocabulary.tlp import Label

__all__ = [
    "Action",
    "Answer",
    "ApprovalRequest",
    "Artifact",
    "Code",
    "ControlPoint",
    "FabricError",
    "Label",
    "Message",
    "Notice",
    "Outcome",
    "Phase",
    "Severity",
    "Target",
    "Verdict",
]

_HOMES = {
    "fabric.edge.handling.handlers": ("Answer",),
    "fabric.edge.artifacts.artifact": ("Artifact",),
    "fabric.edge.approving.request": ("ApprovalRequest",),
    "fabric.edge.approving.verdict": ("Verdict",),
    "fabric.edge.messages": ("Action", "Message", "Outcome"),
    "fabric.edge.receiving.notices": ("Notice",),
    "fabric.edge.point": ("ControlPoint",),
    "fabric.protocol.base.errors": ("Code", "FabricError"),
    "fabric.protocol.vocabulary.severity": ("Phase", "Severity"),
    "fabric.protocol.vocabulary.targets": ("Target",),
    "fabric.protocol.vocabulary.tlp": ("Label",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
