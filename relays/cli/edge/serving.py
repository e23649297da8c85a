"""Who executes what in `fabric edge run`: your command for what `--on` names, and handlers with a name for what they
take, as far as it is granted.

Guarantees: what a handler needs is looked at before anything is asked for, and its effects are in force again before a
relay is looked for; of what it takes, that which no grant allows is named and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import structlog

from fabric.edge.blocking import ControlPoint
from fabric.edge.handling.handlers import Answer, answer_of
from fabric.edge.identity.identity import Identity, own_directory
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.trust.directory import verify_directory
from fabric.protocol.vocabulary.openc2 import End, actions_meet
from relays.handlers.kinds import Handler, Place
from relays.handlers.registry import Asked
from relays.streams import lossy
from relays.terminal import say, say_json
from relays.wall import utc, wall_ms

# Of an identity's folder: what its handlers keep, each in a folder of its own.
_FOLDER = "handlers"


class Told:
    """A handler, and a line on standard output for each action that it executed, or reverted."""

    def __init__(self, handler: Callable[[Action], Any], as_json: bool, *, reverts: bool = False) -> None:
        self._handler = handler
        self._as_json = as_json
        self._reverts = reverts

    def __call__(self, action: Action) -> Any:
        returned = self._handler(action)
        answer = returned if isinstance(returned, Answer) else answer_of(returned)
        with lossy():  # a reader that left, or a disk that is full, makes no failure of what was executed
            self._tell(action, answer)
        return returned  # whole: what of it is too large to be sent is kept

    def _tell(self, action: Action, answer: Answer) -> None:
        code = answer.code.label if answer.code else ""
        if self._as_json:
            say_json({"action": action.action, "target_type": action.target_type, "from": action.requester,
                      "phase": "revert" if self._reverts else "execute", "end": str(answer.end), "code": code})
        else:
            word = str(answer.end)
            if self._reverts:
                word = "reverted" if answer.end is End.COMPLETED else "revert failed"
            ended = " ".join(filter(None, [word, code, answer.reason]))
            # What it is about is for who looks on: standard output that is no terminal is somebody's log.
            target = action.target.text if sys.stdout.isatty() else action.target_type
            say(f"{utc(wall_ms())[11:]}  {action.action} {target} from {action.requester}: {ended}")


class _Named(NamedTuple):
    asked: Asked
    handler: Handler

    def execute(self, action: Action) -> Answer:
        return self.asked.kind.why_not(action) or self.handler(action)


class Serving:
    """The handlers with a name of one control point."""

    def __init__(self, asked: Sequence[Asked], identity: Identity) -> None:
        """Raises HANDLER_UNFIT where one lacks something, EXECUTE_DENIED where none of what it takes is granted, USAGE."""
        self._log = structlog.get_logger()
        self.takes: list[str] = []
        self.not_granted: list[str] = []
        granted = identity.credential.grants.execute
        for each in asked:
            texts = [pair.text for pair in each.pairs]
            fit = [text for text in texts if any(actions_meet(grant, text) for grant in granted)]
            if not fit:
                raise FabricError(Code.EXECUTE_DENIED, f"{', '.join(texts)} of {each.kind.name}")
            if twice := next((text for text in fit if text in self.takes), ""):
                raise FabricError(Code.USAGE, f"two handlers take {twice}", "leave one of them out")
            self.takes += fit
            self.not_granted += [text for text in texts if text not in fit]
            for need in each.missing():
                raise FabricError(Code.HANDLER_UNFIT, f"{each.kind.name}: {need.what}: {need.problem}", need.next_step)
        self._named = [_Named(each, each.kind.make(each.options, _place(each, identity))) for each in asked]

    def start(self) -> None:
        """What was in force is so again. Raises FabricError."""
        for named in self._named:
            named.handler.start()

    def register(self, point: ControlPoint, as_json: bool) -> None:
        """For what they take, in their order: the first that takes an action gets it."""
        for named in self._named:
            for pair in named.asked.pairs:
                if pair.text in self.takes:
                    point.on_action(
                        pair.action, pair.target_type, idempotent=pair.again,
                        revert=Told(named.handler.revert, as_json, reverts=True) if pair.reverts else None,
                    )(Told(named.execute, as_json))

    def tend(self) -> None:
        """What is in force is still so. What goes wrong is in the log."""
        for named in self._named:
            try:
                named.handler.tend()
            except (FabricError, OSError) as error:
                self._log.error("handler cannot keep what is in force", handler=named.asked.kind.name, why=str(error))

    def stop(self) -> None:
        """From any thread, and from a handler of signals."""
        for named in self._named:
            named.handler.stop()


def _place(asked: Asked, identity: Identity) -> Place:
    return Place(
        identity.id, identity.folder / _FOLDER / asked.kind.name, lambda: _relays(identity), structlog.get_logger()
    )


def _relays(identity: Identity) -> Iterator[str]:
    """Wherever this control point may be connected to, as far as it is known here."""
    yield from (dial.address for dial in identity.dials)
    if identity.nearest:
        directory = verify_directory(own_directory(identity.folder), identity.authority_key, identity.fabric)
        if not isinstance(directory, Reject):
            yield from (address for relay in directory.relays for address in relay.addresses)
