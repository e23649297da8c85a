"""For how long the effect of an action lasts, as far as whoever carries it must know (SPEC 9.8).

Refuses nothing: an action of which that cannot be read has none that lasts. Its executor reads it anew, and refuses it.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import LEASE_MS_MAX
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.arguments import Times, check_args

# What an action is at most, with what is around it. What is larger is none that an executor takes.
_BYTES_MAX = 65_536


def lasts_ms(action: Verified) -> int:
    """From when it begins; 0 where it says nothing of it."""
    header = action.header
    if sum(entry.size for entry in header.manifest) > _BYTES_MAX:
        return 0
    readings = read_records(header, action.envelope.parts)
    args = None if isinstance(readings, Reject) or not readings else readings[0].content.get("args")
    if not isinstance(args, dict) or check_args(args) is not None:
        return 0
    stop_ms, duration_ms = Times.of(args).stop_ms, args.get("duration", 0)
    return max(0, min(LEASE_MS_MAX, duration_ms if stop_ms is None else stop_ms - action.counts_from_ms))
