"""What a relay holds, on disk."""

from relays.spool.spool import Spool

__all__ = ["Spool"]
