"""What a node holds, on disk: a relay's spool, a control point's outbox."""

from fabric.edge.spool.owed import Owed
from fabric.edge.spool.spool import Spool

__all__ = ["Owed", "Spool"]
