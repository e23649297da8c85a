"""`fabric edge run` and `handlers`: executing response actions, and what there is to do it with. Sources and sinks are
in `gateways`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fabric.edge.acting.executing import AT_ONCE
from fabric.edge.blocking import ControlPoint
from fabric.edge.face import ACTIONS_MAX, as_identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.sizes import parse_size
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.edge.gateways import Gateways, kinds, status
from relays.cli.edge.handling import CommandHandler, command_of
from relays.cli.edge.serving import Serving, Told
from relays.cli.shared.exits import FAILED, Terminated, command
from relays.cli.shared.options import As, AsJson, NoWait, Outbox_, needed
from relays.cli.shared.reaching import reached
from relays.handlers.kinds import Need
from relays.handlers.registry import Asked, asked_for, names
from relays.logs import set_up_logs
from relays.terminal import Cell, Screen, Table, say, say_json

app = typer.Typer(no_args_is_help=True, help="Run sources, sinks and handlers of a control point.\n\nExample: fabric edge status --as zeek-p1")
# At the end: handlers that were killed are answered for, and a relay that is there takes what they did in no time.
_TELL_S = 5.0
_TEND_S = 30.0
app.command("status")(status)
app.command("kinds")(kinds)


@app.command("run")
@command
def run(
    on: Annotated[list[str] | None, typer.Option("--on", metavar="'ACTION TARGET'", help="What to execute with --exec: 'deny ipv4_net', 'scan *'; again for more.")] = None,
    exec_: Annotated[str | None, typer.Option("--exec", metavar="COMMAND", help="Run for each action: JSON on standard input, a JSON object on standard output.")] = None,
    handler: Annotated[list[str] | None, typer.Option("--handler", metavar="'NAME OPTION=VALUE ...'", help="A handler that comes with this command, e.g. nftables; again for more. See `fabric edge handlers`.")] = None,
    identity: As = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="30s", help="A command that takes longer is stopped; its action failed.")] = "30s",
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=ACTIONS_MAX, metavar="N", help="So many handlers run at a time; more actions wait, within their ttl.")] = AT_ONCE,
    idempotent: Annotated[bool, typer.Option("--idempotent", help="To run the command twice for one action does no harm: after a crash in the midst of one it is run again.")] = False,
    reverts: Annotated[bool, typer.Option("--reverts", help="The command ends its effects, too: when the duration of an action is over it is run again for it, with \"phase\": \"revert\".")] = False,
    ends_itself: Annotated[bool, typer.Option("--ends-itself", help="The command ends by itself what has a duration; its requester is told when that is over, and nobody looks.")] = False,
    grace: Annotated[str, typer.Option("--grace", metavar="5s", help="After Ctrl-C or SIGTERM, handlers at work have this long to end; then they are killed.")] = "5s",
    artifacts: Annotated[str, typer.Option("--artifacts", metavar="4GB", help="So much is kept of what handlers leave to be fetched, for 7 days.")] = "4GB",
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Of the sources and sinks that are declared, only this one; again for more.")] = None,
    outbox: Outbox_ = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Execute actions, with a command of yours or with handlers that come with this one, and run the sources and sinks that
    the topology declares for this identity. Runs until Ctrl-C.

    Sources and sinks (`fabric edge kinds`) need no option: what is declared is in the identity's folder. What they publish is
    kept there, too, unless --outbox names another file, so that nothing is lost while no relay can be reached, and the next
    start goes on. One that fails is begun again, after 1 second and later up to 60, and stops no other; a line says so, with
    --json an object, and `fabric edge status` shows all.

    The command gets {"action", "target", "args", "requester", "severity", "label", "issued_at", "deadline", "id", "phase"}. Exit
    code 0 is completed, with what it printed as the result, up to 1 MB; anything else is failed. Its exit is what counts: what it
    leaves running is not waited for. What it writes to standard error is in this command's log.

    While it runs it can say how far it is, in lines of JSON in the file that $FABRIC_PROGRESS names: a number from 0 to 1
    and a few words, {"progress": 0.4, "note": "40 of 100"}, either or both. When its action is cancelled it is killed, with
    its process group.

    With --reverts it is run once more for an action with a duration, when that is over or the action is released (`fabric
    release`): the same JSON, with "phase": "revert" in place of "execute", which $FABRIC_PHASE says too. It is run again until
    its exit code is 0, also after this process or the machine ended, so there may be nothing left to end. What is in force
    `fabric leases` shows. Without --reverts or --ends-itself an action with a duration is refused (E726).

    Regular files that it leaves in the folder $FABRIC_ARTIFACTS, 64 at most, are kept for the requester to fetch (`fabric
    fetch`), and the folder is removed. For more than --artifacts its oldest go; a result that is too large for a message is
    kept so, too.

    A handler with a name takes what `fabric edge handlers` says, as far as it is granted, and what --on names goes to the
    command. What it needs is looked at before it starts (E950), and what it had in force is so again, also after a reboot
    of the machine. Its state is in the identity's folder.

    A relay that does not answer yet, or no longer, is waited for, and that is said on standard error. When it is stopped,
    nothing more is begun, and what handlers did until then is told before it ends.

    An action at which this process was killed is answered by the next one: what was done and not told is told, what had not
    begun is run if it is still in time, and of what had begun nobody knows what it did: it ends as unknown (E722), or is
    run again with --idempotent, and by a handler with a name. The command may outlive this process, and still be at work then.

    One process executes as an identity at a time: another waits for it to end, says so, and is refused after that (E913).

    Exit codes: 0 stopped, 1 failed, 2 usage, or the command cannot be run (E717), or a handler lacks something (E950), 5
    denied, 69 unreachable with --no-wait.

    Examples:

      fabric edge run --as zeek-p1

      fabric edge run --as fw-p1 --on 'deny ipv4_net' --exec ./handler

      fabric edge run --as fw-p1 --handler nftables

      fabric edge run --as fw-p1 --handler 'nftables never=10.0.0.53 hook=forward'
    """
    if bool(on) != bool(exec_):
        raise FabricError(
            Code.USAGE, "--on without --exec" if on else "--exec without --on",
            "add --on 'ACTION TARGET' --exec COMMAND, or --handler NAME",
        )
    if reverts and ends_itself:
        raise FabricError(Code.USAGE, "--reverts and --ends-itself", "leave one of them out")
    if (reverts or ends_itself) and not exec_:
        raise FabricError(Code.USAGE, "--reverts and --ends-itself are of --exec", "leave them out")
    set_up_logs("info", True if as_json else None)
    own = CommandHandler(command_of(exec_), parse_duration(timeout) / 1000) if exec_ else None
    asked = [asked_for(text) for text in handler or ()]
    artifacts_bytes = parse_size(artifacts)
    grace_s = parse_duration(grace) / 1000
    me = as_identity(needed(identity))
    gateways = Gateways(me, only or (), as_json)
    if not (exec_ or handler or gateways.names):
        raise FabricError(
            Code.USAGE, f"nothing executes anything, and no sources or sinks are declared for {me.id}",
            "add --on 'ACTION TARGET' --exec COMMAND, or --handler NAME, or declare some in the topology",
        )
    serving = Serving(asked, me)
    stop = threading.Event()
    ended: list[FabricError] = []

    ready = threading.Event()

    def stop_handlers() -> None:
        serving.stop()
        if own is not None:
            own.stop()

    def stopped(number: int, _frame: object) -> None:
        if not ready.is_set():  # there is nothing yet that ought to end in peace
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if stop.is_set():  # asked again: no more grace
            stop_handlers()
        stop.set()

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, stopped)

    def prepare(point: ControlPoint) -> None:
        """Before it connects: what is due is reverted without a relay, too."""
        for text in on or ():
            action, _, target_type = text.partition(" ")
            assert own is not None
            point.on_action(
                action, target_type.strip() or ("*" if action == "*" else ""), idempotent=idempotent,
                revert=Told(own.undo, as_json, reverts=True) if reverts else None, ends_itself=ends_itself,
            )(Told(own, as_json))
        serving.register(point, as_json)
        gateways.register(point)

    try:
        serving.start()
        with reached(
            me, as_json, wait=not no_wait, outbox=gateways.outbox(outbox), actions_at_once=at_once, artifacts=artifacts_bytes,
            prepare=prepare,
        ) as point:

            def end(error: FabricError) -> None:
                ended.append(error)
                gateways.ended(error)
                stop.set()

            point.on_end(end)
            try:
                gateways.start(point)
                if exec_ or handler:  # only then there is something that the relay is to know first
                    point.wait_ready()
                ready.set()
                takes = [*(on or ()), *serving.takes]
                _tell_ready(point.identity.id, takes, serving.not_granted, gateways.names, as_json)
                while not stop.wait(_TEND_S):
                    serving.tend()
                if ended:
                    raise ended[0]
                point.finish_actions(grace_s)
                stop_handlers()
            finally:
                gateways.close(_TELL_S)
            point.close(_TELL_S)
    finally:
        stop_handlers()


def _tell_ready(
    id_: str, takes: Sequence[str], not_granted: Sequence[str], gateways: Sequence[str], as_json: bool
) -> None:
    if as_json:
        more = {"runs": list(gateways)} if gateways else {}
        say_json({"ready": id_, "takes": list(takes), "not_granted": list(not_granted), **more})
    else:
        if gateways:
            say(f"{id_}: sources and sinks {', '.join(gateways)}")
        if takes:
            say(f"{id_}: ready for {', '.join(takes)}")
        if not_granted:
            say(f"{id_}: not granted, and not taken: {', '.join(not_granted)}")


@app.command("handlers")
@command
def handlers(
    which: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these, each as for --handler: with options in one word.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 where this machine lacks what one of them needs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which handlers there are for `fabric edge run --handler`: what each takes, its options, and whether this machine has
    what it needs.

    Packages in the same Python may bring more, as entry points of the group message_fabric.handlers.

    Exit codes: 0 shown, 1 with --check where something is missing, 2 there is no such handler, or no such option.

    Examples:

      fabric edge handlers

      fabric edge handlers nftables --check
    """
    shown = [asked_for(text) for text in which or names()]
    for number, each in enumerate(shown):
        if as_json:
            say_json(_as_json(each))
        else:
            if number:
                say("")
            _draw(each)
    if check and any(each.missing() for each in shown):
        raise typer.Exit(FAILED)


def _as_json(asked: Asked) -> dict[str, Any]:
    kind = asked.kind
    return {
        "name": kind.name, "summary": kind.summary,
        "takes": [
            {"action": pair.action, "target_type": pair.target_type, "does": pair.does, "reverts": pair.reverts}
            for pair in asked.pairs
        ],
        "options": [
            {"name": option.name, "value": option.metavar, "help": option.help, "many": option.many}
            for option in kind.options
        ],
        "needs": [
            {"what": need.what, "problem": need.problem, "next": need.next_step}
            for need in kind.needs(asked.options)
        ],
    }


def _state(need: Need) -> Cell:
    if need.problem:
        return Cell(f"missing: {need.problem}; {need.next_step}", "red")
    return Cell(need.next_step, "yellow") if need.next_step else Cell("there", "green")


def _draw(asked: Asked) -> None:
    kind = asked.kind
    table = Table("", "what", "more", title=f"{kind.name}: {kind.summary}", folded=("what", "more"), lines=False)
    heads = iter(["takes"])
    for pair in asked.pairs:
        table.row(next(heads, ""), pair.text, f"{pair.does}{', and ends that after a duration' if pair.reverts else ''}")
    heads = iter(["options"])
    for option in kind.options:
        table.row(next(heads, ""), f"{option.name}={option.metavar}", f"{option.help}{' Again for more.' if option.many else ''}")
    heads = iter(["needs"])
    for need in kind.needs(asked.options):
        table.row(next(heads, ""), need.what, _state(need))
    Screen().table(table)
