"""What people and programs give to the edge and the command line: text is read, or refused with an error of a code."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.options import publish_stamp, to_label, to_phase, to_severity, to_ttl_ms
from fabric.edge.publishing.snapshot import snapshot
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import FabricError, Reject
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.envelope.parts import build_parts
from fabric.protocol.vocabulary.arguments import check_args
from fabric.protocol.vocabulary.commands import both, read_command
from fabric.protocol.vocabulary.openc2 import (
    ActionSpec,
    action_covers,
    actions_meet,
    check_action_pattern,
    parse_action,
    read_spec,
)
from fabric.protocol.vocabulary.plain_json import parse_ijson
from fabric.protocol.vocabulary.selectors import Selector, narrows, parse_selector
from fabric.protocol.vocabulary.tlp import Label, parse_label
from fabric.protocol.vocabulary.topics import TopicIndex, check_pattern, check_topic, covers, matches
from relays.cli.actions.asked import parse_args
from relays.cli.edge.handling import answer_in
from relays.cli.messages.points import field_labels, parse_record
from relays.cli.shared.options import to_kinds, to_tags
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.fuzz.files import json_near
from tests.support import entropy

_DEFAULTS = Defaults(Label.AMBER, {"event": 60_000})
_ROOT = Path(__file__).parents[2]
_NODE = {"id": "fw-1", "role": "firewall", "segment": "ot-1", "organisation": "acme"}


def _words(*words: str) -> Callable[[Dice], bytes]:
    """Text made of these words, their damaged forms, and others."""

    def make(dice: Dice) -> bytes:
        count = dice.choice((1, 2, 3, 5, 9, 40))
        parts = [dice.choice(words) if not dice.one_in(5) else dice.text() for _ in range(count)]
        text = dice.choice(("", " ", " ", ".", ",")).join(parts)
        raw = text.encode(errors="replace")
        return dice.damaged(raw) if dice.one_in(3) else raw

    return make


def _text(raw: bytes) -> str:
    """As an argument comes to a program: what is not UTF-8 are lone surrogates."""
    return raw.decode(errors="surrogateescape")


def read_selector(raw: bytes) -> None:
    text = _text(raw)
    read = parse_selector(text)
    assert isinstance(read, Selector | Reject)
    if isinstance(read, Selector):
        read.matches(_NODE)
        read.matches({})
        assert narrows(text, text) or read.selects_nobody, "a selector is wider than itself"
    narrows(text, "role=firewall")
    narrows("role=firewall", text)


def read_topic(raw: bytes) -> None:
    text = _text(raw)
    if check_topic(text) is None:
        assert covers(">", text) and matches(">", text)
    if check_pattern(text) is None:
        index: TopicIndex[int] = TopicIndex()
        index.add(text, 1)
        assert covers(text, text)
        assert bool(index.match("detections.zeek.conn")) == matches(text, "detections.zeek.conn")
        index.discard(text, 1)
        assert not index.match("detections.zeek.conn")
    covers(text, "detections.>")
    with suppress(FabricError):
        publish_stamp(text, _DEFAULTS, severity="high", ttl="30s", label="green", labels={"a.b": "red"})


def read_duration(raw: bytes) -> None:
    text = _text(raw)
    with suppress(FabricError):
        ms = parse_duration(text)
        assert parse_duration(format_duration(ms)) == ms
    with suppress(FabricError):
        to_ttl_ms(text, Kind.EVENT, _DEFAULTS)


def read_words(raw: bytes) -> None:
    """Labels, severities, phases, tags, kinds."""
    text = _text(raw)
    for read in (to_label, to_severity, to_phase, lambda word: to_kinds([word]), lambda word: to_tags([word])):
        with suppress(FabricError):
            read(text)
    label = parse_label(text)
    assert label is None or parse_label(label.spelling) is label
    with suppress(FabricError):
        field_labels(text.split(" "))


def read_action(raw: bytes) -> None:
    action, _, target = _text(raw).partition(" ")
    read = parse_action(action, target)
    if isinstance(read, ActionSpec):
        assert check_topic(read.topic) is None, "an action's topic is none"
        assert parse_action(read.action, read.target.text) == read, "what was read is not read as itself"
        assert read_spec(read.action, read.target.to_json()) == read, "what is written is not read as itself"
        assert read.text.isprintable(), "what is shown could show something else"
    check_action_pattern(_text(raw))
    action_covers(_text(raw), "deny *")
    actions_meet("deny *", _text(raw))


_COMMANDS = tuple(
    example["command"] for example in json.loads((_ROOT / "tests" / "vectors" / "openc2.json").read_text())["commands"]
)


def command(dice: Dice) -> bytes:
    return json_near(dice, dice.choice(_COMMANDS))


def read_openc2(raw: bytes) -> None:
    """Of --openc2: as far as what is signed, and what an executor makes of that."""
    try:
        document = parse_ijson(_text(raw))
    except ValueError:
        return
    read = read_command(document)
    if isinstance(read, Reject):
        assert read.detail.isprintable(), "a fault is shown as what it is not"
        return
    assert isinstance(parse_selector(read.selector), Selector), "an actuator made a selector that is none"
    narrowed = parse_selector(both("role=firewall", read.selector))
    assert isinstance(narrowed, Reject) or not narrowed.matches({"role": "edr"}), "an actuator widened a selector"
    with suppress(FabricError):
        spec, written = request_arguments(read.action, read.target, read.selector or "all", read.args, read.id)
        assert read_spec(read.action, written["target"]) == spec and check_args(written["args"], spec) is None


def argument(dice: Dice) -> bytes:
    return b"name=" + json_near(dice, {"a": [1, "x", {"b": None}], "n": 5})


def read_argument(raw: bytes) -> None:
    """Of --arg."""
    with suppress(FabricError):
        parse_args([_text(raw)])


def record(dice: Dice) -> bytes:
    if dice.one_in(4):
        return json.dumps({dice.text(): "x" for _ in range(dice.randrange(2_000))}).encode()
    return json_near(dice, {"src_ip": "10.1.0.7", "nested": {"a": {"b": [1, 2.5, None]}}, "n": 12})


def read_record(raw: bytes) -> None:
    """A line for `send`, the text for `publish`, what a command prints: as far as its parts."""
    with suppress(FabricError):
        content = parse_record(raw, "line 1")
        snapshot(content)
        rules = {"src_ip": Label.RED, "nested.a": Label.GREEN, "nested.a.b": Label.AMBER}
        build_parts([content], FieldLabels(rules, Label.GREEN), Label.GREEN, entropy("record"))
    answer_in(raw)


_SELECTORS = _words("role", "=", "firewall", "and", "or", "not", "(", ")", "in", "!=", "*", "all", "'a b'", "id")
_TOPICS = _words("detections", "zeek", "conn", "*", ">", "intel", ".", "a")
_DURATIONS = _words("30", "s", "1h30m", "ms", "7d", "9" * 30, "-1", "0s")
_STAMPS = _words("TLP:", "amber", "+strict", "high", "TA0011", "delivery", "vendor=zeek", "point", "a=red")
_ACTIONS = _words(
    "deny", "scan", "ipv4_net=192.0.2.0/24", "file=/x", "mac_addr=", "x-a", "uri=a:b", "device=", "domain_name=a.b",
    "ipv4_connection=protocol=tcp,dst_port=1", "*", 'file={"hashes": {"md5": "', '"}}', "slpf:rule=1", "features=",
    "process=", '{"pid": 1, "parent": {', "properties=a,", "x-a=[1.0,", "artifact=",
)

TARGETS = (
    Bytes("selector", _SELECTORS, read_selector),
    Bytes("topic", _TOPICS, read_topic),
    Bytes("duration", _DURATIONS, read_duration),
    Bytes("words", _STAMPS, read_words),
    Bytes("action", _ACTIONS, read_action),
    Bytes("command", command, read_openc2),
    Bytes("argument", argument, read_argument),
    Bytes("record", record, read_record),
)
