"""`fabric cancel`: an action is not begun where it waits, and its handler hears of it where it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.messages import Outcome
from fabric.edge.publishing.options import to_leaf
from fabric.edge.requesting.accounts import find_account
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.changes import end_json
from relays.cli.course import line_of
from relays.cli.exits import PARTLY, command
from relays.cli.options import As, AsJson, Ttl, needed
from relays.terminal import say, say_json

_ID_DIGITS = 64
NOT_AT_WORK = "not at work"


@command
def cancel(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other in the book has.")],
    identity: As = "",
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for answers.")] = "5s",
    as_json: AsJson = False,
) -> None:
    """Cancel an action. Whoever it may have gone to is told, and says whether it waited there, ran, or was not at work.

    Where it waits it is not begun; where it runs its handler hears of it (`edge run --exec` kills the command), and how it
    ends is in `fabric action ID`. What is held for those who are away is not sent any more.

    It must be an action of this identity, or this identity has a request grant for 'cancel command'. Of an action that is
    not in this identity's book, all 64 digits of the id are needed.

    Exit codes: 0 cancelled, 1 no such action, or refused, 3 not by all who may have it, 5 denied, 69 unreachable.

    Example: fabric cancel 4f1c09 --as soar-1
    """
    whole = _whole(needed(identity), id_)
    outcomes: list[Outcome] = []
    try:
        with ControlPoint(needed(identity)) as point:
            for outcome in point.cancel(whole, ttl=ttl, wait_ms=parse_duration(wait)):
                outcomes.append(outcome)
                if as_json:
                    say_json(end_json(outcome, watched=False))
                else:
                    say(_line(outcome))
    except FabricError as error:
        if error.code is not Code.NOBODY:
            raise
        say_json({"cancelled": whole, "told": 0}) if as_json else say("nobody has it, and nobody gets it any more")
        return
    last = {outcome.target: outcome for outcome in outcomes}
    refused = next((outcome for outcome in last.values() if not outcome.target), None)
    if refused is not None:
        known = {code.label: code for code in Code}
        raise FabricError(known.get(refused.code, Code.NOT_OPEN), refused.reason)
    raise typer.Exit(0 if all(outcome.end == "completed" for outcome in last.values()) else PARTLY)


def _whole(identity: str, id_: str) -> str:
    """The whole id, as the book has it; of an action that it does not have, what was given, where that is whole."""
    try:
        return find_account(as_identity(identity).folder, id_).id
    except FabricError:
        if len(id_) != _ID_DIGITS:
            raise
        to_leaf(id_)
        return id_


def _line(outcome: Outcome) -> str:
    was = outcome.result.get("was")
    if not isinstance(was, str) or not was.isprintable():
        return line_of(outcome)
    return f"{outcome.target}: it was {was}{'; `fabric action` says how it ended' if was == NOT_AT_WORK else ''}"
