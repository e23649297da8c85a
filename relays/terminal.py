"""Everything that this program writes for people or programs to read: the only module that writes to a terminal.

Guarantees: whatever came from outside (peers, files, topologies, addresses, paths, errors, other processes' logs) is
shown as printable text (`fabric.edge.logging.plain`), and is never read as markup, as an emoji's name or as a style;
JSON is exact, in ASCII, one object a line, and there is some for whatever a message can hold. A line is written at
once.

JSON lacks some of what a message can hold. Bytes are `{"base64": "AP8="}`; numbers that are none (NaN, infinity) are
null; a key that is a number is its digits, and has " (number)" behind it where those are a key too.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
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
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.rule import Rule
from rich.text import Text

from fabric.edge.logging.plain import escaped
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.folding import JSON_WORD, WORD, hang_of, spans
from relays.streams import open_streams

# In a file or a pipe nothing is folded or cut: a row is a line.
_PIPE_COLUMNS = 4_000
_TITLE_COLUMNS = 120
_GAP = 2  # between columns
# A column that folds and has less is not read any more; one that can go below its row does so sooner.
_FOLDED_COLUMNS, _ASIDE_COLUMNS = 8, 16
# Narrower than this nothing is folded: it would be a column of words.
_FOLD_MIN_COLUMNS = 20
# What JSON has as it is.
_PLAIN = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})
_ASCII, _UNICODE = (json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False) for ascii_only in (True, False))

# The colours of FIRST's TLP 2.0, as near as terminals have them.
LABEL_STYLES = {
    Label.CLEAR: "white", Label.GREEN: "green", Label.AMBER: "yellow", Label.AMBER_STRICT: "yellow", Label.RED: "red"
}
SEVERITY_STYLES = {
    Severity.MEDIUM: "yellow", Severity.HIGH: "red", Severity.CRITICAL: "bold red", Severity.FATAL: "bold red"
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
    """Lines for a person, to standard output or standard error; folded where that is a terminal."""
    stream = sys.stderr if error else sys.stdout
    columns = columns_of(stream)
    _write(stream, "".join(f"{part}\n" for line in lines for part in fold(escaped(line), columns)))


def say_whole(*lines: str) -> None:
    """Lines that somebody copies into a shell or a file, or another program reads: to standard output, never folded.
    A terminal that has no room shows the rest on its next line, and still copies one."""
    _write(sys.stdout, "".join(f"{escaped(line)}\n" for line in lines))


def fold(text: str, columns: int, hang: int | None = None, word: re.Pattern[str] = WORD) -> list[str]:
    """A line as lines of at most so many columns (0: no bound), broken between words only. What follows the first line
    is set in by `hang`; by default below what the line says after its name. A word that is longer than a line stands
    on a line of its own, from its first column on, and can be copied from there."""
    hang = hang_of(text, columns) if hang is None else hang
    return [" " * margin + text[begin:end] for begin, end, margin in spans(text, columns, hang, word, cell_len)]


def folded(text: Text, columns: int, hang: int | None = None, word: re.Pattern[str] = WORD) -> list[Text]:
    """The same of text with styles."""
    hang = hang_of(text.plain, columns) if hang is None else hang
    found = spans(text.plain, columns, hang, word, cell_len)
    return [Text.assemble(" " * margin, text[begin:end]) for begin, end, margin in found]


def columns_of(stream: TextIO) -> int:
    """Of the terminal; 0 where it is none, or too narrow to fold anything."""
    if not stream.isatty():
        return 0
    given = os.environ.get("COLUMNS", "")
    try:
        columns = int(given) if given.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0
    return columns if columns >= _FOLD_MIN_COLUMNS else 0


def say_json(value: object, *, error: bool = False) -> None:
    """One object, on a line of its own."""
    _write(sys.stderr if error else sys.stdout, json_text(value) + "\n")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def json_text(value: object, *, ascii_only: bool = True) -> str:
    """JSON for anything that a message can hold. What is not ASCII is escaped, or left to `escaped`."""
    return (_ASCII if ascii_only else _UNICODE).encode(_for_json(value))


def _for_json(value: object) -> object:
    # What is plain, and the innermost of what is not, is nearly all: it is told by types alone, in a tenth of the time.
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict) and _PLAIN.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value)):
        return value
    if isinstance(value, Mapping):
        return {
            key if type(key) is str else _key(key, value): item if type(item) in _PLAIN else _for_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return value if _PLAIN.issuperset(map(type, value)) else [_for_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return value if isinstance(value, str | int) else str(value)


def _key(key: object, among: Mapping[Any, object]) -> str:
    text = str(key)
    while text in among:
        text += " (number)"
    return text


# -- tables ---------------------------------------------------------------------------------------------------


class Table:
    """No cell breaks, but those of columns that are `folded`, and those at words. A column that is empty in every row
    is left out. Where the screen is too narrow, columns that are `aside` go below their row, the last of them first,
    and what they hold is named; where even those that are left do not fit, each cell of a row is a line of its own,
    behind its column's name.
    """

    def __init__(
        self, *columns: str, title: str = "", folded: Collection[str] = (), aside: Sequence[str] = (),
        lines: bool = True,
    ) -> None:
        self._columns = columns
        self._title, self._lines = _text(title), lines
        self._folded, self._aside = folded, aside
        self._rows: list[tuple[Text, ...]] = []
        self._foot: list[Text] = []

    @property
    def is_empty(self) -> bool:
        return not self._rows

    def row(self, *cells: Piece) -> None:
        self._rows.append(tuple(map(_text, cells)))

    def foot(self, line: Piece) -> None:
        """A line below the rows, as wide as the screen."""
        self._foot.append(_text(line))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield from folded(self._title, options.max_width)
            yield Text()
        widths, least = self._widths()
        shown = self._filled()
        for name in reversed(self._aside):
            if self._total(least, shown) <= options.max_width:
                break
            if (n := self._columns.index(name)) in shown:
                shown.remove(n)
        if self._total(least, shown) > options.max_width:
            yield from self._as_lines()
        else:
            while self._total(widths, shown) > options.max_width:  # only what folds is wider than its least
                widths[max((n for n in shown if widths[n] > least[n]), key=widths.__getitem__)] -= 1
            yield from self._drawn(widths, shown, options.max_width)
        for line in self._foot:
            yield from folded(line, options.max_width, hang=2)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths, least = self._widths()
        shown = self._filled()
        return Measurement(
            min(self._total(least, shown), options.max_width), min(self._total(widths, shown), options.max_width)
        )

    def _filled(self) -> list[int]:
        return [n for n in range(len(self._columns)) if not n or any(row[n] for row in self._rows)]

    def _widths(self) -> tuple[list[int], list[int]]:
        """Of each column: that of its longest cell, and the least that it can do with."""
        names = self._columns if self._lines else ("",) * len(self._columns)
        widths = [max(cell_len(name), *(row[n].cell_len for row in self._rows), 0) for n, name in enumerate(names)]
        least = [
            min(width, max(_ASIDE_COLUMNS if name in self._aside else _FOLDED_COLUMNS, cell_len(name)))
            if name in self._folded else width
            for name, width in zip(self._columns, widths, strict=True)
        ]
        return widths, least

    def _total(self, widths: Sequence[int], shown: Sequence[int]) -> int:
        return sum(widths[n] + _GAP for n in shown) - _GAP + 2 * self._lines

    def _drawn(self, widths: Sequence[int], shown: Sequence[int], columns: int) -> Iterator[Text]:
        def drawn(cells: Sequence[Text]) -> Iterator[Text]:
            parts = {n: folded(cells[n], widths[n], hang=0) for n in shown}
            for number in range(max(map(len, parts.values()))):
                text = Text(" " * self._lines)
                for n in shown:
                    part = parts[n][number] if number < len(parts[n]) else Text()
                    text.append_text(part).append(" " * (widths[n] - part.cell_len + _GAP))
                text.rstrip()
                yield text

        if self._lines:
            yield from drawn([Text(escaped(name), "bold") for name in self._columns])
            yield Text(" " + "\u2500" * (self._total(widths, shown) - 2))
        for row in self._rows:
            yield from drawn(row)
            if below := self._named(row, [n for n in range(len(row)) if n not in shown]):
                yield from folded(Text.assemble("    ", below), columns, hang=4)

    def _as_lines(self) -> Iterator[RenderableType]:
        width = max((cell_len(escaped(self._columns[n])) for n in self._filled() if n), default=0)
        for row in self._rows:
            yield row[0]
            for name, cell in zip(self._columns[1:], row[1:], strict=True):
                if cell:
                    name = escaped(name)
                    named = f"{name}{' ' * (width - cell_len(name))}  " if width else ""
                    yield Padding(Text.assemble(named, cell), (0, 0, 0, 2), expand=False)

    def _named(self, row: Sequence[Text], numbers: Iterable[int]) -> Text:
        """Those of a row's cells that have something in them, each behind its column's name."""
        cells = [Text.assemble(f"{escaped(self._columns[n])}: ".removeprefix(": "), row[n]) for n in numbers if row[n]]
        return Text("; ").join(cells)


class Moving:
    """A table in a place of its own, that is drawn again when it changes. Without a row it is not there."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, table: Table) -> None:
        if self._live.is_started or not table.is_empty:
            self._live.update(table)
            self._live.start()


class _Count(ProgressColumn):
    """How many, and of how many where that is known."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total is not None else ""))


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

    def say(self, *pieces: Piece, hang: int | None = None) -> None:
        """One line, folded at words where it is too long."""
        self._print(folded(Text.assemble(*map(_text, pieces)), self._folds_at, hang))

    def _print(self, lines: Iterable[Text]) -> None:
        for line in lines:
            self._console.print(line, soft_wrap=True)
        self._flush()

    @property
    def _folds_at(self) -> int:
        return self._console.width if self.is_terminal and self._console.width >= _FOLD_MIN_COLUMNS else 0

    def json(self, value: object) -> None:
        """For a person: readable where it is not ASCII, on a terminal broken between values. It is the same JSON."""
        text = Text(escaped(json_text(value, ascii_only=False)))
        JSONHighlighter().highlight(text)
        self._print(folded(text, self._folds_at, hang=1, word=JSON_WORD))

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
        live = Live(console=self._console, refresh_per_second=refreshes_per_s)
        try:
            yield Moving(live)
        finally:
            live.stop()

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        with self._console.status(_text(words)):
            yield

    @contextmanager
    def progress(self, *, shown: bool = True, clock: bool = True) -> Iterator[Callable[[str, int | None], Bar]]:
        """What it gives begins a bar: with words, and up to a total, if one is known."""
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), _Count()]
        if clock:
            columns.append(TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not shown) as progress:
            yield lambda words, total: Bar(progress, words, total)

    @contextmanager
    def transfers(self, *, shown: bool = True) -> Iterator[Callable[[str, int | None], Bar]]:
        """The same of bytes, with their rate and the time that is left."""
        columns = [
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(),
        ]
        # What came is said in a line of its own: nothing is left of the bar.
        with Progress(*columns, console=self._console, disable=not shown, transient=True) as progress:
            yield lambda words, total: Bar(progress, words, total)

    def _flush(self) -> None:
        self._console.file.flush()
