"""Whatever a message can hold, through every face of the command line: shown, and in JSON the same.

A value that the codec takes travels as one does, in parts of several labels that are merged again, and is then a
message, a gap marker, a result, a notice of a relay and a line of the demo.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import count
from types import SimpleNamespace

from fabric.edge.messages import Message, Outcome
from fabric.edge.receiving.notices import notice_of
from fabric.edge.requesting.request import Request
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import FabricError, Reject
from fabric.protocol.base.limits import BODY_BYTES_MAX, BODY_DEPTH_MAX, BODY_ELEMENTS_MAX
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.parts import build_parts, read_records
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.actions import course
from relays.cli.messages import notices, points
from relays.demo.show import Show
from relays.explaining import Hop, sample_of
from relays.terminal import Screen, json_text, say, say_json
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.support import entropy

_RULES = {"a": Label.AMBER, "a.b": Label.RED, "x.a": Label.GREEN, "A": Label.AMBER_STRICT, "1": Label.RED}
_KEYS = ("a", "b", "A", "a.b", "x", 1, "1", "base64", "since", "ended", "lost", "code", "topic", 2**63, -1)
_LABELS = (Label.CLEAR, Label.GREEN, Label.AMBER)
# Colours are this program's; all else that it writes is text and line ends.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def content(dice: Dice) -> bytes:
    depth = dice.often(lambda: BODY_DEPTH_MAX - 2, 2, 4)
    return pack({_key(dice): _value(dice, depth) for _ in range(dice.choice((0, 1, 3, 8)))})


def _key(dice: Dice) -> str | int:
    return dice.often(dice.text, *_KEYS)


def _value(dice: Dice, depth: int) -> object:
    kind = dice.randrange(4)
    if not depth or kind == 0:
        return dice.junk(0)
    if kind == 1:
        return [_value(dice, depth - 1) for _ in range(dice.randrange(3))]
    if kind == 2:
        return {_key(dice): _value(dice, depth - 1) for _ in range(dice.randrange(3))}
    return dice.junk()


def read_shown(raw: bytes) -> None:
    record = unpack(raw, bytes_max=BODY_BYTES_MAX, elements_max=BODY_ELEMENTS_MAX, depth_max=BODY_DEPTH_MAX - 1)
    if isinstance(record, Reject) or not isinstance(record, dict):
        return
    label = _LABELS[len(raw) % len(_LABELS)]
    rules = FieldLabels(_RULES, label)
    with suppress(FabricError):
        manifest, parts = build_parts([record], rules, label, entropy("shown"))
        (reading,) = read_records(SimpleNamespace(records=1, manifest=manifest), parts)
        same = pack(_sorted(reading.content)) == pack(_sorted(record))
        assert same, f"{reading.content} is not {record}"
        held = [None if entry.label > Label.AMBER else part for entry, part in zip(manifest, parts, strict=True)]
        (stripped,) = read_records(SimpleNamespace(records=1, manifest=manifest), held)
        for each in (reading, stripped):
            _show(Message(
                "00.0", "detections.x", "event", "zeek-1", Severity.LOW, Phase.NONE, label, 0, 1, 0, ("hq",),
                each.content, each.labels, each.withheld,
            ))
        stamp = SimpleNamespace(rules=tuple(_RULES.items()), label=label)
        fields = {field.name: field.label for field in sample_of(record, stamp, [Hop("hq", Label.RED)]).fields}
        assert fields == reading.labels, "`explain` says otherwise than the reader sees"


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _show(message: Message) -> None:
    """Each face once. What is printed is lines of printable text; JSON is the content again."""
    outcome = Outcome("fw-1", End.COMPLETED, "fw-1", 200, "", "", message.content, message.label, 3)
    request = Request("00")
    request.targets, request.outcomes = ("fw-1", "fw-2"), {"fw-1": outcome}
    gap = Message(*[getattr(message, name) if name != "kind" else "gap" for name in Message.__slots__])
    notice = notice_of(message)
    for write in (
        lambda: say_json(message.to_json()), lambda: say_json(outcome.to_json()), lambda: say_json(notice.to_json()),
    ):
        line = _output(write)
        assert line.isascii() and line.count("\n") == 1
        json.loads(line, parse_constant=_no_constant, object_pairs_hook=_once)
    told = json.loads(json_text(message.content))
    assert _same(message.content, told), f"{told} is not {message.content}"
    text = _output(lambda: _tell(message, gap, outcome, request))
    assert message.highest_label.spelling in text.split("\n", 1)[0]
    wild = [char for char in _COLOUR.sub("", text) if not (char.isprintable() or char == "\n")]
    assert not wild, f"{wild!r} is shown"


def _tell(message: Message, gap: Message, outcome: Outcome, request: Request) -> None:
    screen = Screen()
    points._show(screen, message)
    points._show(screen, gap)
    say(course.line_of(outcome), *notices.lines_of(notice_of(message)))
    screen.table(course.table_of(request, "deny x", 4e9))
    Show(screen, 0).sees("analyst-1", message)


def _output(write: object) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        write()  # type: ignore[operator]
    return shown.getvalue()


def _no_constant(text: str) -> object:
    raise AssertionError(f"{text} is no JSON")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key comes twice: two readers could take different ones"
    return found


def _same(value: object, told: object) -> bool:
    """Whether JSON says what the message holds, in the form that is documented."""
    if isinstance(value, dict):
        names = [_name(key, value) for key in value]
        return isinstance(told, dict) and list(told) == names and all(
            _same(item, told[name]) for name, item in zip(names, value.values(), strict=True)
        )
    if isinstance(value, list):
        return isinstance(told, list) and len(told) == len(value) and all(map(_same, value, told))
    if isinstance(value, bytes):
        return told == {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return told is None
    return type(told) is type(value) and told == value


def _name(key: object, among: dict[object, object]) -> str:
    names: Iterator[str] = (str(key) + " (number)" * n for n in count())
    return key if isinstance(key, str) else next(name for name in names if name not in among)


TARGETS = (Bytes("shown", content, read_shown, traced_every=sys.maxsize),)
