"""An action's arguments (SPEC 9.1): JSON, bounded, and checked alike by requester and executor.

Guarantees: what passes can be written as JSON and read again as the same, is small enough to be read by those who
approve it, and says at most two of start_time, stop_time and duration (OpenC2 Language 1.0, 3.3.1.4), which do not
contradict each other. Refuses bytes, NaN and infinity, keys that are not text, and what is above the bounds. Any other
name is an actuator profile's, and its value is for the handler to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ARGS_BYTES_MAX, ARGS_DEPTH_MAX, ARGS_ELEMENTS_MAX, NAME_BYTES_MAX
from fabric.protocol.vocabulary.openc2 import ActionSpec
from fabric.protocol.vocabulary.plain_json import Bounds, Faults, below, check_plain

_BOUNDS: Final = Bounds(ARGS_BYTES_MAX, ARGS_ELEMENTS_MAX, ARGS_DEPTH_MAX)
TIMES: Final = ("start_time", "stop_time", "duration")
_LASTING: Final = ("duration", "stop_time")
# An integer that every reader of JSON reads as the same (RFC 7493, 2.2).
_MS_MAX: Final = 2**53 - 1
RESPONSES: Final = ("none", "ack", "status", "complete")


def lasting_arg(args: Mapping[str, Any]) -> str:
    """The argument by which what it does lasts until a time (SPEC 9.8); empty where there is none."""
    return next((name for name in _LASTING if name in args), "")


def check_args(args: object, spec: ActionSpec | None = None) -> Reject | None:
    """None when this is a map of arguments that the action may have. Never raises, whatever it is given."""
    faults = Faults()
    read_args(args, "args", faults, spec)
    return faults.reject()


def read_args(args: object, path: str, faults: Faults, spec: ActionSpec | None = None) -> None:
    """Tells every fault of the arguments of an action."""
    if not isinstance(args, dict):
        faults.add(path, "a map")
        return
    if not check_plain(args, path, _BOUNDS, faults):
        return
    for name in args:
        if not 1 <= len(name.encode()) <= NAME_BYTES_MAX:
            faults.add(path, f"a name that is not text of 1 to {NAME_BYTES_MAX} bytes")
    if spec is not None and (spec.action, spec.target.type) == ("query", "features"):
        _read_of_features(args, path, faults)
    _read_times(args, path, faults)
    if args.get("response_requested", "complete") not in RESPONSES:
        faults.add(below(path, "response_requested"), " or ".join(RESPONSES))


def _read_of_features(args: Mapping[str, Any], path: str, faults: Faults) -> None:
    """4.1: no argument but this one, which asks for an answer. Who wants none has nothing to ask."""
    for name, value in args.items():
        if (name, value) != ("response_requested", "complete"):
            faults.add(below(path, name), "query features takes nothing but response_requested: complete")


def _read_times(args: Mapping[str, Any], path: str, faults: Faults) -> None:
    given = [name for name in TIMES if name in args]
    wrong = [name for name in given if not _is_ms(args[name])]
    for name in wrong:
        faults.add(below(path, name), f"whole milliseconds{'' if name == 'duration' else ' since 1970'}")
    if len(given) == len(TIMES):
        faults.add(below(path, "duration"), "two of start_time, stop_time and duration say all")
    elif given == ["start_time", "stop_time"] and not wrong and args["stop_time"] < args["start_time"]:
        faults.add(below(path, "stop_time"), "before start_time")


def _is_ms(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MS_MAX


class Times(NamedTuple):
    """When an action is to begin, and to end, in milliseconds since 1970; None: now, and never, or when its duration is
    over."""

    start_ms: int | None
    stop_ms: int | None

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Times:
        """Of arguments that passed."""
        start_ms, stop_ms, duration_ms = (args.get(name) for name in TIMES)
        if duration_ms is not None and stop_ms is not None:
            start_ms = stop_ms - duration_ms
        elif duration_ms is not None and start_ms is not None:
            stop_ms = start_ms + duration_ms
        return cls(start_ms, stop_ms)

    def why_not(self, now_ms: int) -> Reject | None:
        """Why what has these times may not begin now. Nothing waits for a start_time: whoever asks asks again."""
        if self.stop_ms is not None and self.stop_ms <= now_ms:
            return Reject(Code.NOT_NOW, "its stop_time is past")
        if self.start_ms is not None and self.start_ms > now_ms:
            return Reject(Code.NOT_NOW, "its start_time is yet to come")
        return None
