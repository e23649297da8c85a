"""Stamps that were made before: a program says the same of nearly all that it publishes.

Guarantees: what is found is what would be made; what is equal to Python and not the same (1, True, Label.GREEN) is told
apart. What its program may change is read once, and copied: a stamp is remembered as of what it was made of. What is
not of the plain types is made anew each time, and so is refused as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from types import MappingProxyType
from typing import Any, Final

from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.drafts import NO_STAMP, Stamp
from fabric.edge.publishing.options import PublishOptions, publish_stamp
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

# Some 500 bytes each: a program has a few hundred topics, or one for each record.
STAMPS_MAX: Final = 1_024
# Rules beyond so many are looked at each time.
_RULES_MAX: Final = 64
_NONE: Final = type(None)
_KNOWN: Final = frozenset({str, int, Severity, Phase, Label, _NONE})
_MAPS: Final = frozenset({dict, MappingProxyType})
_COPIED: Final = object()  # in place of labels of which there is a copy


class Stamps:
    """`defaults` and `clearance`: of the identity. Any thread may ask."""

    def __init__(self, defaults: Defaults, clearance: Label) -> None:
        self._defaults = defaults
        self._clearance = clearance
        self._known: dict[tuple[Any, ...], Stamp] = {}
        self._last: tuple[Sequence[Any], Stamp] = ((), NO_STAMP)

    def of(self, topic: str, options: PublishOptions) -> Stamp:
        """As `publish_stamp` makes it. Raises what that raises."""
        given, said = _said(topic, options)
        last, stamp_of_last = self._last
        if len(said) == len(last) and all(map(is_, said, last)):  # mostly it is said in the same place of a program
            return stamp_of_last
        key = _key(topic, given)
        stamp = None if key is None else self._known.get(key)
        if stamp is None:
            stamp = publish_stamp(topic, self._defaults, self._clearance, **given)
            if key is not None:
                if len(self._known) >= STAMPS_MAX:
                    self._known.clear()
                self._known[key] = stamp
        if key is not None:  # nothing in it changes
            self._last = (said, stamp)
        return stamp


def _said(topic: object, options: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[Any]]:
    """The options with a copy of their labels; and how many options there are, followed by all that they say, one after
    the other. None of that can change, so where it is the same objects again, the same is said."""
    given = dict(options)
    labels: Any = given.get("labels")
    if type(labels) not in _MAPS:
        return given, (len(given), topic, *given, *given.values())
    labels, given["labels"] = dict(labels), _COPIED
    said = (len(given), topic, *given, *given.values(), *labels, *labels.values())
    given["labels"] = labels
    return given, said


def _key(topic: object, options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """All that decides, with its types; None where that is not of the plain ones."""
    if type(topic) is not str:
        return None
    key: list[Any] = [topic]
    for name, value in options.items():
        kind = type(value)
        if kind in _KNOWN:
            key += (name, kind, value)
        elif name == "labels" and kind in _MAPS and len(value) <= _RULES_MAX:
            kinds = list(map(type, value.values()))
            if not (_KNOWN.issuperset(kinds) and {str}.issuperset(map(type, value))):
                return None
            key += (name, len(kinds), *value, *kinds, *value.values())
        elif kind is Audience and all(map(_is_plain, (value.organisations, value.communities, value.recipients))):
            key += (name, value)
        else:
            return None
    return tuple(key)


def _is_plain(names: object) -> bool:
    return type(names) is tuple and {str}.issuperset(map(type, names))
