"""What must hold after every act, whatever peers said: each rule is a function that raises BrokenError with its words.

The words up to the first colon are the rule's name; figures come after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.protocol.vocabulary.severity import Lane

if TYPE_CHECKING:
    from tests.fuzz.stage import Stage


class BrokenError(AssertionError):
    """A rule that must hold does not."""


def no_fault_is_counted(stage: Stage) -> None:
    """A fault that was contained is one all the same."""
    for name, count in stage.core.counters.items():
        if name.startswith("faults"):
            place = stage.fault_at.replace(":", " line ")
            raise BrokenError(f"{name.replace(':', ' ')} in {place}: {count}")


def counters_are_not_negative(stage: Stage) -> None:
    for name, count in stage.core.counters.items():
        if count < 0:
            raise BrokenError(f"a counter is negative: {name} {count}")


def open_links_have_outboxes(stage: Stage) -> None:
    core = stage.core
    for link in core.links.values():
        if link.is_open and link.destination not in core.outboxes:
            raise BrokenError(f"an open link has no outbox: {link.destination.partition('/')[0]}")
    for destination, link in core.by_destination.items():
        if not link.is_open or link.destination != destination or core.links.get(link.number) is not link:
            raise BrokenError(f"a destination leads to a link that is not there: {destination.partition('/')[0]}")


def bytes_are_what_is_held(stage: Stage) -> None:
    """The lanes' counts decide whether there is room: they must say what there is."""
    custody = stage.core.custody
    held = [0] * len(Lane)
    for each in list(custody._held.values()):
        if not each.rows:
            raise BrokenError("a message is held for nobody")
        rows = sum(not row.sheddable for row in each.rows.values())
        if rows != each.transit_rows:
            raise BrokenError(f"rows are counted wrongly: {each.transit_rows} of {rows}")
        if rows:
            held[each.lane] += len(each.message.raw)
    if held != list(custody.lane_bytes):
        raise BrokenError(f"bytes held are not the bytes counted: {held} held, {custody.lane_bytes} counted")
    if any(count < 0 for count in custody._origin_bytes.values()):
        raise BrokenError("an origin's bytes are negative")


def rows_have_outboxes(stage: Stage) -> None:
    core = stage.core
    for held in list(core.custody._held.values()):
        for destination in held.rows:
            if destination not in core.outboxes:
                raise BrokenError(f"a row waits for a destination without an outbox: {destination.partition('/')[0]}")


def credit_is_not_negative(stage: Stage) -> None:
    for link in stage.core.links.values():
        for name in ("_sent", "_allowed", "_consumed", "_granted"):
            counts = getattr(link.credit, name)
            if any(count < 0 for count in counts):
                raise BrokenError(f"{name[1:]} bytes of a link are negative: {counts}")


def what_is_closed_is_known_to_be(stage: Stage) -> None:
    """The driver has a connection for every link of the core: one without would stay for ever."""
    for number in stage.core.links:
        if number not in stage.keys:
            raise BrokenError("a link has no connection")


RULES = (
    no_fault_is_counted, counters_are_not_negative, open_links_have_outboxes, bytes_are_what_is_held,
    rows_have_outboxes, credit_is_not_negative, what_is_closed_is_known_to_be,
)


def check(stage: Stage) -> None:
    for rule in RULES:
        rule(stage)
