"""Which effect an action has, and for how long (SPEC 9.8).

Pure. Guarantees: two actions have the same effect where action and target are the same, whatever the order of names in
a target; they are variants of it where their other arguments differ.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, NamedTuple

from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ID_BYTES, LEASE_MS_MAX
from fabric.protocol.vocabulary.arguments import TIMES, Times
from fabric.protocol.vocabulary.openc2 import class_of

# Of OpenC2's own arguments none changes what is done.
_NOT_OF_IT: Final = (*TIMES, "response_requested")
# What contains adds to what is there, and what investigates changes nothing.
_UNDOING: Final = ("remediate", "other")


class Lasting(NamedTuple):
    """`effect`, `variant`: digests. It lasts until `stop_ms`, or for `duration_ms` from when the handler begins; for
    good where both are None. `ends_itself`: its handler ends it, and nothing is to be called. `target`: the target's
    digest; `undoes`: it may undo what others asked for at that target for good. `is_kept_up`: something here could end
    it, so it is kept up while somebody wants it for good."""

    effect: bytes
    variant: bytes
    stop_ms: int | None
    duration_ms: int | None
    target: bytes
    undoes: bool
    ends_itself: bool = False
    is_kept_up: bool = True

    @property
    def ends(self) -> bool:
        return self.stop_ms is not None or self.duration_ms is not None

    def left_ms(self, now_ms: int) -> int | None:
        """How long from now on, `now_ms` being the action's own time: when it was issued, and its age. None: for good.
        """
        if self.stop_ms is not None:
            return max(0, self.stop_ms - now_ms)
        return self.duration_ms

    def why_not(self, now_ms: int) -> Reject | None:
        """Whether nobody would take it for so long."""
        left_ms = self.left_ms(now_ms)
        return Reject(Code.LEASE_TOO_LONG) if left_ms is not None and left_ms > LEASE_MS_MAX else None


def lasting_of(action: Action) -> Lasting:
    """Of an action whose arguments passed."""
    target = action.target.to_json()
    effect = [action.action, target]
    variant = {name: value for name, value in action.args.items() if name not in _NOT_OF_IT}
    duration_ms = action.args.get("duration")
    return Lasting(
        _digest(effect), _digest([effect, variant]), Times.of(action.args).stop_ms, duration_ms, _digest(target),
        class_of(action.action) in _UNDOING,
    )


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:ID_BYTES]
