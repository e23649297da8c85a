"""What a handler of `fabric edge run --handler` is: what it takes, what it may be told, what it needs, how it is made.

Guarantees: options are read strictly, so a misspelled one is an error at the start and never a default. A handler gets
what it knows of its control point as a `Place`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.arguments import TIMES
from fabric.protocol.vocabulary.openc2 import End, Status

YES: Final = ("yes", "no")
# Arguments that the fabric itself heeds, or answers for.
ANY_MAY_SAY: Final = (*TIMES, "response_requested")


class Pair(NamedTuple):
    """An action and a target type that a handler takes. `reverts`: it can end the effect again. `again`: to call it a
    second time for one action does no harm, so it is done after a crash; else that action ends as unknown."""

    action: str
    target_type: str
    does: str
    reverts: bool = False
    again: bool = True

    @property
    def text(self) -> str:
        return f"{self.action} {self.target_type}".removesuffix(" ")


class Option(NamedTuple):
    """`name=metavar`. `many`: it may be given again for more."""

    name: str
    metavar: str
    help: str
    many: bool = False


class Need(NamedTuple):
    """What a machine must have. `problem` is empty where it is there; `next_step`: what to do where it is not. Without
    a problem that is an option that has to be said, and was not."""

    what: str
    problem: str = ""
    next_step: str = ""


class Options:
    """What somebody told a handler, by name."""

    def __init__(self, handler: str, given: Mapping[str, Sequence[str]] | None = None) -> None:
        self.handler = handler
        self._given = dict(given or {})

    def many(self, name: str) -> list[str]:
        return list(self._given.get(name, ()))

    def one(self, name: str, default: str = "") -> str:
        return self._given.get(name, [default])[0]

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Raises USAGE."""
        value = self.one(name, default)
        if value not in choices:
            raise self.wrong(name, value, " or ".join(choices))
        return value

    def seconds(self, name: str, default: str) -> float:
        """Raises USAGE."""
        value = self.one(name, default)
        try:
            return parse_duration(value) / 1000
        except FabricError:
            raise self.wrong(name, value, "a time, e.g. 10s") from None

    def wrong(self, name: str, value: str, instead: str) -> FabricError:
        """The error for a value that an option cannot have."""
        return FabricError(Code.USAGE, f"--handler {self.handler}: {name}={value}", f"write {name}= and {instead}")


class Place(NamedTuple):
    """What a handler knows of its control point. `folder`: private, for what the handler keeps, and not made yet;
    `relays`: the addresses ("host:port") through which the control point hears of anything."""

    id: str
    folder: Path
    relays: Callable[[], Iterable[str]]
    log: structlog.typing.FilteringBoundLogger


class Handler(Protocol):
    """Called from several threads. What it raises is named in the control point's log, and the action failed."""

    def start(self) -> None:
        """Once, before the first action: what was in force is so again. Raises FabricError."""

    def __call__(self, action: Action) -> Answer: ...

    def revert(self, action: Action) -> Answer:
        """End the effect of this action, which may be called again and again. Anything but completed is tried again."""

    def tend(self) -> None:
        """Twice a minute: what is in force and was undone by somebody else is so again. Raises FabricError, OSError."""

    def stop(self) -> None:
        """Begin nothing more, and end what waits. From any thread, and from a handler of signals."""


@dataclass(frozen=True)
class Kind:
    """A sort of handlers. `pairs` and `needs` may depend on the options. `arguments`: the names of those that it heeds,
    besides when an action is to begin and end; None: somebody else judges them, to whom it hands the action on."""

    name: str
    summary: str
    pairs: Callable[[Options], Sequence[Pair]]
    options: Sequence[Option]
    needs: Callable[[Options], Sequence[Need]]
    make: Callable[[Options, Place], Handler]
    arguments: Sequence[str] | None = ()

    def why_not(self, action: Action) -> Answer | None:
        """To leave out what narrows an action would do more than was asked for, and say that it is done."""
        if self.arguments is None:
            return None
        unknown = [f"args.{name}" for name in action.args if name not in (*ANY_MAY_SAY, *self.arguments)]
        if not unknown:
            return None
        reason = printable(", ".join(unknown))
        return Answer(End.REFUSED, int(Status.NOT_IMPLEMENTED), code=Code.ARGUMENT_UNKNOWN, reason=reason)


def refused(code: Code, reason: str = "") -> Answer:
    """The handler did nothing, and says why."""
    return Answer(End.REFUSED, int(Status.FORBIDDEN), code=code, reason=printable(reason))


def failed(code: Code, reason: str = "", status: Status = Status.INTERNAL_ERROR, **result: object) -> Answer:
    """It tried, and says what went wrong."""
    return Answer(End.FAILED, int(status), result or None, code, reason=printable(reason))


def printable(words: str) -> str:
    """As a reason has to be: what somebody else wrote may be in it."""
    return "".join(char if char.isprintable() else "?" for char in words)
