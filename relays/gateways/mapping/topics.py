"""On which topic a record is published: one, one of a table, or a template such as `detections.{vendor}.{kind}`.

Guarantees: a record fills the words that the declaration left open for it, and no others: whatever is in it (dots,
wildcards, path tricks), a field becomes exactly one word, or the record does not fit. The first word, which decides
whether something is an event or intel, never comes from a record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fabric.protocol.base.limits import TOPIC_BYTES_MAX
from fabric.protocol.vocabulary.topics import RESOLUTIONS, advice_on, check_topic
from relays.gateways.mapping.lookups import Lookup, Missing, read_lookup, word_of
from relays.gateways.mapping.paths import Path
from relays.gateways.mapping.paths import path_of as path_named
from relays.gateways.options import Options
from relays.wording import shown

_EXAMPLE: Final = '"detections.zeek.conn"'
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NOT_IN_A_WORD: Final = re.compile(r"[^A-Za-z0-9_-]+")
_WORD_CHARS_MAX: Final = 64
# Stands for a field while a template is checked as a topic.
_STAND_IN: Final = "x"


@dataclass(frozen=True)
class Template:
    """`pieces`: text and fields, in order. `default`: for a record that fills it not; empty where there is none."""

    pieces: tuple[str | Path, ...]
    default: str

    def of(self, record: dict[str, Any]) -> str | Path:
        """The topic, or the field that no word can be made of."""
        words = []
        for piece in self.pieces:
            word = piece if isinstance(piece, str) else topic_word(piece.value(record))
            if not word:
                assert isinstance(piece, Path)
                return self.default or piece
            words.append(word)
        topic = "".join(words)
        if len(topic) > TOPIC_BYTES_MAX:
            return self.default or next(piece for piece in self.pieces if isinstance(piece, Path))
        return topic

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of the topics that it can give."""
        text = "".join(piece if isinstance(piece, str) else "*" for piece in self.pieces)
        pattern = ".".join("*" if "*" in word else word for word in text.split("."))
        return (pattern, self.default) if self.default else (pattern,)


@dataclass(frozen=True)
class Chosen:
    """A topic for each value of a field."""

    lookup: Lookup[str]

    def of(self, record: dict[str, Any]) -> str | Path:
        """The topic, or the field that says none."""
        found = self.lookup.of(record)
        return self.lookup.path if isinstance(found, Missing) else found

    @property
    def patterns(self) -> tuple[str, ...]:
        """The topics that it can give."""
        return tuple(dict.fromkeys(self.lookup.results))


TopicRule = Template | Chosen


def topic_word(value: Any) -> str:
    """One word of a topic from what a record has: "Palo Alto" is Palo_Alto. Empty where none can be made of it."""
    text = word_of(value)
    if text is None or isinstance(value, bool):
        return ""
    word = _NOT_IN_A_WORD.sub("_", text).strip("_")
    return word if len(word) <= _WORD_CHARS_MAX else ""


def read_topic(options: Options) -> TopicRule:
    """What is declared; a topic of no use where that is at fault."""
    value = options.value("topic")
    unfit = Template(("unfit",), "")
    if isinstance(value, Mapping):
        if "template" in value:
            for name in value:
                if name not in ("template", "default"):
                    options.wrong(f"topic.{name}", f"there is no key '{name}' here", "use template, default")
            default = value.get("default", "")
            if "default" in value and _fixed(default) is None:
                options.wrong("topic.default", _cause(default), _advice(default))
            return _template(options, "topic.template", value["template"], default if isinstance(default, str) else "")
        found = read_lookup(options, "topic", lambda _: None, "a topic", f"write e.g. {_EXAMPLE}", _fixed)
        if found is not None and found.words is None:
            options.wrong("topic.table", "a field alone is no topic", 'write a template: "detections.{field}"')
        return unfit if found is None else Chosen(found)
    text = options.text("topic", needed=_EXAMPLE)
    return _template(options, "topic", text, "") if text else unfit


def _template(options: Options, key: str, text: Any, default: str) -> Template:
    unfit = Template(("unfit",), "")
    if not isinstance(text, str) or not text:
        options.wrong(key, f"text is expected, and {shown(text)} is none", f"write {key} = {_EXAMPLE}")
        return unfit
    pieces: list[str | Path] = []
    for number, piece in enumerate(_FIELD.split(text)):
        if number % 2 == 0:
            pieces += [piece] if piece else []
            continue
        path = path_named(piece)
        if path is None:
            options.wrong(key, f"{{{piece[:_WORD_CHARS_MAX]}}} names no field", 'write "detections.{vendor}"')
            return unfit
        pieces.append(path)
    plain = "".join(piece if isinstance(piece, str) else _STAND_IN for piece in pieces)
    problem = check_topic(plain)
    if problem is not None:
        options.wrong(key, _cause(text, plain), _advice(text), problem.code)
        return unfit
    first, dot, _ = "".join(piece if isinstance(piece, str) else "{" for piece in pieces).partition(".")
    if "{" in first:
        options.wrong(key, "a record would choose the first word of its topic", f'write it: "detections.{text}"')
    if first == RESOLUTIONS and dot:
        options.wrong(key, f"only relays publish below {RESOLUTIONS}", f"write e.g. {_EXAMPLE}")
    return Template(tuple(pieces), default)


def _fixed(value: Any) -> str | None:
    return value if isinstance(value, str) and check_topic(value) is None else None


def _cause(text: Any, checked: str = "") -> str:
    problem = check_topic(checked or text) if isinstance(text, str) else None
    return f"{shown(text)}: {problem.detail or problem.code.cause}" if problem else f"{shown(text)} is not a topic"


def _advice(text: Any) -> str:
    return (advice_on(text, is_topic=True) if isinstance(text, str) else "") or f"write e.g. {_EXAMPLE}"
