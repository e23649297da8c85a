"""`fabric approvals`: actions that are held until they are approved, for those who may."""

from __future__ import annotations

from typing import Annotated

import typer

from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.actions.held import ASIDE, COLUMNS, line_of, row_of
from relays.cli.shared.exits import command
from relays.cli.shared.options import As, AsJson, needed
from relays.cli.shared.reaching import reached
from relays.terminal import Screen, Table, say, say_json


def check_may_approve(point: ControlPoint) -> None:
    """Raises APPROVE_DENIED for whom no relay will ever ask."""
    if not point.identity.credential.grants.approve:
        raise FabricError(Code.APPROVE_DENIED, f"{point.identity.id} has no approve grant")


@command
def approvals(
    identity: As = "",
    watch: Annotated[bool, typer.Option("--watch", help="Print each as it comes, until Ctrl-C.")] = False,
    wait: Annotated[str, typer.Option("--wait", metavar="3s", help="So long relays have to say what they hold.")] = "3s",
    as_json: AsJson = False,
) -> None:
    """List the actions that wait for an approval of this identity: what is to be done, where, who asked, and until when.

    The relay that holds an action says so to whoever may approve it by role and grant, when they come and when an escalation
    begins to ask them. What is above this identity's clearance is shown as withheld, and cannot be decided by it.

    Exit codes: 0 done, also where nothing waits, 2 usage, 5 denied, 69 unreachable.

    Example: fabric approvals --as lead-1
    """
    wait_s = parse_duration(wait) / 1000
    found: list[ApprovalRequest] = []
    with reached(needed(identity), as_json, wait=watch, prepare=check_may_approve) as point:
        for request in point.approvals(timeout_s=None if watch else wait_s):
            if as_json:
                say_json(request.to_json())
            elif watch:
                say(line_of(request))
            if not watch:
                found.append(request)
        missed = point.requests_missed
    if missed:
        say(f"there was no room for {missed} more: decide some, and list them again", error=True)
    if as_json or watch:
        return
    if not found:
        say("nothing waits for an approval of this identity")
        return
    table = Table(*COLUMNS, aside=ASIDE)
    for request in sorted(found, key=lambda one: (one.until_ms, one.id)):
        table.row(*row_of(request))
    Screen().table(table)
