"""From messages to the objects of a bundle: what this reader may see of them, and nothing that points at the rest.

| withheld | goes, too |
|---|---|
| a field | what cannot be without it: an element of a list, an extension, one half of a pair |
| a field that the type has to have | the object |
| any field of an observable whose id was computed from its fields | the object |
| an object | relationships and sightings of it, and each reference to it: `created_by_ref`, one of `object_refs` |

Guarantees: an object that goes out is whole, and each field in it has a marking of TLP 2.0 that is no less than its
label: the object that of the message, a field above it one of its own. What TLP's ids mean is said by nobody else: a
definition that came under one is left out. Markings that are no TLP are kept, as far as what they are for is there.
What is above the reader's clearance as a whole never came, and nobody here knows of it: what refers to it stays, as its
own markings let it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from fabric.edge.messages import Message
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.stix.markings import DEFINITION, TLP_EXTENSION, field_of
from relays.gateways.stix.reading import OURS, fault_of_object, label_over
from relays.gateways.stix.requirements import is_whole, mended, without

# Ids of objects that were left out; of more the oldest are forgotten.
_GONE_MAX: Final = 100_000
_MARKING_OF: Final[Mapping[Label, str]] = {
    Label.CLEAR: f"{DEFINITION}--94868c89-83c2-464b-929b-a1a8aa3c8487",
    Label.GREEN: f"{DEFINITION}--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    Label.AMBER: f"{DEFINITION}--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    Label.AMBER_STRICT: f"{DEFINITION}--939a9414-2ddd-4d32-a0cd-375ea402b003",
    Label.RED: f"{DEFINITION}--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
_REWRITTEN: Final = (OURS, "object_marking_refs", "granular_markings")


class Out(NamedTuple):
    """`objects`: with the definitions of their labels. `not_stix`: messages that have no object; `left_out`: those of
    whose object not enough may be seen."""

    objects: list[dict[str, Any]]
    not_stix: int = 0
    left_out: int = 0


class Outgoing:
    """Of one reader: it remembers which objects it left out."""

    def __init__(self) -> None:
        self._gone: dict[str, None] = {}

    def of(self, messages: Iterable[Message]) -> Out:
        """Of one bundle. An object that came twice is in it once."""
        found: dict[tuple[str, str], tuple[Message, dict[str, Any]]] = {}
        not_stix = left_out = 0
        for message in messages:
            content = {name: value for name, value in message.content.items() if name not in _REWRITTEN}
            if message.withheld:
                content = mended(content)
            if fault_of_object(content) or (OURS not in message.content and not message.withheld):
                if message.withheld and OURS in message.content:
                    left_out += 1
                else:
                    not_stix += 1
                continue
            id_ = content["id"]
            if is_whole(content) and not (message.withheld and _is_computed(content)):
                self._gone.pop(id_, None)
                found[id_, str(content.get("modified"))] = (message, content)
            elif message.withheld:
                left_out += 1
                self._leave_out(id_)
            else:
                not_stix += 1
        objects, dependent = self._connected(found)
        return Out(objects, not_stix, left_out + dependent)

    def _connected(
        self, found: dict[tuple[str, str], tuple[Message, dict[str, Any]]]
    ) -> tuple[list[dict[str, Any]], int]:
        """Without references to what was left out, until none of them leaves out more."""
        count, before = len(found), -1
        while before != len(found):
            before = len(found)
            for key, (message, content) in list(found.items()):
                rest = without(content, self._gone.__contains__)
                found[key] = (message, rest)
                if not is_whole(rest):
                    del found[key]
                    self._leave_out(key[0])
        labels: set[Label] = set()
        objects = [self._marked(message, content, labels) for message, content in found.values()]
        definitions = [definition_of(label) for label in sorted(labels)]
        others = [each for each in objects if not (each["type"] == DEFINITION and parse_label(each["id"]) is not None)]
        return definitions + others, count - len(found)

    def _leave_out(self, id_: str) -> None:
        self._gone[id_] = None
        if len(self._gone) > _GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def _marked(self, message: Message, content: dict[str, Any], labels: set[Label]) -> dict[str, Any]:
        label = message.label
        above = _above(content, message.labels, label)
        labels |= {label, *above}
        refs = [_MARKING_OF[label], *self._own(message.content.get("object_marking_refs"))]
        granular = [
            {"marking_ref": _MARKING_OF[each], "selectors": selectors} for each, selectors in sorted(above.items())
        ]
        granular += self._own_granular(message, content)
        return {**content, "object_marking_refs": refs, **({"granular_markings": granular} if granular else {})}

    def _own(self, refs: Any) -> list[str]:
        """Markings of an object that are no TLP."""
        found = [ref for ref in refs if self._is_own(ref)] if isinstance(refs, list) else []
        return list(dict.fromkeys(found))

    def _is_own(self, ref: Any) -> bool:
        return (isinstance(ref, str) and ref.startswith(f"{DEFINITION}--") and parse_label(ref) is None
                and fault_of_object({"type": DEFINITION, "id": ref}) == "" and ref not in self._gone)

    def _own_granular(self, message: Message, content: Mapping[str, Any]) -> list[dict[str, Any]]:
        granular = message.content.get("granular_markings")
        kept: list[dict[str, Any]] = []
        for each in granular if isinstance(granular, list) else []:
            if not isinstance(each, dict):
                continue
            if not (self._is_own(each["marking_ref"]) if "marking_ref" in each else isinstance(each.get("lang"), str)):
                continue
            selectors = each.get("selectors")
            there = [
                selector for selector in (selectors if isinstance(selectors, list) else [])
                if isinstance(selector, str) and selects(content, selector)
                and not (message.withheld and field_of(selector) != selector)  # places in a list may have moved
            ]
            if there:
                kept.append({**each, "selectors": there})
        return kept


def _is_computed(content: Mapping[str, Any]) -> bool:
    """Whether the id of an observable follows from its properties (STIX 2.1, 2.9). Whoever sees it may try all values
    of one that is withheld: of an address there are four thousand million."""
    return "created" not in content and content["id"][-22:-21] == "5"


def definition_of(label: Label) -> dict[str, Any]:
    """That of TLP 2.0, as FIRST and OASIS publish it."""
    return {
        "type": DEFINITION, "spec_version": "2.1", "id": _MARKING_OF[label], "created": "2022-10-01T00:00:00.000Z",
        "name": label.spelling,
        "extensions": {TLP_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": label.short}},
    }


def selects(content: Any, selector: str) -> bool:
    """Whether there is what a selector is for."""
    at = content
    for step in selector.split("."):
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list) and step[:1] == "[" and step[-1:] == "]" and step[1:-1].isdecimal():
            number = step[1:-1]
            if len(number) > 9 or int(number) >= len(at):
                return False
            at = at[int(number)]
        else:
            return False
    return True


def _above(content: Mapping[str, Any], labels: Mapping[str, Label], rest: Label) -> dict[Label, list[str]]:
    """The properties that bear more than the rest, or have something in them that does. Of what is in one there is no
    marking of its own: the library that most who read STIX use refuses selectors into its elements."""
    found: dict[Label, list[str]] = {}
    for name in content:
        label = label_over(name, labels, rest)
        if label > rest:
            found.setdefault(label, []).append(name)
    return found
