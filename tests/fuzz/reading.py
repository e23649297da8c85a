"""What somebody who reads over HTTP asks for, and a reader against a ring that moves under it."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import check_pattern
from relays.gateways.http.asked import read_asked
from relays.gateways.http.events import event, read_id
from relays.gateways.http.readers import Reader
from relays.gateways.http.ring import Item, Ring, Track
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes

_RUN = "0123456789abcdef"
_QUERIES = (
    b"topic=detections.>&topic=intel.*", b"last_event_id=" + _RUN.encode() + b"-12", b"topic=a%00b", b"topic=%ff%fe",
    b"topic=&topic", b"&&&=", b"topic=" + b"a." * 40, b"last_event_id=1&last_event_id=2", b"topic=a" * 100,
)
_IDS = (b"-1", b"-0", b"-99999999999999999999", b"--1", b"-01", "-\u0661".encode(), b"")


def query(dice: Dice) -> bytes:
    """Behind the first line feed: a header."""
    raw = dice.choice(_QUERIES) + b"\n" + _RUN.encode() + dice.choice(_IDS)
    return dice.damaged(raw) if dice.one_in(2) else raw


def read_query(raw: bytes) -> None:
    text, _, header = raw.decode("latin-1").partition("\n")
    pairs = parse_qsl(text, keep_blank_values=True)
    found = read_id(header)
    assert found is None or str(found) == header
    try:
        asked = read_asked(pairs, [header] if header else [])
    except FabricError as error:
        assert error.next_step and error.detail.isprintable()
        return
    assert all(check_pattern(topic) is None for topic in asked.topics)


def steps(dice: Dice) -> bytes:
    return dice.randbytes(dice.randrange(300))


def read_steps(raw: bytes) -> None:
    """Each byte is a message, a look, or that the reader comes again, perhaps with an id that is made up."""
    ring, track, lock = Ring(8, 1 << 14), Track(Label.GREEN), threading.Lock()
    token: Any = SimpleNamespace(name="t", changes=0)
    reader = Reader(token, ("a.*",), _RUN, track, lock, lambda: 0.0)
    wanted = [False]  # by number
    at, is_unknown = 0, False
    for byte in raw:
        if byte % 4 < 2:
            wanted.append(byte % 8 < 6)
            text = event("", {"n": len(wanted) - 1, "x": "\n" * byte})
            ring.add(Item("a.b" if wanted[-1] else "b", {Label.GREEN: text}), [track])
            continue
        if byte % 4 == 3:
            at = byte if byte % 8 == 3 else at
            is_unknown = at >= len(wanted)
            reader = Reader(token, ("a.*",), _RUN, track, lock, lambda: 0.0)
            reader.resume(read_id(f"{_RUN}-{at}"))
        found = []
        for one in filter(None, reader.take().decode().split("\n\n")):
            fields = dict(line.split(": ", 1) for line in one.split("\n"))
            data, number = json.loads(fields["data"]), int(fields["id"].rpartition("-")[2])
            if fields.get("event") == "gap":
                assert not found and data["missed"] == (None if is_unknown else number - at)
                at, is_unknown = number, False
            else:
                assert data["n"] == number, "an id is the number of its message"
                found.append(number)
        newest = len(wanted) - 1
        assert not is_unknown and not reader.is_behind and len(ring) <= 8
        assert found == [number for number in range(at + 1, newest + 1) if wanted[number]], "all, once, in order"
        at = newest


TARGETS = (Bytes("stream-query", query, read_query), Bytes("stream-steps", steps, read_steps))
