"""`fabric topology flows`: which labels get from where to where, over every parent that a topology file allows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.cli.shared.exits import command
from relays.cli.tree.flow_table import KINDS, rank_of, table_lines
from relays.terminal import say, say_json, say_whole
from relays.topology import loader
from relays.topology.flow import Flow, Flows
from relays.topology.model import Topology
from relays.wording import LABEL_WRITE, LABELS, closest, shown

_COLUMNS: Final = 80


@command
def flows(
    file: Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False, readable=True)],
    source: Annotated[str, typer.Option("--from", metavar="NODE", help="What begins at this relay or control point.")] = "",
    target: Annotated[str, typer.Option("--to", metavar="NODE", help="What gets to this relay or control point.")] = "",
    label: Annotated[str, typer.Option("--label", help="Of content with this label only.")] = "",
    table: Annotated[str, typer.Option("--table", metavar="relays|points", help="In Markdown, from each to each.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object a line for each two nodes and each label.")] = False,
) -> None:
    """Which labels get from where to where, whichever parents the nodes have: always, at times, or never and which hop
    and rule stops them. Without --from and --to it is about relays only; with one of them, or --json, about control
    points too.

    What begins at a relay is what control points at it say: those of the file, and one that is there later and
    publishes events. An [[assert]] counts those below it, too.

    Exit codes: 0 told, 1 errors in the file, 2 no such node or label.

    Examples:

      fabric topology flows topologies/enterprise.toml

      fabric topology flows topologies/enterprise.toml --from plant-1 --label amber

      fabric topology flows topologies/enterprise.toml --from zeek-p1 --to hq

      fabric topology flows topologies/partners.toml --table points
    """
    if table:
        _check_table(table, alone=not (source or target or label or as_json))
    topology = loader.load(file)
    for name in filter(None, (source, target)):
        _check_name(topology, name)
    labels = (_label(label),) if label else tuple(Label)
    proven = Flows(topology)
    if table:
        say_whole(*table_lines(proven, table))
        return
    unnamed = _nodes(topology) if as_json or source or target else list(topology.relays)
    sources, targets = [source] if source else unnamed, [target] if target else unnamed
    if as_json:
        for begins in sources:
            for flow in (proven.between(begins, ends, each) for ends in targets if ends != begins for each in labels):
                say_json(_json(flow))
    elif source and target:
        found = [proven.between(source, target, each) for each in labels if source != target]
        say(*_pair(source, target, found))
    else:
        say(_title(labels))
        for begins in [""] if target else sources:
            say(*_listing(proven, [begins] if begins else sources, targets, labels))


def _check_table(kind: str, *, alone: bool) -> None:
    if kind not in KINDS:
        raise FabricError(Code.USAGE, f"--table {shown(kind)}{closest(kind, KINDS)}", f"write --table {' or '.join(KINDS)}")
    if not alone:
        raise FabricError(Code.USAGE, "--table is of all labels, from each to each", "leave --from, --to, --label and --json out")


def _nodes(topology: Topology) -> list[str]:
    return [*topology.relays, *topology.points]


def _check_name(topology: Topology, name: str) -> None:
    known = _nodes(topology)
    if name not in known:
        near = closest(name, known)
        raise FabricError(
            Code.USAGE, f"{shown(name)} is no relay or control point of the file{near}",
            f"see them with: fabric topology graph {topology.path}",
        )


def _label(text: str) -> Label:
    label = parse_label(text)
    if label is None:
        raise FabricError(Code.BAD_LABEL, f"{shown(text)}{closest(text, LABELS)}", LABEL_WRITE)
    return label


def _json(flow: Flow) -> dict[str, Any]:
    way, stop = flow.way, flow.stop
    if way is None and stop is not None:
        way = stop.way
    return {
        "from": flow.source, "to": flow.target, "label": flow.label.short, "reaches": flow.reaches,
        "carrier": way.carrier if way is not None else None, "path": list(way.relays) if way is not None else [],
        "follows": way.follows if way is not None else False, "misses_by": list(flow.miss),
        "stops_at": stop.node or None if stop is not None else None, "rule": stop.rule or None if stop is not None else None,
    }


# -- two nodes ------------------------------------------------------------------------------------------------

_VERDICTS: Final = {"always": "always", "sometimes": "at times", "never": "never"}


def _pair(source: str, target: str, found: Sequence[Flow]) -> Iterator[str]:
    """Each label with the way, or with what stops it."""
    yield f"from {source} to {target}"
    if source == target:
        yield "  it is there already"
    for flow in found:
        yield from _folded(f"  {flow.label.short:<13} {_VERDICTS[flow.reaches]:<9} ", _why(flow))
        if flow.miss:
            yield from _folded(" " * 26, f"not by {' -> '.join(flow.miss)}")


def _why(flow: Flow) -> str:
    if flow.way is not None:
        return f"{flow.way.carrier}: {flow.way}"
    if flow.stop is None or flow.stop.way is None:
        return "no message goes there"
    return f"stops at {flow.stop}: {flow.stop.way}"


# -- many -----------------------------------------------------------------------------------------------------


def _title(labels: Sequence[Label]) -> str:
    what = f"Whether {labels[0].short}" if len(labels) == 1 else "The highest label that"
    return f"{what} gets there, whichever parents the nodes have:"


def _listing(
    flows: Flows, sources: Sequence[str], targets: Sequence[str], labels: Sequence[Label]
) -> Iterator[str]:
    """From one to many, or from many to one: those together for which the same is true, what gets furthest first."""
    alike: dict[tuple[tuple[int, int], str, str], list[str]] = {}
    from_one = len(sources) == 1
    for source, target in ((source, target) for source in sources for target in targets if source != target):
        found = [flows.between(source, target, label) for label in labels]
        key = rank_of(found), _reach(found), _stopped(flows.topology, found)
        alike.setdefault(key, []).append(target if from_one else source)
    yield f"from {sources[0]}" if from_one else f"to {targets[0]}"
    for (_, reach, why), names in sorted(alike.items(), key=lambda each: each[0][0], reverse=True):
        yield from _folded(f"  {reach:<24} ", ", ".join(names))
        if why:
            yield from _folded(" " * 27, why)


def _reach(found: Sequence[Flow]) -> str:
    """`green, at times amber`: the highest label that always gets there, and the highest that does at times."""
    if len(found) == 1:
        return _VERDICTS[found[0].reaches]
    always, possible = rank_of(found)
    words = [Label(always).short] if always >= 0 else []
    words += [f"at times {Label(possible).short}"] if possible > always else []
    return ", ".join(words) or "nothing"


def _stopped(topology: Topology, found: Sequence[Flow]) -> str:
    """What stops the lowest label that never gets there. A control point, or one of the two ends, is named only where
    no label gets there at all: else it says no more than its clearance does."""
    stopped = next((flow for flow in found if flow.reaches == "never"), None)
    if stopped is None or stopped.stop is None or not stopped.stop.node:
        return ""
    stop = stopped.stop
    is_an_end = stop.node in (stopped.source, stopped.target) or stop.node in topology.points
    return "" if is_an_end and stopped is not found[0] else f"{stopped.label.short} stops at {stop}"


def _folded(first: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _COLUMNS, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
        break_on_hyphens=False,
    )
