"""What a control point imports: `ControlPoint` for asyncio, `fabric.edge.blocking.ControlPoint` for everything else."""

from fabric.edge.handlers import Answer
from fabric.edge.messages import Action, Message, Outcome
from fabric.edge.notices import Notice
from fabric.edge.point import ControlPoint
from fabric.protocol.errors import Code, FabricError
from fabric.protocol.severity import Phase, Severity
from fabric.protocol.tlp import Label

__all__ = [
    "Action",
    "Answer",
    "Code",
    "ControlPoint",
    "FabricError",
    "Label",
    "Message",
    "Notice",
    "Outcome",
    "Phase",
    "Severity",
]
