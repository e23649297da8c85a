"""What a node holds, on disk: a relay's spool, a control point's outbox and its book of actions."""

from fabric.spool.owed import Owed
from fabric.spool.spool import Spool

__all__ = ["Owed", "Spool"]
