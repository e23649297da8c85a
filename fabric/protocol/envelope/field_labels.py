"""Which label each field of a record bears (SPEC 3.3): a record is taken apart by label, and put together again.

Guarantees: a field is in exactly one piece, that of its label, also in an array of objects; merging gives the record
again, as far as its pieces are there; the caller's record is not changed. `unmatched` finds rules that match no field
of a record, so that a misspelled name is noticed before something leaves under the wrong label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby, islice
from typing import Any, NamedTuple

from fabric.protocol.base.codec import PLAIN_TYPES, TEXT
from fabric.protocol.base.limits import BODY_DEPTH_MAX
from fabric.protocol.vocabulary.tlp import Label

Record = dict[str, Any]

# Names that are compared with one that is not there, and shown of those: a person looks for a slip, not for a schema.
_COMPARED_MAX = 1_000
_NEAR_MAX = 3
_NAME_CHARS_MAX = 64
_DOTTED_MAX = 256
_ALIKE = 0.7
# Records of one source have a few sets of keys: of so many it is remembered where each key goes, if they are short.
# To find that out takes longer than to take one record apart: it is done for keys that come again. Where there are more
# of these than have a place, those that are remembered stay until so many records of others came.
_PLANS_MAX = 64
_ONCE_MAX = 256
_UNPLANNED_MAX = 1_024
_PLAN_KEYS_MAX = 256
_PLAN_CHARS_MAX = 8_192


class _Place:
    """Where the rules have come to: the one that ends here, and the names that go on."""

    __slots__ = ("_dotted", "below", "label", "rule")

    def __init__(self) -> None:
        self.rule = ""
        self.label: Label | None = None
        self.below: dict[str, _Place] = {}
        self._dotted: dict[str, _Place | None] = {}  # where keys with dots lead: records of one kind have the same

    def at(self, name: str) -> _Place:
        """The place that a rule names from here; it is made when it is not there."""
        place = self
        for step in name.split("."):
            place = place.below.setdefault(step, _Place())
        return place

    def find(self, key: object) -> _Place | None:
        """Where a key of a record leads, if any rule goes there. A key with dots is so many names."""
        name = key if isinstance(key, str) else str(key)
        if "." not in name:
            return self.below.get(name)
        if name in self._dotted:
            return self._dotted[name]
        place: _Place | None = self
        for step in name.split("."):
            place = place.below.get(step) if place is not None else None
        if len(self._dotted) < _DOTTED_MAX and len(name) <= _NAME_CHARS_MAX:
            self._dotted[name] = place
        return place


# From records, all with the same keys, to one piece of each.
_Take = Callable[[Sequence[Record]], list[Record]]


class _Plan(NamedTuple):
    """What follows from the keys of records alone: what takes each piece out of them, in the order of `labels`.

    `inner`: keys into whose values rules lead, if there is more in them than a plain value.
    """

    takes: tuple[_Take, ...]
    inner: tuple[str, ...]

    def fits(self, records: Sequence[Record]) -> bool:
        return not self.inner or PLAIN_TYPES.issuperset([type(record[key]) for record in records for key in self.inner])


class FieldLabels:
    """`rules`: name -> label; `*` and `rest` are of every field that no rule names.

    A rule names every field whose keys from the record down, joined by dots, are its name: `id.orig_h` is the key
    `id.orig_h`, and `orig_h` in the object `id`. An array on the way adds nothing: `hosts.ip` is `ip` in every object
    of `hosts`. Capital letters and small ones differ. Of two rules on the way to a field the longer one decides; a rule
    for an object is for all that is in it.
    """

    __slots__ = ("_named", "_once", "_plans", "_root", "_unplanned", "labels", "names", "rest")

    def __init__(self, rules: Mapping[str, Label], rest: Label) -> None:
        self.rest = rules.get("*", rest)
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        self._once: set[int] = set()  # hashes: where two sets share one, a plan is made too early, and is right
        self._unplanned = 0  # records whose keys came again and had no place, since there last was one
        self._root = _Place()
        named = {name: label for name, label in rules.items() if name != "*"}
        for name, label in named.items():
            place = self._root.at(name)
            place.rule, place.label = name, label
        self.names = tuple(named)
        self._named = frozenset(named)
        self.labels = tuple(sorted({*named.values(), self.rest}))

    def split(self, record: Record) -> dict[Label, Record]:
        """{label: the fields of the record that bear it}; labels without a field are absent."""
        return _pieces_of_map(record, self._root, self.rest, 1) if self._root.below else {self.rest: record}

    def rows(self, records: Sequence[Record], shared: tuple[str, ...] | None = None) -> dict[Label, list[Record]]:
        """{label: of each record the fields that bear it}, for each of `labels`; an empty map where none does.

        `shared`: the keys of all of them, where it is known that they have the same.
        """
        if not self._root.below:
            return {self.rest: list(records)}
        rows: dict[Label, list[Record]] = {label: [] for label in self.labels}
        columns = list(rows.values())
        groups = groupby(records, tuple) if shared is None else [(shared, records)]
        for keys, group in groups:
            alike = list(group)
            plan = self._plans.get(keys)
            if plan is None and (self._came_before(keys) or len(alike) > 1) and self._has_place(len(alike)):
                plan = self._plan(keys)
            if plan is not None and plan.fits(alike):
                for column, take in zip(columns, plan.takes, strict=True):
                    column += take(alike)
                continue
            for record in alike:
                pieces = self.split(record)
                for label, column in rows.items():
                    column.append(pieces.get(label, {}))
        return rows

    def _came_before(self, keys: tuple[Any, ...]) -> bool:
        """Whether a record with these keys did, not long ago. From now on one did."""
        number = hash(keys)
        if number in self._once:
            return True
        if len(self._once) >= _ONCE_MAX:
            self._once.clear()
        self._once.add(number)
        return False

    def _has_place(self, records: int) -> bool:
        """For what is to be remembered of the keys of so many."""
        if len(self._plans) >= _PLANS_MAX:
            self._unplanned += records
            if self._unplanned <= _UNPLANNED_MAX:
                return False
            self._plans.clear()
            self._unplanned = 0
        return True

    def _plan(self, keys: tuple[Any, ...]) -> _Plan | None:
        """Where the keys of a record go, in their order; None where that is not remembered."""
        # Exact types: True is the same key as 1 to Python, and is to be refused.
        if len(keys) > _PLAN_KEYS_MAX or not TEXT.issuperset(map(type, keys)) or len("".join(keys)) > _PLAN_CHARS_MAX:
            return None
        pieces = _pieces_of_map(dict.fromkeys(keys), self._root, self.rest, 1)
        inner = []
        for key in keys:
            place = self._root.find(key)
            if place is not None and place.below:
                inner.append(key)
        takes = tuple([_taking(tuple(pieces.get(label, ())), keys) for label in self.labels])
        plan = self._plans[keys] = _Plan(takes, tuple(inner))
        return plan

    def label_of(self, name: str) -> Label:
        """Of a field by its name, as readers get it."""
        label, place = self.rest, self._root
        for step in name.split("."):
            below = place.below.get(step)
            if below is None:
                return label
            place = below
            label = label if place.label is None else place.label
        return label

    def matched(self, record: Mapping[str, Any]) -> set[str]:
        """The rules that name a field of this record. An empty array on the way has nothing that they could miss."""
        found: set[str] = set()
        _find(record, self._root, found, 1)
        return found

    def unmatched(self, record: Mapping[str, Any]) -> list[str]:
        """The rules that name none."""
        if record.keys() >= self._named:  # mostly: a rule names the key that is its name
            return []
        left = [name for name in self.names if name not in record]
        found = self.matched(record) if left else ()
        return [name for name in left if name not in found]


def _taking(own: tuple[str, ...], keys: tuple[str, ...]) -> _Take:
    """What takes its own fields, in this order, out of records with these keys."""
    mine = set(own) if 2 * len(own) >= len(keys) else set()  # of keys there may be hundreds, of labels several
    if not mine or own != tuple([key for key in keys if key in mine]):
        return lambda records: [{key: record[key] for key in own} for record in records]
    others = [key for key in keys if key not in mine]

    def all_but_others(records: Sequence[Record]) -> list[Record]:
        pieces = list(map(dict, records))
        for key in others:
            for piece in pieces:
                del piece[key]
        return pieces

    return all_but_others


def _pieces_of(value: Any, place: _Place, label: Label, depth: int) -> dict[Label, Any]:
    """A value by label, where rules lead into it. Deeper than a message may be nothing is looked for."""
    if depth <= BODY_DEPTH_MAX and value:
        if isinstance(value, dict):
            return _pieces_of_map(value, place, label, depth)
        if isinstance(value, list | tuple):
            return _pieces_of_array(value, place, label, depth)
    return {label: value}


def _pieces_of_map(value: dict[Any, Any], place: _Place, label: Label, depth: int) -> dict[Label, Any]:
    # A piece begins with its first field: an empty map would tell that there was something in it.
    pieces: dict[Label, Any] = {}
    plain: dict[Any, Any] = {}  # what no rule is about: nearly all of it
    names = place.below
    for key, item in value.items():
        below = names.get(key)
        if below is None and (type(key) is not str or "." in key):
            below = place.find(key)
        if below is None:
            plain[key] = item
            continue
        own = label if below.label is None else below.label
        if below.below:
            for of, piece in _pieces_of(item, below, own, depth + 1).items():
                pieces.setdefault(of, {})[key] = piece
        else:
            pieces.setdefault(own, {})[key] = item
    if plain:
        pieces[label] = plain | pieces.get(label, {})
    return pieces


def _pieces_of_array(value: Sequence[Any], place: _Place, label: Label, depth: int) -> dict[Label, Any]:
    # An element keeps its place in each piece; where it has nothing there is an empty map, and none at the end.
    pieces: dict[Label, list[Any]] = {}
    for number, item in enumerate(value):
        for of, piece in _pieces_of(item, place, label, depth + 1).items():
            array = pieces.setdefault(of, [])
            array.extend({} for _ in range(number - len(array)))
            array.append(piece)
    return dict(pieces)


def _find(value: Any, place: _Place, found: set[str], depth: int) -> None:
    if depth > BODY_DEPTH_MAX:
        return
    if isinstance(value, list | tuple):
        for item in value:
            _find(item, place, found, depth + 1)
        if not value:
            found.update(end.rule for end in _ends(place))
    elif isinstance(value, Mapping):
        keys = [name for name in place.below if name in value]
        keys += [key for key in value if type(key) is not str or "." in key]
        for key in keys:
            below = place.find(key)
            if below is None:
                continue
            if below.label is not None:
                found.add(below.rule)
            if below.below:
                _find(value[key], below, found, depth + 1)


def _ends(place: _Place) -> Iterator[_Place]:
    """Every place at which a rule ends, here and below, in the order of the rules. No rule is deep enough to matter."""
    waiting = [place]
    while waiting:
        at = waiting.pop()
        if at.label is not None:
            yield at
        waiting.extend(reversed(at.below.values()))


# -- names ----------------------------------------------------------------------------------------------------


def label_fields(record: Mapping[Any, Any], label: Label, into: dict[str, Label]) -> None:
    """Put the name of every field into `into`, joined with those above it as rules have it, with this label.

    Of a name that is there already the highest label stays. What is deeper than a message may be has no names of its
    own.
    """
    for key, value in record.items():
        name = key if type(key) is str else str(key)
        if type(value) in PLAIN_TYPES:  # nearly all
            if name not in into or into[name] < label:
                into[name] = label
        else:
            _label_value(value, name, label, into, 2)


def _label_value(value: Any, name: str, label: Label, into: dict[str, Label], depth: int) -> None:
    if value and depth <= BODY_DEPTH_MAX:
        if isinstance(value, Mapping):
            for key, item in value.items():
                _label_value(item, f"{name}.{key}", label, into, depth + 1)
            return
        if isinstance(value, list | tuple) and not _label_array(value, name, label, into, depth):
            return
    into[name] = max(label, into.get(name, label))


def _label_array(value: Sequence[Any], name: str, label: Label, into: dict[str, Label], depth: int) -> bool:
    """The fields in its elements. Whether the array is a field itself: one of its elements is a plain value, or none
    has anything in it. An empty map among them only holds the place of what another piece has."""
    has_fields = has_values = False
    for item in value:
        if item and isinstance(item, Mapping | list | tuple):
            _label_value(item, name, label, into, depth + 1)
            has_fields = True
        else:
            has_values = has_values or item != {}
    return has_values or not has_fields


def near_names(name: str, record: Mapping[str, Any]) -> list[str]:
    """Fields whose names are much like this one: other capitals, other marks between words, a letter too many."""
    names: dict[str, list[str]] = {}
    fields: dict[str, Label] = {}
    label_fields(record, Label.CLEAR, fields)
    for known in islice(fields, _COMPARED_MAX):
        names.setdefault(_plain(known), []).append(known[:_NAME_CHARS_MAX])
    wanted = _plain(name[:_NAME_CHARS_MAX])
    near = get_close_matches(wanted, [known[:_NAME_CHARS_MAX] for known in names], _NEAR_MAX, _ALIKE)
    ends = [known for known in names if known.rpartition(" ")[2] == wanted.rpartition(" ")[2]]
    found = dict.fromkeys(each for known in (*near, *ends) for each in names.get(known, ()))
    return list(found)[:_NEAR_MAX]


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() else " " for char in name.casefold())


# -- together again -------------------------------------------------------------------------------------------


def merge(target: Record, source: Record) -> None:
    """Put the fields of one piece of a record into another: maps by key, arrays by place."""
    if not target:
        target.update(source)
        return
    for key, value in source.items():
        target[key] = _merged(target[key], value) if key in target else value


def _merged(there: Any, comes: Any) -> Any:
    if isinstance(there, dict) and isinstance(comes, dict):
        merge(there, comes)
        return there
    if isinstance(there, list) and isinstance(comes, list):
        for number, item in enumerate(comes[: len(there)]):
            # An empty map holds the place of an element that the other piece has.
            if item != {}:
                there[number] = item if there[number] == {} else _merged(there[number], item)
        there.extend(comes[len(there) :])
        return there
    return comes
