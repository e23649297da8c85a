"""`fabric deadletter ...`: what sources and sinks of this identity rejected on this machine, and what to do with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from fabric.edge.face import as_identity
from fabric.edge.identity.identity import Identity
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.sizes import format_size
from fabric.protocol.trust.credentials import name_ok
from relays.cli.messages.points import DRAIN_S
from relays.cli.shared.exits import FAILED, PARTLY, command
from relays.cli.shared.options import As, AsJson, NoWait, needed
from relays.cli.shared.reaching import reached
from relays.gateways.deadletter import FOLDER, Form, Letter, Store, stores_of
from relays.gateways.deadletter.replaying import Replay
from relays.gateways.declared import declared_for
from relays.reading import parse_record
from relays.terminal import LABEL_STYLES, Cell, Screen, Table, say, say_json
from relays.wall import utc, wall_ms

app = typer.Typer(no_args_is_help=True, help="What sources and sinks rejected on this machine: see it, replay it, drop it.\n\nExample: fabric deadletter list --as zeek-p1")
Source = Annotated[str, typer.Option("--source", metavar="NAME", help="Only of this source or sink.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="As `list` shows them: conn/17.")]
All = Annotated[bool, typer.Option("--all", help="All of them; with --source all of this one.")]
Found = tuple[Store, Letter]
# What a replay published and no relay holds yet; no source is named so.
_OUTBOX = "replay.outbox"
# Of what is rejected again: `list` has them all.
_TOLD_MAX = 10


@app.command("list")
@command
def list_(
    identity: As = "",
    source: Source = "",
    last: Annotated[int, typer.Option("--last", min=1, help="So many of each at most, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what was rejected: when, where it came from, and why. Nothing of what is in it is shown.

    Of each source and sink up to 10,000 are kept, and 16 MB; beyond that the oldest go, and are counted. The label is the
    highest that the source can give: of what could not be read nobody knows a lower one.

    Exit codes: 0 shown, also where there are none, 2 usage.

    Example: fabric deadletter list --as zeek-p1 --source conn
    """
    me = as_identity(needed(identity))
    stores = _stores(me, source)
    table = Table("id", "when", "where", "why", "size", "label", aside=("when", "size", "where"), folded=("why",))
    told = False
    for store in stores:
        letters, lost = store.letters(), store.lost
        more = len(letters) - last
        for letter in letters[-last:]:
            if as_json:
                say_json(_json(store, letter))
            else:
                table.row(_id(store, letter), utc(letter.at_ms), letter.where, _why(letter), format_size(letter.bytes_),
                          Cell(letter.label.short, LABEL_STYLES[letter.label]))
        told = told or bool(letters)
        if as_json and (more > 0 or lost):
            say_json({"source": store.source, "older": max(0, more), "lost": lost})
        elif more > 0:
            table.foot(f"{store.source}: {more:,} older ones: --last {len(letters)} shows them")
        if lost and not as_json:
            table.foot(Cell(f"{store.source}: {lost:,} found no room and are gone", "yellow"))
    if as_json:
        return
    if told:
        table.foot(f"see one: fabric deadletter show ID --as {me.id}; try again: fabric deadletter replay --all --as {me.id}")
        Screen().table(table)
        return
    say(f"nothing that {source or 'a source or sink'} of {me.id} rejected is on this machine")
    if not table.is_empty:
        Screen().table(table)


@app.command()
@command
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it: conn/17.")],
    identity: As = "",
    as_json: AsJson = False,
) -> None:
    """Show a dead letter whole: why it was rejected, and what is in it. What could disturb a terminal is escaped.

    Exit codes: 0 shown, 1 there is no such dead letter, 2 usage.

    Example: fabric deadletter show conn/17 --as zeek-p1
    """
    ((store, letter),) = _named(as_identity(needed(identity)), [id_])
    text, record = _content(letter)
    if as_json:
        say_json({**_json(store, letter), "record": record, "raw": letter.raw if text is None else text})
        return
    screen = Screen()
    screen.say(Cell(_id(store, letter), "bold"), f" rejected {utc(letter.at_ms)}",
               f", again {letter.again} time(s)" if letter.again else "")
    say(f"  {letter.why}", f"  where: {letter.where or 'not known'}")
    if letter.error is not None:
        say(f"  next: {letter.error.next_step}")
    screen.say("  label: ", Cell(letter.label.spelling, LABEL_STYLES[letter.label]), " at most")
    if letter.is_cut:
        say(f"  the first {len(letter.raw):,} of {letter.bytes_:,} bytes:")
    if record is not None:
        screen.json(record)
    else:
        say(*letter.raw.decode(errors="backslashreplace").splitlines())


@app.command()
@command
def replay(
    ids: Ids = None,
    identity: As = "",
    source: Source = "",
    all_: All = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Try again what was rejected, as its source is declared now: what fits is published, what does not is kept, with the new
    reason. `fabric edge run` may be at work meanwhile.

    Each is published once, whatever ends this command: the next one goes on where it stopped. While no relay can be reached
    they are kept in the identity's folder, and that is said; the next replay sends them.

    Exit codes: 0 all are published, 1 none, or there is no such dead letter, 2 usage, or the source is not declared any more,
    3 some were rejected again, 5 denied, 69 unreachable with --no-wait, 130 and 143 stopped by Ctrl-C and SIGTERM.

    Example: fabric deadletter replay --all --source conn --as zeek-p1

    Example: fabric deadletter replay conn/17 --as zeek-p1
    """
    me = as_identity(needed(identity))
    found = _by_store(_chosen(me, ids or [], source, all_=all_, words="replay"))
    sources = {each.name: each for each in declared_for(me).sources}
    for store, _ in found:
        if store.source not in sources:
            raise FabricError(
                Code.USAGE, f"no source {store.source} is declared for {me.id}, as far as it can be used",
                f"correct or declare it, then `fabric up`; or fabric deadletter drop --all --source {store.source}",
            )
    published, again = 0, []
    waiting = 0
    if found:
        refusals: deque[tuple[str, FabricError]] = deque()
        with reached(
            me, as_json, wait=not no_wait, outbox=make_private(me.folder / FOLDER) / _OUTBOX,
            prepare=lambda point: point.on_refused(lambda id_, _records, error: refusals.append((id_, error))),
        ) as point:
            replays = []
            for store, letters in found:
                of = sources[store.source]
                replays.append(Replay(store, of.mapping, partial(of.kind.parse, of.settings), parse_record, point, wall_ms))
                replays[-1].run(letters)
            waiting = 0 if point.drain(DRAIN_S) else point.waiting
        for id_, error in refusals:
            any(each.refused(id_, error) for each in replays)
        for (store, _), each in zip(found, replays, strict=True):
            published += each.replayed.published
            again += [(store, letter) for letter, _ in each.replayed.rejected]
            store.close()
    if as_json:
        for store, letter in again:
            say_json(_json(store, letter), error=True)
        say_json({"published": published, "rejected": len(again), "waiting": waiting})
    else:
        for store, letter in again[:_TOLD_MAX]:
            say(f"{_id(store, letter)}: {letter.why}", error=True)
        say(f"{published:,} published, {len(again):,} rejected again")
        if waiting:
            say(f"{waiting:,} wait on this disk until the next replay reaches the relay")
    if again:
        raise typer.Exit(PARTLY if published else FAILED)


@app.command()
@command
def drop(
    ids: Ids = None,
    identity: As = "",
    source: Source = "",
    all_: All = False,
    as_json: AsJson = False,
) -> None:
    """Delete what is of no use any more. While `fabric edge run` is at work, too.

    Exit codes: 0 dropped, 1 there is no such dead letter (and none was dropped), 2 usage.

    Example: fabric deadletter drop conn/17 conn/18 --as zeek-p1

    Example: fabric deadletter drop --all --source conn --as zeek-p1
    """
    me = as_identity(needed(identity))
    found = _chosen(me, ids or [], source, all_=all_, words="drop")
    dropped = sum(store.remove([letter.number for letter in letters]) for store, letters in _by_store(found))
    if as_json:
        say_json({"dropped": dropped})
    else:
        say(f"{dropped:,} dropped")


# -- which ----------------------------------------------------------------------------------------------------


def _stores(identity: Identity, source: str) -> list[Store]:
    if source and not name_ok(source):
        raise FabricError(Code.USAGE, f"{source!r} is no source's name", "write it as the topology has it")
    return stores_of(identity.folder, source)


def _chosen(identity: Identity, ids: Sequence[str], source: str, *, all_: bool, words: str) -> list[Found]:
    """By id, or all of one source, or all. Raises USAGE where nobody said which."""
    if ids and (source or all_) or not ids and not all_:
        raise FabricError(
            Code.USAGE, "which ones?", f"fabric deadletter {words} ID..., or --all, with --source NAME for one source"
        )
    if ids:
        return _named(identity, ids)
    return [(store, letter) for store in _stores(identity, source) for letter in store.letters()]


def _named(identity: Identity, ids: Iterable[str]) -> list[Found]:
    """Raises NO_LETTER for the first that is not there."""
    found: list[Found] = []
    known: dict[str, tuple[Store, dict[int, Letter]]] = {}
    for id_ in dict.fromkeys(ids):
        source, _, number = id_.partition("/")
        if source not in known and name_ok(source):
            store = next(iter(stores_of(identity.folder, source)))
            known[source] = store, {letter.number: letter for letter in store.letters()}
        digits = number.isascii() and number.isdigit() and len(number) < 19
        if source not in known or not digits or int(number) not in known[source][1]:
            raise FabricError(Code.NO_LETTER, repr(id_), f"see which there are: fabric deadletter list --as {identity.id}")
        store, letters = known[source]
        found.append((store, letters[int(number)]))
    return found


def _by_store(found: Iterable[Found]) -> list[tuple[Store, list[Letter]]]:
    stores: dict[str, tuple[Store, list[Letter]]] = {}
    for store, letter in found:
        stores.setdefault(store.source, (store, []))[1].append(letter)
    return list(stores.values())


# -- how they are told ----------------------------------------------------------------------------------------


def _id(store: Store, letter: Letter) -> str:
    return f"{store.source}/{letter.number}"


def _why(letter: Letter) -> str:
    error = letter.error
    return f"E{letter.code}" if error is None else f"{error.code.label} {letter.detail or error.code.cause}"


def _json(store: Store, letter: Letter) -> dict[str, Any]:
    """Without what is in it."""
    error = letter.error
    return {
        "id": _id(store, letter), "source": store.source, "at_ms": letter.at_ms, "where": letter.where,
        "code": f"E{letter.code}", "reason": error.code.reason if error else "", "detail": letter.detail,
        "label": letter.label.short, "form": letter.form.name.lower(), "bytes": letter.bytes_, "cut": letter.is_cut,
        "again": letter.again,
    }


def _content(letter: Letter) -> tuple[str | None, dict[str, Any] | None]:
    """As text where it is some, and as a record where it is one."""
    try:
        text = letter.raw.decode()
    except UnicodeDecodeError:
        return None, None
    if letter.form is Form.RAW:
        return text, None
    try:
        return text, parse_record(text)
    except FabricError:
        return text, None
