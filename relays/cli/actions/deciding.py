"""`fabric approve` and `fabric deny`: what is signed is shown first, whole, and the relay says whether it counts."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.approving.verdict import Verdict
from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import WHY_CHARS_MAX
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.actions.approvals import check_may_approve
from relays.cli.actions.held import all_of
from relays.cli.shared.exits import FAILED, command, tell
from relays.cli.shared.options import As, AsJson, needed
from relays.terminal import say, say_json

_DIGITS = re.compile(r"[0-9a-f]{1,64}")
# Of those that begin alike, the relay says the rest in no time after the first.
_ALIKE_S = 0.3
# The approval itself did not count, or there was nothing to count it for. Other codes of 4xx say who may not.
_NOT_COUNTED = (
    Code.BAD_APPROVAL, Code.SAME_PRINCIPAL, Code.APPROVAL_LATE, Code.OTHER_TARGETS, Code.OTHER_POLICIES,
    Code.ACTION_DENIED, Code.APPROVAL_DUE,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other that waits has.")]
Yes = Annotated[bool, typer.Option("--yes", help="Sign it without being asked.")]
Wait = Annotated[str, typer.Option("--wait", metavar="10s", help="So long the relay has to say what it holds, and then whether this counts.")]


@command
def approve(id_: Id, identity: As = "", yes: Yes = False, wait: Wait = "10s", as_json: AsJson = False) -> None:
    """Approve an action that is held: for these targets, by this rule, under these policies, and for nothing else.

    All that is signed is shown, and asked for at the terminal. Then the relay that holds it says whether it counts, and how
    many have approved. When there are enough the action goes on to its targets, and its time to live begins.

    Exit codes: 0 it counts, 1 no such action waits, or it does not count, or it was not signed, 2 usage, 5 denied,
    6 no word in the time of --wait (it may still count), 69 unreachable.

    Example: fabric approve 4f1c09 --as lead-1
    """
    _decide(id_, needed(identity), yes, wait, as_json)


@command
def deny(
    id_: Id,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why: it is signed with the denial.")],
    identity: As = "", yes: Yes = False, wait: Wait = "10s", as_json: AsJson = False,
) -> None:
    """Deny an action that is held: it ends as refused, for all its targets, whoever approved it before.

    All that is signed is shown, and asked for at the terminal. To ask for OpenC2's action deny: `fabric act deny`.

    Exit codes: 0 it counts, 1 no such action waits, or it does not count, or it was not signed, 2 usage, 5 denied,
    6 no word in the time of --wait (it may still count), 69 unreachable.

    Example: fabric deny 4f1c09 --why 'that host runs the plant' --as lead-1
    """
    if not why or len(why) > WHY_CHARS_MAX or not why.isprintable():
        raise FabricError(Code.USAGE, "--why", f"write a reason of 1 to {WHY_CHARS_MAX} characters")
    _decide(id_, needed(identity), yes, wait, as_json, why)


def _decide(id_: str, identity: str, yes: bool, wait: str, as_json: bool, why: str = "") -> None:
    if not yes and (as_json or sys.stdin is None or not sys.stdin.isatty()):
        raise FabricError(Code.USAGE, "nobody is there to be asked", f"look at `fabric approvals --as {identity}`, then add --yes")
    if not _DIGITS.fullmatch(id_.lower()):
        raise FabricError(
            Code.USAGE, f"{id_!r} is no id of an action",
            f"write one of those that `fabric approvals --as {identity}` shows; an action is asked for with `fabric act`",
        )
    wait_ms = parse_duration(wait)
    try:
        here = ControlPoint(identity)
        check_may_approve(here)
        with here as point:
            request = find(point, id_.lower(), wait_ms)
            if not as_json:
                say(*all_of(request))
            if request.withheld:
                raise FabricError(
                    Code.CLEARANCE_DENIED, "it is above this identity's clearance",
                    "have it decided by somebody who is cleared for it",
                )
            if not (yes or _is_confirmed(why)):
                say("nothing was signed", error=True)
                raise typer.Exit(FAILED)
            verdict = point.deny(request, why=why, wait_ms=wait_ms) if why else point.approve(request, wait_ms=wait_ms)
    except FabricError as error:
        if error.code in _NOT_COUNTED:
            tell(error, as_json)
            raise typer.Exit(FAILED) from None
        raise
    if as_json:
        say_json(verdict.to_json())
    else:
        say(verdict_line(verdict))


def find(point: ControlPoint, id_: str, wait_ms: int) -> ApprovalRequest:
    """The one that waits and whose id begins so. Raises NOT_OPEN where none does, or several."""
    see = f"see which are: fabric approvals --as {point.identity.id}"
    first = next((one for one in point.approvals(timeout_s=wait_ms / 1000) if one.id.startswith(id_)), None)
    if first is None or not id_:
        over = "it was decided, or nobody did in time"
        raise FabricError(Code.NOT_OPEN, f"{id_ or 'an empty id'}: nobody asks {point.identity.id} for it, or {over}", see)
    alike = [one for one in point.approvals(timeout_s=_ALIKE_S) if one.id.startswith(id_)]
    if len({one.key for one in alike}) > 1:
        holders = ", ".join(f"{one.id[:16]} at {one.by}" for one in alike[:4])
        raise FabricError(Code.NOT_OPEN, f"{id_} is the beginning of several: {holders}", see)
    return alike[0] if alike else first


def _is_confirmed(why: str) -> bool:
    try:
        said = input("Deny it? Write yes: ") if why else input("Approve it? Write yes: ")
    except EOFError:
        return False
    return said.strip().lower() in ("y", "yes")


def verdict_line(verdict: Verdict) -> str:
    """For people: that it counts, and how many there are."""
    if not verdict.approves:
        return "denied: it ends as refused for all its targets"
    count = len(verdict.approved_by)
    names = f" ({', '.join(verdict.approved_by)})" if verdict.approved_by else ""
    rest = ": it goes on to its targets" if count >= verdict.require else ""
    return f"counted: {count} of {verdict.require}{names}{rest}"
