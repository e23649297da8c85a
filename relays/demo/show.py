"""What a person sees on the terminal: one step after the other, in words, with what each role sees in a frame of its
own. A quiet one shows nothing and never pauses; pauses are for reading, nothing waits by them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fabric.edge.messages import Message
from fabric.edge.point import Request
from fabric.protocol.actions import End
from fabric.protocol.tlp import Label
from relays.demo.book import Check

# The colours of FIRST's TLP 2.0, as near as terminals have them.
_COLOURS = {Label.CLEAR: "white", Label.GREEN: "green", Label.AMBER: "yellow", Label.AMBER_STRICT: "yellow",
            Label.RED: "red"}
_VALUE_MAX = 48


class Show:
    def __init__(self, console: Console, pause_s: float) -> None:
        self._console = console
        self._pause_s = pause_s

    def pause(self) -> None:
        if self._pause_s:
            time.sleep(self._pause_s)

    def title(self, text: str) -> None:
        self._console.print()
        self._console.rule(Text(text, style="bold"), align="left")

    def say(self, text: str, *, pause: bool = True) -> None:
        self._console.print(text, markup=False, highlight=False)
        if pause:
            self.pause()

    def check(self, check: Check) -> None:
        mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
        words = f" {check.what}: {check.seen}" + ("" if check.ok else f" (expected: {check.expected})")
        self._console.print(Text.assemble((f"  {mark}", style), words))

    def code(self, words: str) -> None:
        """What the other side answered, as it was told."""
        self._console.print(Text(f"    {words}", style="red"))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        with self._console.status(text):
            yield

    def sees(self, who: str, message: Message) -> None:
        """A message as this role received it. What was withheld is not here to be shown."""
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in message.content.items():
            label = message.labels.get(name, message.label)
            text = str(value)
            if len(text) > _VALUE_MAX:
                text = text[:_VALUE_MAX] + "..."
            table.add_row(name, Text(text), Text(label.spelling, style=_COLOURS[label]))
        for label, parts in message.withheld.items():
            table.add_row(Text("withheld", style="bold"), f"{parts} part, somewhere on the way here",
                          Text(label.spelling, style=_COLOURS[label]))
        way = " > ".join(message.path)
        about = f"{message.topic}, {message.severity.name.lower()}, from {message.origin} via {way}\n"
        self._console.print(Panel(Group(Text(about, style="bold"), table), title=who, title_align="left",
                                  box=box.ROUNDED, expand=False))
        self.pause()

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Progress]:
        """A bar; the only task is number 0."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console) as progress:
            progress.add_task(text, total=total)
            yield progress

    @contextmanager
    def targets(self) -> Iterator[Live]:
        with Live(Table(), console=self._console, refresh_per_second=8) as live:
            yield live


def targets_table(request: Request, where: dict[str, str]) -> Table:
    """Each target's row, as far as is known."""
    table = Table(box=box.SIMPLE)
    for column in ("target", "relay", "end", "says", "code"):
        table.add_column(column)
    for target in request.targets or ():
        outcome = request.outcomes.get(target)
        if outcome is None:
            table.add_row(target, where.get(target, ""), "...", "", "")
            continue
        style = "green" if outcome.end is End.COMPLETED else "red"
        code = f"{outcome.code} {outcome.reason}".strip()
        table.add_row(target, where.get(target, ""), Text(str(outcome.end), style=style), outcome.by, code)
    return table


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody"
