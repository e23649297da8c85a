"""Which labels an object's markings are: those of the whole object, and those of fields of it.

| marking | label |
|---|---|
| TLP 2.0 and TLP 1 by their ids | that one |
| a definition with a TLP: `definition_type` "tlp", the extension of TLP 2.0, or as OpenCTI writes it | that one |
| a statement | none: it says what may be done, and not who may see it |
| what is declared for the source (`markings`) | that one |
| any other, and one whose definition is not there | RED, counted |

A declared audience is not for an object with a marking above GREEN: it was given to this organisation.

Guarantees: of several the most restrictive wins, also of two definitions with one id. What cannot be read as a marking
counts as RED, and what cannot be read as a selector is the whole object. Definitions are never followed, so they may
mark themselves and each other as they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.mapping.said import Labels, ways_to

DEFINITION: Final = "marking-definition"
TLP_EXTENSION: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
# Beyond it no more are learned: what they mark is RED.
DEFINITIONS_MAX: Final = 10_000
# Of fields of one object; of more the whole object bears the highest.
_RULES_MAX: Final = 256
_SELECTOR_CHARS_MAX: Final = 256
_STEPS_MAX: Final = 16
# Its type is in the topic of every object, and what there has to be in it depends on its version.
_OF_ALL: Final = ("type", "spec_version")
_INDEX: Final = re.compile(r"\[[0-9]+\]")


class Marked(NamedTuple):
    """`label`: of the object; None where nothing says one. `labels`: of fields, none below one that it is in.
    `unknown`: of its markings somebody knows not all. `least`: what some of them, which are of all fields, raise the
    object to, whatever its label is."""

    label: Label | None
    labels: Labels
    unknown: bool = False
    least: Label | None = None


class _Meaning(NamedTuple):
    """`label`: None for a marking that is none."""

    label: Label | None
    known: bool = True


_UNKNOWN: Final = _Meaning(Label.RED, known=False)


def _higher(one: Label | None, other: Label | None) -> Label | None:
    return max((label for label in (one, other) if label is not None), default=None)


class Markings:
    """`declared`: markings that the source's declaration knows; None for one that is no label."""

    def __init__(self, declared: Mapping[str, Label | None]) -> None:
        self._declared = declared
        self._learned: dict[str, _Meaning] = {}

    def learn(self, objects: Iterable[Any]) -> None:
        """The definitions among these: for a whole bundle before any object of it is read."""
        for each in objects:
            if isinstance(each, dict) and each.get("type") == DEFINITION and isinstance(each.get("id"), str):
                self._learn(each["id"], _meaning_of(each))

    def _learn(self, id_: str, meaning: _Meaning) -> None:
        known = self._learned.get(id_)
        if known is None:
            if len(self._learned) < DEFINITIONS_MAX:
                self._learned[id_] = meaning
        else:
            self._learned[id_] = _Meaning(_higher(known.label, meaning.label), known.known and meaning.known)

    def of(self, each: Mapping[str, Any]) -> Marked:
        """Of an object, whatever is in it."""
        reading = _Reading(self)
        reading.whole(each.get("object_marking_refs"))
        granular = each.get("granular_markings")
        if granular is not None:
            reading.fields(granular)
        return reading.marked()

    def meaning(self, ref: str) -> _Meaning:
        """Of a marking."""
        if ref in self._declared:
            return _Meaning(self._declared[ref])
        label = parse_label(ref) if ref.startswith(f"{DEFINITION}--") else None
        return self._learned.get(ref, _UNKNOWN) if label is None else _Meaning(label)


class _Reading:
    """What one object's markings come to."""

    def __init__(self, markings: Markings) -> None:
        self._markings = markings
        self._label: Label | None = None
        self._least: Label | None = None
        self._labels: dict[str, Label] = {}
        self._selected: set[str] = set()  # by any marking, so also by a statement
        self._unknown = False

    def whole(self, refs: Any) -> None:
        """`object_marking_refs`."""
        for ref in [] if refs is None else refs if isinstance(refs, list) else [refs]:
            self._label = _higher(self._label, self._known(ref))

    def fields(self, granular: Any) -> None:
        """`granular_markings`."""
        for each in granular if isinstance(granular, list) else [granular]:
            if not isinstance(each, dict):
                self._least = _higher(self._least, self._known(each))
                continue
            ref = each.get("marking_ref")
            label = None if ref is None and "lang" in each else self._known(ref)
            selectors = each.get("selectors")
            for selector in selectors if isinstance(selectors, list) and selectors else [None]:
                self._field(selector, label)

    def _field(self, selector: Any, label: Label | None) -> None:
        name = field_of(selector) if isinstance(selector, str) else None
        if name is None or name in _OF_ALL:
            self._least = _higher(self._least, label)
        elif name in self._selected or len(self._selected) < _RULES_MAX:
            self._selected.add(name)
            if label is not None:
                self._labels[name] = max(label, self._labels.get(name, label))
        else:
            self._least = _higher(self._least, label)

    def _known(self, ref: Any) -> Label | None:
        meaning = self._markings.meaning(ref) if isinstance(ref, str) else _UNKNOWN
        self._unknown = self._unknown or not meaning.known
        return meaning.label

    def marked(self) -> Marked:
        """All of it. Who sees `granular_markings` sees which fields there are, so it bears the labels of all those."""
        least = _higher(self._label, self._least) or Label.CLEAR
        labels = {
            name: max([least, *(self._labels[above] for above in ways_to(name) if above in self._labels)])
            for name in self._labels
        }
        if labels:
            labels["granular_markings"] = max(labels.values())
        above = {name: label for name, label in labels.items() if label > least}
        return Marked(self._label, above, self._unknown, self._least)


def field_of(selector: str) -> str | None:
    """The field that a selector is for, as field labels name it: an index of a list adds nothing, so that of a list all
    bears what one element of it does. None for what is no selector."""
    if len(selector) > _SELECTOR_CHARS_MAX:
        return None
    steps = [step for step in selector.split(".") if not _INDEX.fullmatch(step)]
    if not steps or not all(steps) or len(steps) > _STEPS_MAX or steps == ["*"] or selector[0] == "[":
        return None
    return ".".join(steps)


def _meaning_of(each: Mapping[str, Any]) -> _Meaning:
    """Of a definition."""
    found: list[Label | None] = []
    extensions = each.get("extensions")
    extension = extensions.get(TLP_EXTENSION) if isinstance(extensions, dict) else None
    if extension is not None:
        found.append(_spelt(extension.get("tlp_2_0") if isinstance(extension, dict) else None))
    definition = each.get("definition")
    text = definition if isinstance(definition, dict) else {}
    kind = each.get("definition_type")
    kind = kind.lower() if isinstance(kind, str) else None
    if kind == "tlp":
        found.append(_spelt(text.get("tlp")))
    if each.get("x_opencti_definition_type") == "TLP":
        found.append(_spelt(each.get("x_opencti_definition")))
    if kind == "statement":
        statement = text.get("statement")
        found.append(parse_label(statement) if isinstance(statement, str) else None)  # "TLP:AMBER+STRICT"
    if not found:
        return _UNKNOWN
    return _Meaning(max((label for label in found if label is not None), default=None))


def _spelt(text: Any) -> Label:
    label = parse_label(text) if isinstance(text, str) else None
    return Label.RED if label is None else label
