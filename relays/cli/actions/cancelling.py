"""`fabric cancel`: an action is not begun where it waits, and its handler hears of it where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.messages import Outcome
from fabric.edge.publishing.options import to_leaf
from fabric.edge.requesting.accounts import find_account
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.actions.changes import end_json
from relays.cli.actions.course import line_of
from relays.cli.shared.exits import DONE, PARTLY, command
from relays.cli.shared.options import As, AsJson, Ttl, needed
from relays.terminal import say, say_json

_ID_DIGITS = 64
NOT_AT_WORK = "not at work"
# What a word of an effect that is released means to who asked for that.
_EFFECTS = {
    "lasts": ": another action keeps the same effect up (`fabric leases`)",
    "revert failed": ": it goes on trying, and its log says why",
}


@command
def cancel(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other in the book has.")],
    identity: As = "",
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for answers.")] = "5s",
    as_json: AsJson = False,
) -> None:
    """Cancel an action. Whoever it may have gone to is told, and says whether it waited there, ran, was in force, or was
    not at work.

    Where it waits it is not begun; where it runs its handler hears of it (`edge run --exec` kills the command), and how it
    ends is in `fabric action ID`. An effect that is in force is ended (`fabric release`). What is held for those who are away is not sent any more.

    It must be an action of this identity, or this identity has a request grant for 'cancel command'. Of an action that is
    not in this identity's book, all 64 digits of the id are needed.

    Exit codes: 0 cancelled, 1 no such action, or refused, 3 not by all who may have it, 5 denied, 69 unreachable.

    Example: fabric cancel 4f1c09 --as soar-1
    """
    last = ask_to_end(needed(identity), id_, ttl, wait, as_json=as_json, called="cancelled")
    raise typer.Exit(DONE if all(outcome.end == "completed" for outcome in last.values()) else PARTLY)


def ask_to_end(
    identity: str, id_: str, ttl: str | None, wait: str, *, as_json: bool, called: str
) -> Mapping[str, Outcome]:
    """Cancel the action, and show what each target says as it comes: the last that each said, of nobody where nobody has
    it. `called`: what that is in JSON. Raises where it is refused for all."""
    whole = _whole_id(identity, id_)
    last: dict[str, Outcome] = {}
    try:
        with ControlPoint(identity) as point:
            for outcome in point.cancel(whole, ttl=ttl, wait_ms=parse_duration(wait)):
                last[outcome.target] = outcome
                say_json(end_json(outcome, watched=False)) if as_json else say(line_of_cancelled(outcome))
    except FabricError as error:
        if error.code is not Code.NOBODY:
            raise
        say_json({called: whole, "told": 0}) if as_json else say("nobody has it, and nobody gets it any more")
        return {}
    _raise_refusal(last)
    return last


def _raise_refusal(last: Mapping[str, Outcome]) -> None:
    """Where it was refused for all of them."""
    refused = last.get("")
    if refused is not None:
        known = {code.label: code for code in Code}
        raise FabricError(known.get(refused.code, Code.NOT_OPEN), refused.reason)


def _whole_id(identity: str, id_: str) -> str:
    """The whole id, as the book has it; of an action that it does not have, what was given, where that is whole."""
    try:
        return find_account(as_identity(identity).folder, id_).id
    except FabricError:
        if len(id_) != _ID_DIGITS:
            raise
        to_leaf(id_)
        return id_


def line_of_cancelled(outcome: Outcome) -> str:
    """What a target says of the action that was cancelled."""
    was, effect = outcome.result.get("was"), outcome.result.get("effect", "")
    if not isinstance(was, str) or not was.isprintable():
        return line_of(outcome)
    if isinstance(effect, str) and effect.isprintable() and effect:
        return f"{outcome.target}: {effect}{_EFFECTS.get(effect, '')}"
    return f"{outcome.target}: it was {was}{'; `fabric action` says how it ended' if was == NOT_AT_WORK else ''}"
