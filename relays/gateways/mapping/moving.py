"""Fields that are dropped, renamed or set: what a record looks like when it leaves.

Guarantees: a label stays with what bears it: a field that is renamed bears the label that it had, and so does each
field in it. Nothing else changes its label by that: where something of the new name is there already the field keeps
its old one, and that is said. Only what is dropped or set goes, and only what is set comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.mapping.lookups import read_path
from relays.gateways.mapping.paths import Path, Trail, cut, name_of, path_of, value_of
from relays.gateways.options import Options
from relays.reading.records import fault_of
from relays.wording import shown

Labels = Mapping[str, Label]

# Each is looked for in every record.
_MOVES_MAX: Final = 256


class Moved(NamedTuple):
    """`labels`: all that apply to `content`. `renamed`: (old, new). `kept`: what has its old name still, likewise."""

    content: dict[str, Any]
    labels: Labels
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Rename:
    path: Path
    new: str


@dataclass(frozen=True)
class Moves:
    """`labels`: of fields by the names that the source gives them."""

    drops: tuple[Path, ...]
    renames: tuple[_Rename, ...]
    sets: tuple[tuple[Path, Any], ...]
    labels: Labels

    def of(self, record: dict[str, Any]) -> Moved:
        """This record when it leaves; the record itself stays as it is."""
        if not (self.drops or self.renames or self.sets):
            return Moved(record, self.labels)
        dropped = []
        for path in self.drops:
            record, found = path.without(record)
            if found:
                dropped.append(path.text)
        labels = self.labels
        renamed: list[tuple[str, str]] = []
        kept: list[tuple[str, str]] = []
        for rename in self.renames:
            trail = rename.path.trail(record)
            if trail is None:
                continue
            own = self._labels_of(trail, rename.new)
            if _is_taken(record, {rename.new, *own}):
                kept.append((rename.path.text, rename.new))
                continue
            labels = {**labels, **own} if own else labels
            record = {**cut(trail), rename.new: value_of(trail)}
            renamed.append((rename.path.text, rename.new))
        for path, value in self.sets:
            record = {**path.without(record)[0], path.text: value}
        return Moved(record, labels, tuple(dropped), tuple(renamed), tuple(kept))

    def _labels_of(self, trail: Trail, new: str) -> dict[str, Label]:
        """What a field needs under its new name to bear the label that it has, and each field in it likewise."""
        if not self.labels:
            return {}
        alone: Any = None  # the field by itself, where it is: what bears its label bears no other
        for holder, key in reversed(trail):
            alone = {key: alone} if isinstance(holder, dict) else [alone]
        (low,) = FieldLabels(self.labels, Label.CLEAR).split(alone)
        (high,) = FieldLabels(self.labels, Label.RED).split(alone)
        own = {new: low} if low is high else {}  # else it bears that of the rest, under any name
        value = value_of(trail)
        if isinstance(value, dict | list):
            old = f"{name_of(trail)}."
            for name, label in self.labels.items():
                if name.startswith(old):
                    own[f"{new}.{name.removeprefix(old)}"] = label
        return own


def _is_taken(record: dict[str, Any], names: set[str]) -> bool:
    """Whether a label for one of these names would be one for a field that is there already."""
    return any(name in record for name in names) or bool(
        FieldLabels(dict.fromkeys(names, Label.RED), Label.CLEAR).matched(record)
    )


# -- declarations ---------------------------------------------------------------------------------------------


def read_moves(options: Options, labels: Labels) -> Moves:
    """`drop`, `rename` and `set`."""
    drops = [read_path(options, "drop", text) for text in options.texts("drop")]
    taken = dict.fromkeys((name for name in labels), "labels")
    renames: list[_Rename] = []
    new_names: list[str] = []
    table = options.table("rename")
    for old, new in table.items():
        key = f"rename.{old}"
        path = read_path(options, key, old)
        if path is None or (target := _new_path(options, key, new)) is None:
            continue
        for other in (*new_names, *table):
            if other == old and related(old, target.text):
                options.wrong(key, "the new name is the old one, or one is inside of the other", "write another name")
            elif other != old and related(other, target.text):
                options.wrong(key, f"{shown(target.text)} is {shown(other)}, or one is inside of the other",
                              "write a name that nothing else has")
                break
        for name in taken:
            if related(name, target.text):
                options.wrong(f"labels.{name}", f"no field is named so before {shown(old)} is renamed",
                              f'labels are for the names that the source gives: write "{old}" = ...')
        new_names.append(target.text)
        renames.append(_Rename(path, target.text))
    sets = []
    for name, value in options.table("set").items():
        path = _new_path(options, f"set.{name}", name)
        if path is not None and any(related(name, new) for new in new_names):
            options.wrong(f"set.{name}", "a field is renamed to this, or into it", "leave one of them out")
        if not isinstance(value, str | int | float) or fault_of({"set": value}):
            options.wrong(f"set.{name}", f"{shown(value)} is no text and no number", f'write {name} = "..."')
        elif path is not None:
            sets.append((path, value))
    if max(len(drops), len(renames), len(sets)) > _MOVES_MAX:
        options.wrong("", f"more than {_MOVES_MAX} fields are dropped, renamed or set", "drop whole objects instead")
    return Moves(tuple(path for path in drops if path is not None), tuple(renames), tuple(sets), labels)


def _new_path(options: Options, key: str, text: Any) -> Path | None:
    path = path_of(text) if isinstance(text, str) else None
    if path is None:
        options.wrong(key, f"{shown(text)} is no field's name", 'write e.g. "src_ip"')
    return path


def related(one: str, other: str) -> bool:
    """Whether both name one field, or one is inside of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
