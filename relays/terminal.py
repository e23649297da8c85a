"""Everything that this program writes for people or programs to read: the only module that writes to a terminal.

Guarantees: whatever came from outside (peers, files, topologies, addresses, paths, errors, other processes' logs) is
shown as printable text (`fabric.edge.plain`), and is never read as markup, as an emoji's name or as a style; JSON is
exact, in ASCII, one object a line, and there is some for whatever a message can hold. A line is written at once.

Bytes, which JSON does not have, are `{"base64": "AP8="}` in it; numbers that are none (NaN, infinity) are null.
"""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.highlighter import JSONHighlighter
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from fabric.edge.plain import escaped
from relays.streams import open_streams

# In a file or a pipe nothing is folded or cut: a row is a line.
_PIPE_COLUMNS = 4_000
_TITLE_COLUMNS = 120
# A column that folds and has less says nothing any more.
_FOLDED_COLUMNS = 4
# A space at either side, and one of the table itself.
_BETWEEN_COLUMNS = 3


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
    try:
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, default=_no_json)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=ascii_only, allow_nan=False, default=_no_json)


def _no_json(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return dict(value) if isinstance(value, Mapping) else str(value)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- tables ---------------------------------------------------------------------------------------------------


class Table:
    """`folded`: the columns whose long cells go on in the next line; the others never break."""

    def __init__(self, *columns: str, title: str = "", folded: Collection[str] = (), lines: bool = True) -> None:
        self.rich = RichTable(
            box=box.SIMPLE_HEAD if lines else None, pad_edge=False, title=_text(title) if title else None,
            title_justify="left", show_header=lines, padding=(0, 1) if lines else (0, 2, 0, 0),
        )
        self._names = columns
        self._folded = [name in folded for name in columns]
        self._rows: list[tuple[Piece, ...]] = []
        for name in columns:
            folds = name in folded
            self.rich.add_column(_text(name), no_wrap=not folds, overflow="fold" if folds else "ellipsis")

    def row(self, *cells: Piece) -> None:
        self.rich.add_row(*map(_text, cells))
        self._rows.append(cells)

    def fits(self, columns: int) -> bool:
        """Whether each column finds room: all of it, or what a column that folds needs to be read."""
        widths = [
            _FOLDED_COLUMNS if folds else max([cell_len(name), *(_text(row[at]).cell_len for row in self._rows)])
            for at, (name, folds) in enumerate(zip(self._names, self._folded, strict=True))
        ]
        return sum(widths) + _BETWEEN_COLUMNS * len(widths) <= columns

    def lines(self) -> Iterator[tuple[Piece, ...]]:
        """Each row as lines of its own, for a terminal that is too narrow for a table."""
        for row in self._rows:
            yield row[:1]
            for name, cell in zip(self._names[1:], row[1:], strict=True):
                if _text(cell).plain:
                    yield (f"  {name} " if name else "  ", cell)


class Moving:
    """A table in a place of its own, that is drawn again when it changes."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, table: Table) -> None:
        self._live.update(table.rich)


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
        if table.fits(self._console.width):
            self._console.print(table.rich)
        else:
            for pieces in table.lines():
                self._console.print(Text.assemble(*map(_text, pieces)), soft_wrap=True)
        self._flush()

    def title(self, text: str) -> None:
        """A line across the screen, with a title in it."""
        self._console.print()
        rule = Rule(_text(Cell(text, "bold")), align="left")
        self._console.print(rule, width=None if self.is_terminal else _TITLE_COLUMNS)

    def frame(self, title: str, about: str, table: Table) -> None:
        """A table in a frame, below a line about it."""
        inside = Group(_text(Cell(about, "bold")), Text(), table.rich)
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
