"""Whether a program's field labels match what it publishes: a misspelled one must not let a field go under another.

Guarantees: a record in which a required label matches no field is not published; the error names the labels and fields
with similar names, and no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.edge.publishing.drafts import Rules
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import FieldLabels, near_names
from fabric.protocol.vocabulary.tlp import Label

# Rules that are remembered as computed: a program has a few, for its sources.
_RULES_MAX = 1_024
# Of names that are shown: enough to find the slip.
_SHOWN_MAX = 5


class KnownLabels:
    """Rules as they were computed before."""

    def __init__(self) -> None:
        self._known: dict[tuple[Rules, Label], FieldLabels] = {}

    def of(self, rules: Rules, rest: Label) -> FieldLabels:
        """These, and `rest` for what they do not name."""
        labels = self._known.get((rules, rest))
        if labels is None:
            if len(self._known) >= _RULES_MAX:
                self._known.clear()
            labels = self._known[rules, rest] = FieldLabels(dict(rules), rest)
        return labels


class Labelling:
    """Any thread may ask."""

    def __init__(self) -> None:
        self._known = KnownLabels()
        self._last: tuple[Rules, FieldLabels] = ((), FieldLabels({}, Label.RED))

    def require(self, rules: Rules, record: Mapping[str, Any]) -> None:
        """Raises FabricError(UNMATCHED_LABEL) where a rule names no field of the record."""
        if not rules:
            return
        last, labels = self._last
        if rules is not last:  # mostly they are those of the record before: to look some up takes its time
            labels = self._known.of(rules, Label.RED)
            self._last = (rules, labels)
        unmatched = labels.unmatched(record)
        if unmatched:
            raise unmatched_error(unmatched, record)


def unmatched_error(names: list[str], record: Mapping[str, Any]) -> FabricError:
    """For these rules' names; `record` is one that they do not name a field of."""
    return FabricError(Code.UNMATCHED_LABEL, unmatched_words(names, record))


def unmatched_words(names: list[str], record: Mapping[str, Any]) -> str:
    """Each name, with those that may have been meant."""
    told = []
    for name in names[:_SHOWN_MAX]:
        near = near_names(name, record)
        told.append(f"{name} (there is {', '.join(near)})" if near else name)
    more = len(names) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
