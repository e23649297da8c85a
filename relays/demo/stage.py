"""What every step of the demo gets."""

from __future__ import annotations

from dataclasses import dataclass

from relays.demo.book import Book
from relays.demo.cast import Cast
from relays.demo.events import Zeek
from relays.demo.show import Show
from relays.demo.throwaway import Throwaway


@dataclass
class Stage:
    """`event`: the id of the event of steps 1 and 2."""

    fabric: Throwaway
    cast: Cast
    book: Book
    show: Show
    zeek: Zeek
    event: str = ""

    def enter(self, name: str, ok: bool, seen: str) -> None:
        self.show.check(self.book.saw(name, ok, seen))
