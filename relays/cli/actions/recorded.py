"""`fabric actions` and `fabric action`: what was asked for, and what became of it, as the book of an identity has it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.identity.identity import Identity
from fabric.edge.messages import Approvals, Effect, Outcome, Step
from fabric.edge.requesting.account import Account, heard, word_json
from fabric.edge.requesting.accounts import find_account, read_accounts
from fabric.edge.requesting.request import is_given_by_itself
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.tlp import Label
from fabric.spool.book import Word
from relays.cli.actions.changes import step_line
from relays.cli.actions.course import why_of
from relays.cli.shared.exits import DENIED, DONE, FAILED, NOBODY, PARTLY, SHORT, command
from relays.cli.shared.options import As, AsJson, needed
from relays.terminal import LABEL_STYLES, Cell, Screen, Table, json_text, say, say_json
from relays.wall import utc

# Enough to tell some thousand apart; any longer beginning will do as well.
_ID_CHARS = 12
_ROWS = 50
# The type of a target that is an action's id.
_CANCELLED = "command"
# How often the book is looked at: for somebody who reads along.
_LOOK_S = 0.2
_GOOD = (State.COMPLETED, State.READY)


@command
def actions(
    identity: As = "",
    open_: Annotated[bool, typer.Option("--open", help="Only those of which something is still awaited.")] = False,
    last: Annotated[int, typer.Option("--last", min=1, metavar="N", help="So many, the newest first.")] = _ROWS,
    as_json: AsJson = False,
) -> None:
    """List the actions that programs of this identity asked for on this machine, and how they stand.

    It reads the identity's book, and asks no relay: what came while no program of the identity was there is in it only
    if the action has a key, and once it is asked for again or watched (`fabric action ID --watch`). Actions are kept for 30 days, 10,000 of them.

    Exit codes: 0 done, 1 the book cannot be read, 2 usage.

    Example: fabric actions --open --as soar-1
    """
    me = as_identity(needed(identity))
    found = read_accounts(me.folder, open_only=open_, count=last)
    if as_json:
        for account in found:
            said = account.to_json()
            del said["words"]
            say_json(said)
        return
    if not found:
        say(f"{me.id} has asked for no action on this machine{' that is open' if open_ else ''}")
        return
    table = Table(
        "id", "asked", "action", "label", "to", "targets", "stands", "key", aside=("label", "asked", "targets", "to", "key")
    )
    for account in found:
        number = "" if account.targets is None else str(len(account.targets))
        table.row(account.id[:_ID_CHARS], utc(account.asked_ms), _what(account), _label(account.label), account.to, number,
                  _stands(account), _key(account))
    table.foot(Cell(f"from the book of {me.id}; its last word came {utc(max(a.heard_ms for a in found))}"))
    Screen().table(table)


@command
def action(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The action's id, or as much of its beginning as no other has.")],
    identity: As = "",
    watch: Annotated[bool, typer.Option("--watch", help="Connect, and go on until each target has ended, and its effect, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show everything that is known of one action: who asked for what on which terms, and what each target said when.

    It reads the identity's book, as `fabric actions` does. With --watch it connects for what waits at the relay, of
    actions with a key (those with a duration have one), shows each word as it comes, and then the whole. Ctrl-C ends
    the watching.

    As `fabric act` ends: exit codes: 0 all completed (or ready), 1 all failed, or there is no such action, 2 usage, 3 some did, 4 nobody selected,
    5 denied, 6 expired, unknown, or not ended yet.

    Examples:

      fabric action 4f1c09 --as soar-1

      fabric action 4f1c09 --as soar-1 --watch
    """
    me = as_identity(needed(identity))
    account = find_account(me.folder, id_)
    if watch and (account.is_open or account.effects_due):
        account = _watched(me, account, as_json=as_json)
    if as_json:
        say_json(account.to_json())
    else:
        _show(account)
    raise typer.Exit(exit_of(account))


def _watched(me: Identity, account: Account, *, as_json: bool) -> Account:
    """As it stands when nothing is awaited any more."""
    with ControlPoint(me) as point:
        point.collect()
        while account.is_open or account.effects_due:
            time.sleep(_LOOK_S)
            seen, account = len(account.words), point.action(account.id)
            for word in account.words[seen:]:
                _tell_word(word, as_json=as_json)
    return account


def _tell_word(word: Word, *, as_json: bool) -> None:
    if as_json:
        say_json(word_json(word))
        return
    said = heard(word)
    if isinstance(said, Step):
        line = step_line(said)
    else:
        what = said.word if isinstance(said, Effect) else word.state.word
        line = f"{what} {said.code} {said.reason}".rstrip()
    say(f"{word.target or 'all'}: {line}")


def _show(account: Account) -> None:
    say(f"id       {account.id}")
    say(f"action   {_what(account)} to {account.to}")
    if account.args:
        say(f"args     {json_text(account.args, ascii_only=False)}")
    say(f"asked    by {account.requester}, {utc(account.asked_ms)}, for {account.ttl_ms / 1000:g} s")
    terms = [name for name, holds in (("dry run", account.dry_run), ("require all", account.require_all)) if holds]
    say(f"terms    {', '.join([account.severity.name.lower(), account.label.short, *terms])}")
    if account.key:
        say(f"key      {_key(account) or 'none given: it has one since its effect is to end'}")
    resolved = f"; resolved as {account.resolution}" if account.resolution else ""
    say(f"stands   {_stands(account)}{resolved}; last word {utc(account.heard_ms)}{', open' if account.is_open else ''}")
    if account.approval is not None:
        say(f"approval {_approval(account, account.approval)}")
    if not account.words and not account.targets:
        return
    table = Table("target", "state", "at", "by", "why", "label", "result", aside=("why", "label", "result"))
    for target in account.targets or tuple(dict.fromkeys(word.target for word in account.words)):
        words = [word for word in account.words if word.target == target]
        if not words:
            table.row(target or "all", "...", "", "", "no word of it yet" if account.is_open else "nobody said", "", "")
        for n, word in enumerate(words):
            _row(table, (target or "all") if n == 0 else "", word)
    Screen().table(table)


def _approval(account: Account, approval: Approvals) -> str:
    if not approval.is_asked:
        return approval.text
    if account.is_open:
        until = "may be executed" if approval.given else f"by the rule {approval.rule}, held"
        return f"{approval.text}; {until} until {utc(approval.until_ms)}"
    if approval.given:
        return approval.text
    return f"not given: {approval.require} of {' or '.join(approval.roles)} were asked, by the rule {approval.rule}"


def _row(table: Table, name: str, word: Word) -> None:
    said = heard(word)
    at = utc(word.at_ms) if word.last_ms == word.at_ms else f"{utc(word.at_ms)} - {utc(word.last_ms)[11:]}"
    by = word.by or "(this requester)"
    if isinstance(said, Outcome):
        result = "(left out: the book is full)" if word.said.get("cut") else ""
        result = json_text(said.result, ascii_only=False) if said.result else result
        # Who says so stands beside it.
        label = _label(said.label) if said.by else ""
        table.row(name, word.state.word, at, by, why_of(replace(said, by=said.target)), label, result)
    elif isinstance(said, Effect):
        table.row(name, said.word, at, by, f"{said.code} {said.reason}".strip(), "", "")
    else:
        table.row(name, step_line(said), at, by, "", "", "")


def _label(label: Label) -> Cell:
    return Cell(label.short, LABEL_STYLES[label])


def _key(account: Account) -> str:
    """As somebody gave it; not the one that it got since its effect is to end."""
    return "" if is_given_by_itself(account.key) else account.key


def _what(account: Account) -> str:
    if _CANCELLED in account.target:  # an id, as the table's others
        return f"{account.action} {_CANCELLED}={str(account.target[_CANCELLED])[:_ID_CHARS]}"
    target = ", ".join(
        f"{type_}={value if isinstance(value, str) else json_text(value, ascii_only=False)}"
        for type_, value in account.target.items()
    )
    return f"{account.action} {target or '(sealed to its targets)'}"


def _stands(account: Account) -> str:
    if account.refused is not None:
        return f"refused ({account.refused.label})"
    if account.nobody:
        return "nobody"
    # What is held for who is away says so by its state; what was approved and waits for them keeps that one.
    waits = {target for target in account.away if account.states[target] is State.APPROVED}
    counts = Counter(
        f"{state.word} and away" if target in waits else state.word for target, state in account.states.items()
    )
    silent = len([target for target in account.targets or () if target not in account.states])
    effects = Counter(effect.word for effect in account.effects.values())
    words = [f"{count} {word}" for word, count in (*counts.items(), *effects.items())] + ([f"{silent} without a word"] if silent else [])
    return ", ".join(words) or "no answer yet"


def exit_of(account: Account) -> int:
    """As `act` would have ended."""
    if account.nobody:
        return NOBODY
    if account.refused is not None:
        return DENIED if account.refused.number // 100 == 4 else FAILED
    states = [account.states.get(target, State.NONE) for target in account.targets or tuple(account.states) or ("",)]
    good = sum(state in _GOOD for state in states)
    if good:
        return DONE if good == len(states) else PARTLY
    return FAILED if any(state in (State.FAILED, State.REFUSED, State.UNROUTABLE) for state in states) else SHORT
