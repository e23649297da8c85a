"""What nodes of 0.1 said to each other, and what today's say to them: the same, as far as 0.1 can tell."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Reject
from fabric.protocol.links import links, liveness, node
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS
from tests.vectors import reader, record
from tests.vectors.played import TICK_MS
from tests.vectors.recording import Recording
from tests.vectors.replaying import PING, MismatchError, differs, replay
from tests.vectors.session import play

FOLDER = Path(__file__).parent / "conversation-0.1"
RECORDED = Recording.read(FOLDER)
FRAMES = {reader.name_of(raw): raw for _, _, raw in RECORDED.frames}
WIRE = [bytes.fromhex(v["hex"]) for kind in ("good", "hostile") for v in json.loads(
    (FOLDER.parent / "v1.json").read_text())[kind] if v["what"] == "frame"]


@pytest.mark.parametrize("name", RECORDED.people)
def test_today_says_to_a_peer_of_0_1_what_0_1_said(name):
    said = [raw for sender, _, raw in RECORDED.frames if sender == name and reader.name_of(raw) != PING]
    assert replay(RECORDED, name) == len(said)


def test_every_frame_of_0_1_is_in_it():
    assert set(FRAMES) == set(reader.NAMES.values())


@pytest.mark.skipif(PROTOCOL_VERSIONS[1] > 1, reason="two that speak more say more to each other")
def test_the_script_makes_it_anew(monkeypatch, tmp_path):
    """With the pace of 0.1: what is said again is said when a PING comes."""
    monkeypatch.setattr(liveness, "PING_MS", 2_000)
    monkeypatch.setattr(node, "_IDLE_TIMERS_MS", TICK_MS)
    play().write(tmp_path / "again")
    again = Recording.read(tmp_path / "again")
    assert again.people == RECORDED.people and len(again.turns) == len(RECORDED.turns)
    for then, now in zip(RECORDED.frames, again.frames, strict=True):
        assert now[:2] == then[:2] and not differs(then[2], now[2])


@pytest.mark.parametrize("arguments", [[], ["--new", str(FOLDER)]])
def test_nothing_recorded_is_overwritten(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["record", *arguments])
    with pytest.raises(SystemExit, match="frozen"):
        record.main()


def fields_of(raw):
    return unpack(raw, bytes_max=262_144, elements_max=8_192, depth_max=8)


def said_otherwise(monkeypatch, name, change):
    """What comes of it when today's code writes frames of this name so."""
    encode = links.encode_frame

    def changed(frame):
        fields = fields_of(encode(frame))
        return pack(change(fields)) if reader.NAMES[fields[0]] == name else pack(fields)

    monkeypatch.setattr(links, "encode_frame", changed)
    replay(RECORDED, next(sender for sender, _, raw in RECORDED.frames if reader.name_of(raw) == name))


def swapped(fields, one, other):
    fields[one], fields[other] = fields[other], fields[one]
    return fields


@pytest.mark.parametrize(("name", "change", "words"), [
    ("HELLO", lambda f: swapped(f, 6, 7), r"HELLO differs at \[6, 7\]"),
    ("HELLO", lambda f: [f[0], 2, 2, *f[3:]], r"HELLO differs at \[1\]"),
    ("REJECT", lambda f: [f[0], 101, *f[2:]], r"REJECT differs at \[1\]"),
    ("WELCOME", lambda f: f[:9], "cannot read it: WELCOME is too short"),
    ("WELCOME", lambda f: [f[0], 2, *f[2:]], r"WELCOME differs at \[1\]"),
    ("ACK", lambda f: [6, [bytes(16), *f[1][1:]]], r"ACK differs at \[1\]"),
    ("ACK", lambda f: [6, [*f[1], bytes(16)]], r"ACK differs at \[1\]"),
    ("NACK", lambda f: [7, [[e[0], 101, e[2]] for e in f[1]]], r"NACK differs at \[1\]"),
    ("CREDIT", lambda f: [8, [*f[1], 0]], "cannot read it: CREDIT: element 1"),
    ("DATA", lambda f: [5, f[1], f[2], [[*i[:5], 1] for i in f[3]]], r"DATA differs at \[3\]"),
    ("DATA", lambda f: [5, f[1], f[2], [[1 - i[0], *i[1:]] for i in f[3]]], r"DATA differs at \[3\]"),
    ("PONG", lambda f: [*f[:3], "later"], "cannot read it: PONG: element 3"),
    ("BYE", lambda f: [99, *f[1:]], "cannot read it: no frame of version 1"),
    ("PING", lambda f: [11, f[1] + 1], r"PING differs at \[1\]"),
])
def test_what_0_1_would_not_take_as_it_was_is_found(monkeypatch, name, change, words):
    with pytest.raises(MismatchError, match=words):
        said_otherwise(monkeypatch, name, change)


@pytest.mark.parametrize(("name", "change"), [
    ("HELLO", lambda f: [*f[:2], 9, *f[3:], "later", [1]]),
    ("REJECT", lambda f: [*f[:2], "in other words", *f[3:]]),
    ("WELCOME", lambda f: [*f, "later"]),
    ("DATA", lambda f: [5, f[1], f[2], [[*i, "later"] if len(i) == 6 else [*i, 0, "later"] for i in f[3]], "later"]),
    ("NACK", lambda f: [7, [[*e, "later"] for e in f[1]]]),
    ("ROUTES", lambda f: [*f, {"later": 1}]),
    ("PONG", lambda f: [*f, []] if len(f) == 3 else f),
    ("ACK", lambda f: [*f, {"later": 1}]),
])
def test_what_0_1_would_not_notice_may_be_said(monkeypatch, name, change):
    said_otherwise(monkeypatch, name, change)


def longer(raw):
    """As a later version may say it: more at the end of the frame, and of each entry of its lists."""
    fields = fields_of(raw)
    if fields[0] in (2, 12):
        fields += {2: [[]], 12: [[], None, 0]}[fields[0]][len(fields) - {2: 10, 12: 3}[fields[0]] :]
    if fields[0] in reader.ENTRIES:
        at, known = reader.ENTRIES[fields[0]]
        fields[at] = [[*entry, *[0] * (known - len(entry)), "later", [7]] for entry in fields[at]]
    return pack([*fields, "later", {"of": [2, {}]}])


@pytest.mark.parametrize("name", RECORDED.people)
def test_peers_that_say_more_are_answered_as_before(name):
    assert replay(RECORDED, name, longer)


def test_a_reader_of_0_1_and_today_s_read_the_same():
    """As long as today's speaks version 1 only; later it may read more, and 0.1 stays as it was."""
    assert PROTOCOL_VERSIONS[0] == 1
    for raw in WIRE:
        assert readable(raw) != isinstance(decode_frame(raw), Reject), raw.hex()


def readable(raw):
    try:
        reader.read(raw)
    except reader.UnreadableError:
        return False
    return True


VALUES = st.recursive(
    st.one_of(st.integers(-2, 2**54), st.binary(max_size=40), st.text(max_size=70), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=6), max_leaves=12,
)


@given(st.sampled_from(sorted(FRAMES)), st.integers(0, 11), VALUES)
@settings(max_examples=150, deadline=None)
def test_they_read_the_same_whatever_stands_in_a_frame(name, at, value):
    fields = fields_of(FRAMES[name])
    assume((name, min(at, len(fields))) != ("PONG", 5))  # today's reads what 0.1 ignored
    fields[at:at + 1] = [value]
    raw = pack(fields)
    assert readable(raw) != isinstance(decode_frame(raw), Reject)
