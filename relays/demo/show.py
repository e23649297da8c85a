"""What a person sees on the terminal: one step after the other, in words, with what each role sees in a frame of its
own. A quiet one shows nothing and never pauses; pauses are for reading, nothing waits by them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fabric.edge.messages import Message
from fabric.edge.requesting.request import Request
from fabric.protocol.vocabulary.openc2 import End
from relays.demo.book import Check
from relays.terminal import LABEL_STYLES, Bar, Cell, Moving, Screen, Table

_VALUE_MAX = 48


class Show:
    """What the demo writes on a screen, with pauses of `pause_s` seconds."""

    def __init__(self, screen: Screen, pause_s: float) -> None:
        self._screen = screen
        self._pause_s = pause_s

    def pause(self) -> None:
        if self._pause_s:
            time.sleep(self._pause_s)

    def title(self, text: str) -> None:
        self._screen.title(text)

    def say(self, words: str, pause: bool = True) -> None:
        """A paragraph."""
        self._screen.say(words, hang=0)
        if pause:
            self.pause()

    def check(self, check: Check) -> None:
        mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
        words = f" {check.what}: {check.seen}" + ("" if check.ok else f" (expected: {check.expected})")
        self._screen.say(Cell(f"  {mark}", style), words)

    def code(self, words: str) -> None:
        """What the other side answered, as it was told."""
        self._screen.say(Cell(f"    {words}", "red"))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        with self._screen.busy(text):
            yield

    def sees(self, who: str, message: Message) -> None:
        """A message as this role received it. What was withheld is not here to be shown."""
        table = Table("field", "value", "label", folded=("value",), lines=False)
        for name, value in message.content.items():
            label = message.label_of(str(name))
            text = str(value)
            if len(text) > _VALUE_MAX:
                text = text[:_VALUE_MAX] + "..."
            table.row(str(name), text, Cell(label.spelling, LABEL_STYLES[label]))
        for label in message.withheld:
            table.row(Cell("withheld", "bold"), "all with this label, on the way here",
                      Cell(label.spelling, LABEL_STYLES[label]))
        way = " > ".join(message.path)
        about = f"{message.topic}, {message.severity.name.lower()}, from {message.origin} via {way}"
        self._screen.frame(who, about, table)
        self.pause()

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Bar]:
        with self._screen.progress(clock=False) as begin:
            yield begin(f"  {text}", total)

    @contextmanager
    def targets(self) -> Iterator[Moving]:
        with self._screen.moving(refreshes_per_s=8) as moving:
            yield moving


def targets_table(request: Request, where: dict[str, str]) -> Table:
    """Each target's row, as far as is known."""
    table = Table("target", "relay", "end", "says", "code", aside=("says", "code"))
    for target in request.targets or ():
        outcome = request.outcomes.get(target)
        if outcome is None:
            table.row(target, where.get(target, ""), "...", "", "")
            continue
        style = "green" if outcome.end is End.COMPLETED else "red"
        code = f"{outcome.code} {outcome.reason}".strip()
        table.row(target, where.get(target, ""), Cell(outcome.end, style), outcome.by, code)
    return table


def listed(names: Sequence[str]) -> str:
    """Names for a sentence."""
    return ", ".join(names) or "nobody"
