"""What a declaration says of how STIX is read, for each kind of source that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.kinds import Option
from relays.gateways.options import Options
from relays.gateways.stix.markings import DEFINITION
from relays.wording import closest, shown

_NO_LABEL: Final = "none"
_WORDS: Final = tuple(label.short for label in Label)
_WRITE: Final = f"write one of {', '.join(_WORDS)}"
# As many as an organisation agrees on with all others.
_MARKINGS_MAX: Final = 1_024

OPTIONS: Final = (
    Option("unmarked", '"green"', "The label of objects that nothing marks (the identity's default)."),
    Option("markings", '{ "marking-definition--..." = "amber" }',
           'Labels of markings that are not TLP; "none" for one that is no label. Of others it is RED.'),
)


class StixSettings(NamedTuple):
    """`unmarked`: the label of objects that nothing marks; None is the identity's default. `markings`: by their ids,
    None for one that is no label."""

    unmarked: Label | None = None
    markings: Mapping[str, Label | None] = {}


def read_settings(options: Options) -> StixSettings:
    """Of `OPTIONS`."""
    unmarked = options.label("unmarked", Label.RED) if options.has("unmarked") else None
    table = options.table("markings")
    markings: dict[str, Label | None] = {}
    for id_, value in table.items():
        key = f"markings.{id_}"
        if not id_.startswith(f"{DEFINITION}--"):
            options.wrong(key, f"{shown(id_)} is no id of a marking", f'write "{DEFINITION}--..." = "amber"')
        elif parse_label(id_) is not None:
            options.wrong(key, "this is one of TLP's, and means what TLP says", "leave it out")
        else:
            markings[id_] = None if value == _NO_LABEL else _label(options, key, value)
    if len(table) > _MARKINGS_MAX:
        options.wrong("markings", f"there are more than {_MARKINGS_MAX:,}", "declare those that objects bear")
    return StixSettings(unmarked, markings)


def _label(options: Options, key: str, value: object) -> Label | None:
    label = parse_label(value) if isinstance(value, str) else None
    if label is None:
        options.wrong(key, f"{shown(value)} is not a TLP label", f"{_WRITE}{closest(value, _WORDS)}", Code.BAD_LABEL)
    return label
