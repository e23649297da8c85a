"""`fabric act`: asking for response actions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.messages import Outcome
from fabric.edge.publishing.options import to_ttl_ms
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.openc2 import End
from relays.cli.actions.absent import Expected
from relays.cli.actions.again import ends_s as ends_s_of
from relays.cli.actions.again import is_over, told_before
from relays.cli.actions.asked import asked_for
from relays.cli.actions.course import Course, to_format
from relays.cli.actions.rolling import Rolling, Steps
from relays.cli.actions.unanswered import Open
from relays.cli.shared.exits import FAILED, PARTLY, SHORT, command
from relays.cli.shared.options import ActionLabel, As, AsJson, Severity_, Ttl, needed
from relays.cli.shared.scene import File
from relays.terminal import Moving, Screen


@command
def act(
    action: Annotated[str, typer.Argument(help="An OpenC2 action: deny, contain, scan, ...")] = "",
    target: Annotated[str, typer.Argument(help="An OpenC2 target: ipv4_net=203.0.113.9, file=/tmp/a, process=sshd, or JSON: 'file={\"hashes\": {\"md5\": \"...\"}}'.")] = "",
    to: Annotated[str | None, typer.Option("--to", help="Who: 'role=firewall and segment=ot-1'. Empty is nobody; all is everyone granted.")] = None,
    identity: As = "",
    openc2: Annotated[str | None, typer.Option("--openc2", metavar="FILE", help="An OpenC2 command, or a message with one, as JSON; - is standard input. Its actuator and --to both narrow whom it is for.")] = None,
    arg: Annotated[list[str] | None, typer.Option("--arg", metavar="K=V", help="An argument; again for more. OpenC2's own: duration=1h (a number alone is milliseconds), start_time, stop_time, response_requested.")] = None,
    severity: Severity_ = "high",
    label: ActionLabel = None,
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for results.")] = "5s",
    require_all: Annotated[bool, typer.Option("--require-all", help="For nobody while a target that executed before is away.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything on the way and at each target, and execute nothing.")] = False,
    seal: Annotated[bool, typer.Option("--seal", help="What it says is for its targets alone, at most 15: relays that carry what is sealed pass it on, and cannot read it.")] = False,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="The same key again is the same action: it goes on where it was, and is asked for once.")] = None,
    watched: Annotated[bool, typer.Option("--watch", help="Also in a pipe or with --json: each change of state at each target.")] = False,
    limit: Annotated[str | None, typer.Option("--limit", metavar="10%", help="For so many of its targets only, or a share of them; at least one.")] = None,
    batch: Annotated[str | None, typer.Option("--batch", metavar="5", help="In steps of so many targets, or of a share of them.")] = None,
    pause: Annotated[str | None, typer.Option("--pause", metavar="30s", help="Between two steps.")] = None,
    stops: Annotated[list[str] | None, typer.Option("--stop-on", metavar="failed", help="After a step in which a target ended so, begin no other: failed (all that is not good), or refused, expired, unroutable, unknown.")] = None,
    expect: Annotated[int | None, typer.Option("--expect", min=1, metavar="N", help="So many targets at least: fewer are told, and exit code 0 becomes 3.")] = None,
    topology: File = None,
    format_: Annotated[str | None, typer.Option("--format", metavar="openc2", help="Each target's end as an OpenC2 response, one message a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a response action and show what becomes of it at each target.

    Targets that are away are named, and get it if they are back before the ttl is over; those that are not end as expired.
    Away is who executed in this fabric before, and whoever else `fabric explain act` lists as a target: known are those
    of the identities on this machine, or of --topology FILE.

    --key gives the action a name of yours: asked for again, after whatever became of this command, it is the same action. What
    is known is told at once, what is open is awaited; results that come meanwhile are kept by the relay, for the ttl and an
    hour at most. What was asked for is in `fabric actions`.

    Where the fabric's policies ask for approvals it is held, and this command waits for them as long as it may be held.
    Ctrl-C ends the wait only: it stays held, and whoever may approve it still sees it; `fabric cancel` ends it.

    --dry-run shows whom it would reach: the action goes its way, is checked by each relay and by each target, which answers
    `ready` where it would begin; where a policy would hold it, by which rule. --require-all looks at targets that executed in this fabric before, as its relays know them:
    for one that only this machine's identities or --topology know, nothing is refused; it is named, and exit code 0 becomes 3.

    --limit and --batch ask for it in steps: a dry run fixes the targets first, those who are ready come first, and whoever
    no step was for is named. The exit code is 3 where it stopped.

    Ctrl-C ends the waiting and not the action: `fabric cancel` does that.

    Exit codes: 0 all completed (or ready), 1 none did, 2 the command line or the OpenC2 command is wrong, or the key is
    another action's, 3 some did, or some are away, or fewer than --expect were selected, 4 nobody selected, 5 denied, 6
    all expired or unknown, 69 unreachable.

    Examples:

      fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall' --as soar-1 --ttl 60s

      fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall' --as soar-1 --key incident-4711/block

      fabric act --openc2 command.json --as soar-1 --format openc2

      fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall' --as soar-1 --batch 5 --pause 30s --stop-on failed
    """
    steps = Steps.typed(limit, batch, pause, stops)
    if steps is not None and (key is not None or dry_run):
        raise FabricError(Code.USAGE, "steps with --key or --dry-run", "leave out --limit and --batch, or these")
    screen = Screen()
    shown_as = to_format(format_, as_json)
    asked = asked_for(action, target, to, arg, openc2)
    options: dict[str, Any] = {
        "severity": severity, "label": label, "ttl": ttl, "require_all": require_all, "dry_run": dry_run,
        "seal": seal,
    }
    wait_ms = parse_duration(wait)
    course = Course(screen, shown_as, asked, watched=watched)
    outcomes: list[Outcome] = []
    open_: Open | None = None
    held: tuple[str, ...] = ()
    expected = Expected(needed(identity), topology, asked.action, asked.target, asked.to, severity=severity, label=label, seal=seal)
    selected: tuple[str, ...] | None = None
    stopped = False
    ends: Iterator[Outcome]
    try:
        before = told_before(needed(identity), key, asked, **options)
        me = as_identity(needed(identity))
        ends_s = ends_s_of(before) if before else time.time() + to_ttl_ms(ttl, Kind.ACTION, me.defaults) / 1000
        course.me = me.id
        with ExitStack() as stack:
            point = None if before and is_over(before) else stack.enter_context(ControlPoint(me))
            view = stack.enter_context(screen.moving()) if course.is_live and point is not None else None
            expected.tell_course(as_json=course.is_json)

            def watch(request: Request) -> None:
                nonlocal selected, open_, held
                selected = () if request.nobody else request.targets
                open_ = Open(request, ends_s)
                course.changes(request)
                course.approvals(open_)
                if request.held != held:
                    held = request.held
                    if not dry_run:
                        course.held(open_)
                if isinstance(view, Moving):
                    view.update(course.table(request, ends_s, dry_run=dry_run))

            open_ = Open(None, ends_s)
            if steps is not None and point is not None:
                step_options = {**options, "wait_ms": wait_ms}
                rolling = Rolling(point, asked, steps, step_options, course.outcome, course.step)
                rollout = rolling.run(watch)
                outcomes, selected = list(rollout.outcomes.values()), rolling.selected
                course.not_begun(rollout.not_begun, rollout.stopped_by)
                stopped = rollout.stopped_by is not None
                ends = iter(())
            elif point is not None:
                ends = point.request(
                    asked.action, asked.target, to=asked.to, args=asked.args, command_id=asked.command_id,
                    wait_ms=wait_ms, watch=watch, key=key, **options,
                )
            else:
                ends, selected = iter(before.outcomes if before else ()), before.targets if before else None
            for outcome in ends:
                outcomes.append(outcome)
                course.outcome(outcome, now=point is not None)
    except KeyboardInterrupt:
        if open_ is not None:
            course.unanswered(open_)
        raise
    except FabricError as error:
        raise expected.why(error) from None
    finally:
        # A dry run is kept for nobody.
        away = list(dict.fromkeys([*(held if dry_run else ()), *expected.away(selected)]))
        course.away(away)
    course.left({outcome.target: outcome for outcome in outcomes}.values(), needed(identity))
    too_few = expect is not None and selected is not None and len(selected) < expect
    if too_few:
        course.too_few(expect or 0, len(selected or ()))
    code = _exit_of(outcomes)
    raise typer.Exit(PARTLY if (away or too_few or stopped) and code == 0 else code)


def _exit_of(outcomes: list[Outcome]) -> int:
    # A target that was unknown and then answered counts by its last word.
    ends = {outcome.target: outcome.end for outcome in outcomes}
    good = sum(end in (End.COMPLETED, End.READY) for end in ends.values())
    if good == len(ends):
        return 0
    if good:
        return PARTLY
    late = all(end in (End.EXPIRED, End.UNKNOWN) for end in ends.values())
    return SHORT if late else FAILED
