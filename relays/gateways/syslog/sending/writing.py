r"""A message as one of syslog's (RFC 5424). Pure.

    <132>1 2026-11-29T10:00:00.000Z zeek-1 message-fabric - event [fabric@32473 id="..." topic="detections.zeek.conn"
    kind="event" severity="medium" phase="none" label="TLP:GREEN" tlp="TLP:AMBER" withheld="TLP:RED"] {"id": ...}

Guarantees: no message is longer than it may be, and none is cut within a field: the largest fields are left out, and
named in `cut`. `tlp` is the highest label that is in it; which field bears which is in its JSON, or in the element
`labels`, so that a copy keeps its markings: also of a field whose name no parameter can have, which is in JSON behind
them. Whom the message is for goes with it. Whatever a field holds cannot begin another message, or another field.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import label_fields
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.handing.texts import json_of, time_of
from relays.gateways.syslog.priority import number_of
from relays.gateways.syslog.sending.settings import FIELDS, Settings
from relays.terminal import json_text

_PARAM_NAME: Final = re.compile(r'[!#-<>-\\^-~]{1,32}')
_ESCAPED: Final = re.compile(r'(["\\\]])')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HOST_CHARS_MAX: Final = 255
_NAMES_SHOWN: Final = 10
_NAME_CHARS_MAX: Final = 64


def text_of(message: Message, settings: Settings) -> bytes:
    """Raises BAD_BODY for what no JSON can hold, TOO_LARGE for what is too long without any field."""
    text = _text(message, (), settings)
    if len(text) <= settings.message_max:
        return text
    sizes = {name: len(json_text({name: value})) for name, value in message.content.items()}
    names = sorted(sizes, key=lambda name: sizes[name])
    cut: list[str] = []
    over = len(text) - settings.message_max
    while names:
        while names and over > 0:
            cut.append(names.pop())
            over -= sizes[cut[-1]]
        text = _text(_without(message, cut), cut, settings)
        over = len(text) - settings.message_max
        if over <= 0:
            return text
    raise FabricError(
        Code.TOO_LARGE, f"{len(text):,} bytes without any field, and message_max is {settings.message_max:,}",
        "raise message_max, if the receiver takes more",
    )


def _without(message: Message, cut: list[str]) -> Message:
    gone = set(cut)
    content = {name: value for name, value in message.content.items() if name not in gone}
    # By the names of what is left: `id.orig_h` is also `orig_h` in `id`, and one of them may have been cut.
    left: dict[str, Label] = {}
    label_fields(content, Label.CLEAR, left)
    return replace(
        message, content=content, labels={name: label for name, label in message.labels.items() if name in left}
    )


def _text(message: Message, cut: tuple[str, ...] | list[str], settings: Settings) -> bytes:
    elements, rest = _stamp(message, cut, settings), ""
    if settings.format == FIELDS:
        content, odd = _sorted(message.content)
        labels = _Labels(message)
        elements += _fields(content, labels, settings)
        if odd:
            rest = json_text({
                "content": {name: value for name, (_, value) in odd.items()},
                "labels": {name: labels.of(own).short for name, (own, _) in odd.items()},
            })
    else:
        rest = json_of(message)
    priority = settings.facility * 8 + number_of(message.severity)
    at = time_of(message) or "-"
    head = f"<{priority}>1 {at} {message.origin[:_HOST_CHARS_MAX] or '-'} message-fabric - {message.kind}"
    return f"{head} {elements}{f' {rest}' if rest else ''}".encode("utf-8", "replace")


def _stamp(message: Message, cut: tuple[str, ...] | list[str], settings: Settings) -> str:
    stamp = {
        "id": message.id, "topic": message.topic, "kind": message.kind, "severity": message.severity.name.lower(),
        "phase": message.phase.name.lower().replace("_", "-"), "label": message.label.spelling,
        "tlp": message.highest_label.spelling,
    }
    if settings.format == FIELDS:  # else its JSON says it
        stamp |= _audience(message)
    if message.withheld:
        stamp["withheld"] = ", ".join(label.spelling for label in sorted(message.withheld))
    if cut:
        more = f" and {len(cut) - _NAMES_SHOWN} more" if len(cut) > _NAMES_SHOWN else ""
        stamp["cut"] = ", ".join(str(name)[:_NAME_CHARS_MAX] for name in cut[:_NAMES_SHOWN]) + more
    return _element("fabric", stamp, settings)


def _audience(message: Message) -> dict[str, str]:
    """Whom it is for, as far as somebody is named: what a label allows depends on that."""
    audience = message.audience
    named = {
        "organisations": audience.organisations, "communities": audience.communities,
        "recipients": audience.recipients,
    }
    return {part: ", ".join(names) for part, names in named.items() if names}


def _sorted(content: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, tuple[str, Any]]]:
    """Fields that can be structured data, and the others, with the names that they have in the message; `a.b` is one
    name for two where `a` has `b` beside it."""
    fields: dict[str, Any] = {}
    odd: dict[str, tuple[str, Any]] = {}
    for own, value in _flat(content):
        if _PARAM_NAME.fullmatch(own) and own not in fields:
            fields[own] = value
            continue
        name = own
        while name in odd or name in fields:
            name += " (again)"
        odd[name] = own, value
    return fields, odd


class _Labels:
    """Those of a message's fields, by their names: of an array the highest in it."""

    def __init__(self, message: Message) -> None:
        self.rest = message.label
        self._labels = message.labels
        self._names = sorted(message.labels)

    def of(self, name: str) -> Label:
        """Of a field and all that is in it."""
        begin, end = (bisect_left(self._names, f"{name}{after}") for after in "./")  # `/` is what follows on the dot
        inside = [self._labels[each] for each in self._names[begin:end]]
        own = self._labels.get(name)
        return max([*inside, *([] if own is None else [own])], default=self.rest)


def _fields(content: Mapping[str, Any], labels: _Labels, settings: Settings) -> str:
    text = _element("content", {name: _value(value) for name, value in content.items()}, settings) if content else ""
    above = {name: label.spelling for name in content if (label := labels.of(name)) > labels.rest}
    return text + (_element("labels", above, settings) if above else "")


def _element(name: str, params: Mapping[str, str], settings: Settings) -> str:
    written = "".join(f' {key}="{_escaped(value)}"' for key, value in params.items())
    return f"[{name}@{settings.enterprise}{written}]"


def _escaped(value: str) -> str:
    return _CONTROL.sub(lambda found: f"\\\\u{ord(found[0]):04x}", _ESCAPED.sub(r"\\\1", value))


def _flat(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by their names joined by dots. No message is nested deeply."""
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
