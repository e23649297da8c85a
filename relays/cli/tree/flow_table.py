"""Flows of a topology as a table in Markdown, for documents: to each node (a row) from each other (a column).

A cell has the highest label that gets there whichever parents the nodes have and, in brackets, the highest that does at
times, where that is a higher one; `-` where nothing does. Nobody has a column at whom nothing begins, and no control
point a row to which nothing gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fabric.protocol.vocabulary.tlp import Label
from relays.topology.flow import Flow, Flows

RELAYS, POINTS = "relays", "points"
KINDS: Final = (RELAYS, POINTS)
_NOTHING: Final = "-"


def rank_of(found: Sequence[Flow]) -> tuple[int, int]:
    """The highest label that always gets there, and the highest that can; -1 for none."""
    possible = [int(flow.label) for flow in found if flow.reaches != "never"]
    always = [int(flow.label) for flow in found if flow.reaches == "always"]
    return max(always, default=-1), max(possible, default=-1)


def table_lines(flows: Flows, kind: str) -> Iterator[str]:
    """`kind`: one of `KINDS`."""
    names = list(flows.topology.relays if kind == RELAYS else flows.topology.points)
    cells = {(source, target): _cell(flows, source, target) for source in names for target in names}
    flow = {ends for ends, cell in cells.items() if cell not in ("", _NOTHING)}
    sources = [source for source in names if any((source, target) in flow for target in names)]
    targets = [
        target for target in names if kind == RELAYS or any((source, target) in flow for source in sources)
    ]
    rows = [["to \\ from", *sources], *([target, *(cells[source, target] for source in sources)] for target in targets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        if number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def _cell(flows: Flows, source: str, target: str) -> str:
    if source == target:
        return ""
    always, possible = rank_of([flows.between(source, target, label) for label in Label])
    words = [Label(always).short] if always >= 0 else []
    words += [f"({Label(possible).short})"] if possible > always else []
    return " ".join(words) or _NOTHING
