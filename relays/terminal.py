"""Everything that this program writes for people or programs to read: the only module that writes to a terminal.

Guarantees: whatever came from outside (peers, files, topologies, addresses, paths, errors, other processes' logs) is
shown as printable text (`fabric.edge.plain`), and is never read as markup, as an emoji's name or as a style; JSON is
exact, in ASCII, one object a line, and there is some for whatever a message can hold. A line is written at once.

JSON lacks some of what a message can hold. Bytes are `{"base64": "AP8="}`; numbers that are none (NaN, infinity) are
null; a key that is a number is its digits, and has " (number)" behind it where those are a key too.
"""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.highlighter import JSONHighlighter
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from fabric.edge.plain import escaped
from fabric.protocol.tlp import Label
from relays.streams import open_streams

# In a file or a pipe nothing is folded or cut: a row is a line.
_PIPE_COLUMNS = 4_000
_TITLE_COLUMNS = 120
_GAP = 2  # between columns
# A column that folds and has less is not read any more.
_FOLDED_COLUMNS = 8


# The colours of FIRST's TLP 2.0, as near as terminals have them.
LABEL_STYLES = {
    Label.CLEAR: "white", Label.GREEN: "green", Label.AMBER: "yellow", Label.AMBER_STRICT: "yellow", Label.RED: "red"
}


class Cell(NamedTuple):
    """A piece of text in a style that this program chose."""

    text: str
    style: str = ""


Piece = str | Cell


def _text(piece: Piece) -> Text:
    return Text(escaped(piece.text), piece.style) if isinstance(piece, Cell) else Text(escaped(piece))


# -- lines ----------------------------------------------------------------------------------------------------


def set_up() -> None:
    """At the start of a program: a terminal that lacks a letter gets its number, and ends nothing; nor does one that is
    not there (`relays.streams`)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    open_streams()


def say(*lines: str, error: bool = False) -> None:
    """Lines for a person, to standard output or standard error."""
    _write(sys.stderr if error else sys.stdout, "".join(f"{escaped(line)}\n" for line in lines))


def say_json(value: object, *, error: bool = False) -> None:
    """One object, on a line of its own."""
    _write(sys.stderr if error else sys.stdout, json_text(value) + "\n")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def json_text(value: object, *, ascii_only: bool = True) -> str:
    """JSON for anything that a message can hold. What is not ASCII is escaped, or left to `escaped`."""
    return json.dumps(_for_json(value), ensure_ascii=ascii_only, allow_nan=False)


def _for_json(value: object) -> object:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if type(key) is str else _key(key, value): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _key(key: object, among: Mapping[Any, object]) -> str:
    text = str(key)
    while text in among:
        text += " (number)"
    return text


# -- tables ---------------------------------------------------------------------------------------------------


class Table:
    """`aside`: columns that go below their row where the screen is too narrow for all, the last of them first; what
    they hold is then named, and broken between words. One that is empty in every row is left out. `folded`: columns
    whose long cells go on in the next line. No other cell ever breaks; where even those that are left do not fit, each
    cell of a row is a line of its own, behind its column's name.
    """

    def __init__(
        self, *columns: str, title: str = "", folded: Collection[str] = (), aside: Sequence[str] = (),
        lines: bool = True,
    ) -> None:
        self._columns = columns
        self._title, self._lines = _text(title), lines
        self._folded, self._aside = folded, aside
        self._rows: list[tuple[Text, ...]] = []

    def row(self, *cells: Piece) -> None:
        self._rows.append(tuple(map(_text, cells)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max(cell_len(name), *(row[n].cell_len for row in self._rows), 0) for n, name in enumerate(self._columns)
        ]
        least = [
            min(width, _FOLDED_COLUMNS) if name in self._folded else width
            for name, width in zip(self._columns, widths, strict=True)
        ]
        kept = [n for n, name in enumerate(self._columns) if name not in self._aside or any(r[n] for r in self._rows)]
        if _width(least, kept) <= options.max_width:
            yield self._whole(kept)
            return
        shown = list(kept)
        for name in reversed(self._aside):
            if _width(widths, shown) <= options.max_width:
                break
            if (n := self._columns.index(name)) in shown:
                shown.remove(n)
        if _width(widths, shown) <= options.max_width:
            yield from self._with_asides(widths, shown)
        else:
            yield from self._as_lines()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._whole(range(len(self._columns))))

    def _whole(self, kept: Sequence[int]) -> RichTable:
        table = RichTable(
            box=box.SIMPLE_HEAD if self._lines else None, pad_edge=False, title=self._title if self._title else None,
            title_justify="left", show_header=self._lines, padding=(0, 1, 0, 0) if self._lines else (0, 2, 0, 0),
        )
        for name in (self._columns[n] for n in kept):
            folds = name in self._folded
            table.add_column(_text(name), no_wrap=not folds, overflow="fold" if folds else "ellipsis")
        for row in self._rows:
            table.add_row(*(row[n] for n in kept))
        return table

    def _with_asides(self, widths: Sequence[int], shown: Sequence[int]) -> Iterator[RenderableType]:
        def line(cells: Sequence[Text]) -> Text:
            text = Text(" ")
            for n in shown:
                text.append_text(cells[n]).append(" " * (widths[n] - cells[n].cell_len + _GAP))
            text.rstrip()
            return text

        yield from [Text.assemble(self._title, style="italic"), Text()] if self._title else []
        yield line([Text(name, "bold") for name in map(escaped, self._columns)])
        yield Text(" " + "\u2500" * (_width(widths, shown) - 2))
        for row in self._rows:
            yield line(row)
            below = self._named(row, [n for n in range(len(row)) if n not in shown])
            if below:
                yield Padding(below, (0, 0, 0, 4), expand=False)

    def _as_lines(self) -> Iterator[RenderableType]:
        yield from [Text.assemble(self._title, style="italic"), Text()] if self._title else []
        for row in self._rows:
            yield row[0]
            for name, cell in zip(self._columns[1:], row[1:], strict=True):
                if cell:
                    yield Padding(Text.assemble(f"{escaped(name)} ".lstrip(), cell), (0, 0, 0, 2), expand=False)

    def _named(self, row: Sequence[Text], numbers: Iterable[int]) -> Text:
        """Those of a row's cells that have something in them, each behind its column's name."""
        cells = [Text.assemble(f"{escaped(self._columns[n])}: ".removeprefix(": "), row[n]) for n in numbers if row[n]]
        return Text("; ").join(cells)


def _width(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[n] + _GAP for n in shown) - _GAP + 2


class Moving:
    """A table in a place of its own, that is drawn again when it changes."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, table: Table) -> None:
        self._live.update(table)


class Bar:
    """How far something is."""

    def __init__(self, progress: Progress, words: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(escaped(words), total=total)

    def update(self, completed: int) -> None:
        self._progress.update(self._task, completed=completed)


class Screen:
    """One end of this program's output: plain lines in a file or pipe, colours on a terminal. `quiet` shows nothing."""

    def __init__(self, *, error: bool = False, quiet: bool = False) -> None:
        # Nothing is given to rich that is not `Text`; that text is no markup is said twice.
        options: dict[str, Any] = {
            "stderr": error, "quiet": quiet, "markup": False, "emoji": False, "highlight": False
        }
        self._console = Console(**options)
        self.is_terminal = self._console.is_terminal
        if not self.is_terminal:
            self._console = Console(width=_PIPE_COLUMNS, **options)

    def say(self, *pieces: Piece) -> None:
        """One line; the terminal breaks it where it is too long."""
        self._console.print(Text.assemble(*map(_text, pieces)), soft_wrap=True)
        self._flush()

    def json(self, value: object) -> None:
        """For a person: in one line, and readable where it is not ASCII. It is the same JSON."""
        text = Text(escaped(json_text(value, ascii_only=False)))
        JSONHighlighter().highlight(text)
        self._console.print(text, soft_wrap=True)
        self._flush()

    def table(self, table: Table) -> None:
        self._console.print(table)
        self._flush()

    def title(self, text: str) -> None:
        """A line across the screen, with a title in it."""
        self._console.print()
        rule = Rule(_text(Cell(text, "bold")), align="left")
        self._console.print(rule, width=None if self.is_terminal else _TITLE_COLUMNS)

    def frame(self, title: str, about: str, table: Table) -> None:
        """A table in a frame, below a line about it."""
        inside = Group(_text(Cell(about, "bold")), Text(), table)
        self._console.print(
            Panel(inside, title=_text(title), title_align="left", box=box.ROUNDED, expand=False)
        )

    @contextmanager
    def moving(self, refreshes_per_s: float = 4) -> Iterator[Moving]:
        with Live(RichTable(), console=self._console, refresh_per_second=refreshes_per_s) as live:
            yield Moving(live)

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        with self._console.status(_text(words)):
            yield

    @contextmanager
    def progress(self, *, shown: bool = True, clock: bool = True) -> Iterator[Callable[[str, int | None], Bar]]:
        """What it gives begins a bar: with words, and up to a total, if one is known."""
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
        if clock:
            columns.append(TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not shown) as progress:
            yield lambda words, total: Bar(progress, words, total)

    def _flush(self) -> None:
        self._console.file.flush()
