"""A sample record, field by field: the label that each bears, and which relays on the way up may hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.labelling import unmatched_words
from fabric.protocol.envelope.field_labels import FieldLabels, label_fields
from fabric.protocol.vocabulary.tlp import Label
from relays.explaining.verdicts import Hop


class Field(NamedTuple):
    """`reaches`: the relays that get it, from the first one up; `stops_before`: the one that does not, or empty."""

    name: str
    label: Label
    reaches: tuple[str, ...]
    stops_before: str


class Sample(NamedTuple):
    """`unmatched`: field labels that name nothing in the record; `words`: with what may have been meant."""

    fields: tuple[Field, ...]
    unmatched: tuple[str, ...]
    words: str


def sample_of(record: Mapping[str, Any], stamp: Stamp, hops: Sequence[Hop]) -> Sample:
    """What of the record gets where. No value of it is in what is returned."""
    labels = FieldLabels(dict(stamp.rules), stamp.label)
    of: dict[str, Label] = {}
    for label, piece in labels.split(dict(record)).items():
        label_fields(piece, label, of)
    names: dict[str, Label] = {}
    label_fields(record, stamp.label, names)  # in the record's own order; a piece may hold places of an array only
    ways = {label: _way(label, hops) for label in dict.fromkeys(of.values())}
    fields = tuple(Field(name, of[name], *ways[of[name]]) for name in {**names, **of} if name in of)
    unmatched = labels.unmatched(record)
    return Sample(fields, tuple(unmatched), unmatched_words(unmatched, record))


def matched_rules(stamp: Stamp, record: Mapping[str, Any]) -> tuple[tuple[str, Label], ...]:
    """The stamp's field labels that name something in the record."""
    unmatched = FieldLabels(dict(stamp.rules), stamp.label).unmatched(record)
    return tuple(rule for rule in stamp.rules if rule[0] not in unmatched)


def _way(label: Label, hops: Sequence[Hop]) -> tuple[tuple[str, ...], str]:
    reached: list[str] = []
    for hop in hops:
        if hop.ends or label in hop.stripped:
            return tuple(reached), hop.relay
        reached.append(hop.relay)
    return tuple(reached), ""
