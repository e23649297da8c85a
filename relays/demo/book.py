"""What the demo expects and what was seen, as a table. Holds no labelled value: counts, names and codes."""

from __future__ import annotations

from dataclasses import dataclass

from relays.terminal import Cell, Table

_NOT_SEEN = "not reached"


@dataclass
class Check:
    """One promise of a step: what was expected, and what was seen."""

    step: int
    what: str
    expected: str
    seen: str = _NOT_SEEN
    ok: bool = False


class Book:
    """Every check is listed before anything runs, so that one that was never reached counts as failed."""

    def __init__(self, checks: dict[str, Check]) -> None:
        self._checks = checks

    def saw(self, name: str, ok: bool, seen: str) -> Check:
        check = self._checks[name]
        check.ok, check.seen = ok, seen
        return check

    def broke(self, step: int, why: str) -> list[Check]:
        """The step ended early: what it had yet to show was not seen, and this is why."""
        left = [check for check in self._checks.values() if check.step == step and check.seen == _NOT_SEEN]
        for check in left:
            check.seen = why
        return left

    @property
    def good(self) -> int:
        return sum(check.ok for check in self._checks.values())

    def __len__(self) -> int:
        return len(self._checks)

    @property
    def all_seen(self) -> bool:
        return self.good == len(self)

    def table(self) -> Table:
        """What was expected stands only where something else was seen."""
        table = Table("", "promise", "seen", "expected", " ", folded=("seen", "expected"), aside=("expected",))
        for check in self._checks.values():
            mark = Cell("ok", "green") if check.ok else Cell("FAILED", "bold red")
            table.row(str(check.step), check.what, check.seen, "" if check.ok else check.expected, mark)
        return table
