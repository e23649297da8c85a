"""What a record says of itself in a form that is known: OCSF by a `preset`, others by the kind of their source.

Guarantees: what it says raises the labels that are declared and lowers none, of the record and of each field in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label

Labels = Mapping[str, Label]


class Said(NamedTuple):
    """None where the record does not say it. `at`: in ms, or why it is not believed. `labels`: of fields, so that none
    is below one that it is in. `record`: what is published in its place. `notes`: as `Mapped` has them. `own`: it was
    given to the own organisation with a marking above GREEN, which lets that pass it on to nobody but its clients."""

    severity: Severity | None = None
    phase: Phase | None = None
    label: Label | None = None
    at: int | str | None = None
    labels: Labels = {}
    record: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    own: bool = False


# Of a record that a message can hold, and of the time, where it is known.
Preset = Callable[[dict[str, Any], int | None], Said]

NOTHING_SAID = Said()


def raised(declared: Labels, said: Labels, rest: Label) -> Labels:
    """Both, each field with the higher of its two labels. Of several that are declared on the way to a field the
    longest counts, as ever, and else `rest`; of those that the record says, all."""
    longest = FieldLabels(declared, rest)
    return {
        name: max([longest.label_of(name), *(said[above] for above in ways_to(name) if above in said)])
        for name in {**declared, **said}
    }


def ways_to(name: str) -> list[str]:
    """The names of all that a field is in, and its own."""
    steps = name.split(".")
    return [".".join(steps[:end]) for end in range(1, len(steps) + 1)]
