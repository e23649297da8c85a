"""`fabric leases`, `release` and `extend`: effects that are in force, and ending them sooner or later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import typer

from fabric.edge.effects.lease_list import NAME as LIST
from fabric.edge.effects.lease_list import LeaseEntry, read_leases, read_unreadable
from fabric.edge.face import as_identity
from fabric.edge.identity.identity import Identity
from fabric.edge.ledger.ledger import NAME as LEDGER
from fabric.edge.requesting.account import Account
from fabric.edge.requesting.accounts import find_account, read_lasting
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SELECTOR_BYTES_MAX
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.arguments import TIMES, Times
from fabric.protocol.vocabulary.lifecycle import State
from fabric.spool.file import take_lock
from relays.cli.actions.asking import act
from relays.cli.actions.cancelling import ask_to_end
from relays.cli.shared.exits import DONE, PARTLY, command
from relays.cli.shared.options import As, AsJson, Ttl, needed
from relays.terminal import Cell, Screen, Table, json_text, say, say_json
from relays.wall import utc, wall_ms

_ID_CHARS = 12
_NAMED_MAX = 8
# What of an action may have had an effect: who failed may have done half of it.
_MAY_HAVE = (State.COMPLETED, State.FAILED, State.UNKNOWN)
# Of one that should have ended nobody looks for the word after a week.
_LATE_MS = 7 * 86_400_000


class Asked(NamedTuple):
    """What an action of this identity did at a target, as far as its book knows."""

    account: Account
    target: str
    since_ms: int
    until_ms: int
    state: str

    def to_json(self) -> dict[str, Any]:
        """As `fabric leases --json` prints it."""
        return {
            "at": self.target, "id": self.account.id, "action": self.account.action,
            "target": dict(self.account.target), "requester": self.account.requester,
            "label": self.account.label.short, "since": self.since_ms, "until": self.until_ms, "state": self.state,
        }


@command
def leases(
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """List effects that are in force and end by themselves: those that this identity executed on this machine, and those
    that it asked for, as far as its book knows.

    What was executed here is as it was a moment ago, from a list in the identity's folder. Of what was asked for, until when
    it lasts is reckoned from the answer; `no word` is what should have ended, and nothing of that has been heard here:
    `fabric action ID --watch` connects for it. `lasts` is what was released here while another action keeps it up.

    A lease that a damaged disk does not give any more is named, too: nothing ends what its action did. Look at the machine,
    and then remove `leases.json` in the identity's folder; until then the exit code is 3.

    Exit codes: 0 shown, 1 the list or the book cannot be read, 2 usage, 3 shown, and some leases cannot be read.

    Examples:

      fabric leases --as fw-p1

      fabric leases --as soar-1 --json
    """
    me = as_identity(needed(identity))
    here, at_ms = read_leases(me.folder)
    unreadable = read_unreadable(me.folder)
    _show(me, here, at_ms, list(_asked(me)), as_json=as_json)
    for id_ in unreadable:
        if as_json:
            say_json({"at": me.id, "id": id_, "state": "unreadable"})
    if unreadable:
        if not as_json:
            ids = ", ".join(id_[:_ID_CHARS] for id_ in unreadable[:_NAMED_MAX])
            more = f" and {len(unreadable) - _NAMED_MAX} more" if len(unreadable) > _NAMED_MAX else ""
            say(f"{me.id}: nothing ends what these actions did here, since their leases cannot be read: {ids}{more}",
                f"  next: look what is in force on this machine, then remove {me.folder / LIST}", error=True)
        raise typer.Exit(PARTLY)


def _show(me: Identity, here: list[LeaseEntry], at_ms: int, asked: list[Asked], *, as_json: bool) -> None:
    if as_json:
        for entry in here:
            say_json({"at": me.id, **entry.to_json()})
        for each in asked:
            say_json(each.to_json())
        return
    if not here and not asked:
        say(f"nothing that {me.id} executed or asked for on this machine is in force and ends by itself")
        return
    table = Table(
        "id", "action", "label", "at", "asked by", "since", "until", "stands", aside=("label", "until", "since", "asked by")
    )
    for entry in here:
        table.row(entry.id[:_ID_CHARS], _what(entry.action, entry.target), entry.label, me.id, entry.requester,
                  utc(entry.since_ms), utc(entry.until_ms), _stands(entry))
    for each in asked:
        table.row(each.account.id[:_ID_CHARS], _what(each.account.action, each.account.target),
                  each.account.label.short, each.target, me.id, utc(each.since_ms), utc(each.until_ms), each.state)
    if here and not _runs(me):
        table.foot(Cell(f"nothing executes as {me.id} since {utc(at_ms)}: what is due ends when it runs again", "yellow"))
    Screen().table(table)


def _stands(entry: LeaseEntry) -> str:
    return f"{entry.state}, revert failed {entry.tries} times" if entry.tries else entry.state


def _runs(me: Identity) -> bool:
    try:
        os.close(take_lock(me.folder / LEDGER))
    except FabricError:
        return True
    return False


def _asked(me: Identity) -> Iterator[Asked]:
    now_ms = wall_ms()
    for account in read_lasting(me.folder):
        for target in _may_be_in_force(account):
            since_ms = _since_ms(account, target)
            until_ms = _until_ms(account, since_ms)
            effect = account.effects.get(target)
            if now_ms < until_ms + _LATE_MS:
                due = "in force" if now_ms < until_ms else "no word"
                yield Asked(account, target, since_ms, until_ms, due if effect is None else effect.word)


def _may_be_in_force(account: Account) -> list[str]:
    return [
        target for target, state in account.states.items()
        if state in _MAY_HAVE and target and not (target in account.effects and account.effects[target].is_over)
        and any(word.target == target and word.state is state for word in account.words)
    ]


def _in_force(account: Account) -> list[str]:
    """Where it is, as far as is known: of one whose time is over, it ended, whether a word of that came or not."""
    now_ms = wall_ms()
    return [target for target in _may_be_in_force(account) if now_ms < _until_ms(account, _since_ms(account, target))]


def _since_ms(account: Account, target: str) -> int:
    return max(word.at_ms for word in account.words if word.target == target and word.state in _MAY_HAVE)


def _until_ms(account: Account, since_ms: int) -> int:
    stop_ms = Times.of(account.args).stop_ms
    return int(since_ms + account.args.get("duration", 0) if stop_ms is None else stop_ms)


def _what(action: str, target: Any) -> str:
    return f"{action} {', '.join(f'{name}={_value(value)}' for name, value in target.items())}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value, ascii_only=False)


@command
def release(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other in the book has.")],
    identity: As = "",
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for answers.")] = "5s",
    as_json: AsJson = False,
) -> None:
    """End the effect of an action before its time, at each target where it is in force. It is `fabric cancel`, and needs
    the same: what waits is not begun, and what runs is cancelled and ended then.

    A target answers when it has ended the effect: `released`; `lasts` where another action keeps the same effect up; or
    `revert failed`, and it goes on trying. Whoever is away is told when it is back, within the ttl. What a handler ends by
    itself (`--ends-itself`) cannot be released: its target says that the action is not at work.

    Exit codes: 0 released wherever it was in force, 1 no such action, or refused, 3 not everywhere, 5 denied, 69
    unreachable.

    Example: fabric release 4f1c09 --as soar-1
    """
    last = ask_to_end(needed(identity), id_, ttl, wait, as_json=as_json, called="released")
    failed = any(each.end != "completed" or each.result.get("effect") == "revert failed" for each in last.values())
    raise typer.Exit(PARTLY if failed else DONE)


@command
def extend(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other in the book has.")],
    duration: Annotated[str, typer.Option("--duration", metavar="2h", help="How long it is to last from now on.")],
    identity: As = "",
    ttl: Ttl = None,
    wait: Annotated[str, typer.Option("--wait", metavar="5s", help="After the ttl, wait this long for results.")] = "5s",
    as_json: AsJson = False,
) -> None:
    """Ask again for an action whose effect is in force, with another duration: the same target, arguments, severity and
    label, where it is in force still. It is an action of its own, with its own id and approvals.

    The effect ends with the last action that holds it, so the old one just runs out; to shorten it, `fabric release` that
    afterwards. Of many targets it is asked for by the selector of the first action.

    As `fabric act` ends: exit codes: 0 all completed, 1 none did, or no effect of the action is in force, 2 usage, 3 some
    did, 4 nobody selected, 5 denied, 6 all expired or unknown, 69 unreachable.

    Example: fabric extend 4f1c09 --duration 2h --as soar-1
    """
    account = find_account(as_identity(needed(identity)).folder, id_)
    targets = _in_force(account) if any(name in account.args for name in TIMES) else []
    if not targets:
        next_step = f"see which are: fabric leases --as {as_identity(needed(identity)).id}; to begin again, `fabric act`"
        raise FabricError(Code.NOT_OPEN, f"no effect of {id_} is in force", next_step)
    to = f"id in ({', '.join(targets)})"
    args = {name: value for name, value in account.args.items() if name not in TIMES}
    args["duration"] = parse_duration(duration)
    (type_, value), = account.target.items()
    act(
        account.action, f"{type_}={value if isinstance(value, str) else json_text(value)}",
        to=to if len(to.encode()) <= SELECTOR_BYTES_MAX else account.to, identity=identity,
        arg=[f"{name}={json_text(value)}" for name, value in args.items()], severity=account.severity.name.lower(),
        label=account.label.short, ttl=ttl, wait=wait, as_json=as_json,
    )
