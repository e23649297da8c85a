"""Whether field labels match anything in what is read: checked before a record leaves, and counted from then on.

Guarantees: while a required label names no field of what was read so far, nothing is handed on; after so many records,
or at the end, that is an error, and nothing was. What is held back meanwhile is bounded, and somebody is told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from fabric.edge.publishing.labelling import unmatched_error, unmatched_words
from fabric.protocol.base.errors import FabricError
from fabric.protocol.envelope.field_labels import FieldLabels, Record
from fabric.protocol.vocabulary.tlp import Label

# A field that a thousand records of one kind do not have is a mistake in its name, or worth an option.
AHEAD_RECORDS = 1_000
# However long the lines are.
_AHEAD_BYTES = 16_000_000
# A label that names nothing in so many records in a row was once right: what wrote them has changed.
WINDOW_RECORDS = 10_000

_Item = TypeVar("_Item")


class LabelWatch:
    """`labels`: field to label, as they were given. `required`: each has to name a field of what is read ahead."""

    def __init__(self, labels: Mapping[str, object], *, required: bool = True) -> None:
        self._labels = FieldLabels(dict.fromkeys(labels, Label.RED), Label.RED)
        self._open = list(self._labels.names) if required else []  # required, and not seen yet
        self._sample: Record = {}
        self.held_back = 0
        self.records = 0
        self.without = dict.fromkeys(self._labels.names, 0)  # records that have no such field
        self._in_a_row = dict.fromkeys(self._labels.names, 0)

    def ahead(
        self, items: Iterable[_Item], record_of: Callable[[_Item], Record | None],
        size_of: Callable[[_Item], int], tell: Callable[[str], None] | None = None,
    ) -> Iterator[_Item]:
        """The same items, from when each label was seen. Raises FabricError(UNMATCHED_LABEL) when one is not.

        `record_of` gives None for what is no record. `tell`, where items may be long in coming, gets words at the first
        record that waits.
        """
        waiting: list[_Item] = []
        size = 0
        for item in items:
            if not self._open:
                yield item
                continue
            waiting.append(item)
            record = record_of(item)
            if record is None:
                continue
            self._look(record, size := size + size_of(item))
            if not self._open:
                self.held_back = 0
                yield from waiting
                waiting.clear()
            elif tell is not None and self.held_back == 1:
                tell(f"nothing is sent before a record has {unmatched_words(self._open, record)}")
        if self._open and self.held_back:
            raise self.error()
        yield from waiting

    def _look(self, record: Record, size: int) -> None:
        found = self._labels.matched(record)
        self._open = [name for name in self._open if name not in found]
        self._sample = record
        self.held_back += 1
        if self._open and (self.held_back >= AHEAD_RECORDS or size > _AHEAD_BYTES):
            raise self.error()

    def error(self) -> FabricError:
        """For what is still held back."""
        error = unmatched_error(self._open, self._sample)
        records = f"none of {self.held_back:,} record(s) has it, nothing was sent"
        return FabricError(error.code, f"{error.detail}: {records}", error.next_step)

    def saw(self, record: Record) -> list[str]:
        """A record goes its way. The labels of which that is to be told now: it is one of many in a row without."""
        if not self.without:
            return []
        self.records += 1
        unmatched = self._labels.unmatched(record)
        for name in self.without:
            missing = name in unmatched
            self.without[name] += missing
            self._in_a_row[name] = self._in_a_row[name] + 1 if missing else 0
        return [name for name in unmatched if self._in_a_row[name] == WINDOW_RECORDS]

    @property
    def missed(self) -> dict[str, int]:
        """Records without the field, of those labels that named none in some of them."""
        return {name: count for name, count in self.without.items() if count}


def words_of(missed: Mapping[str, Any], records: int) -> list[str]:
    """For people: a line for each label and how many of the records lacked its field."""
    return [f"warning {name}: no such field in {count:,} of {records:,} records" for name, count in missed.items()]
