"""What syslog senders send: any bytes are a record, or messages in a stream, and in no time to speak of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from relays.gateways.syslog.cef import read_cef
from relays.gateways.syslog.framing import MESSAGE_MAX, Frame, Frames, of_datagram
from relays.gateways.syslog.leef import read_leef
from relays.gateways.syslog.reading import How, read_message
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes

_DAY = datetime(2026, 11, 29, 12, tzinfo=UTC)
_HEADS = (
    b"<34>Oct 11 22:14:15 mymachine su: ", b"<165>1 2003-10-11T22:14:15.003Z host app 8710 ID47 ", b"<13>", b"",
    b"<189>7662: rtr1: 000012: *Nov 23 22:23:27.921 NewYork: %SEC_LOGIN-5-LOGIN_SUCCESS: ",
    b"Sep 14 2016 09:33:47 ASA : %ASA-4-106023: ", b"<134>1 1563249630.774247 mx84 ", b"<999>", b"\xef\xbb\xbf<13>1 - ",
)
_BODIES = (
    b'[exampleSDID@32473 iut="3" eventSource="App\\"l\\]"][b x="1"] message', b'[action:"Accept"; flags:"4"; ] x',
    b"CEF:0|vendor|pro\\|duct|1.0|100|name|10|src=10.0.0.1 msg=a\\=b\\n cs1=5 cs1Label=rule",
    b"LEEF:2.0|Lancope|StealthWatch|1.0|41|x5E|src=10.0.1.8^dst=10.0.0.5^sev=5", b"LEEF:1.0|M|E|4|1|a=b\tc=d",
    b"plain text", b"\xff\xfe\0caf\xe9",
)
# What a reader might go over again and again.
_LONG = (
    b"a", b" ", b"\\", b"=", b"|", b" a", b" a=", b'[a x="', b"<", b"9", b"9 ", b"1: ", b"\0", b"\0x", b"\n", b'"',
    b"[a ", b"%A-",
)


def message(dice: Dice) -> bytes:
    if dice.one_in(12):
        return dice.choice(_HEADS) + dice.choice(_BODIES)[: dice.randrange(30)] + dice.choice(_LONG) * dice.choice(
            (100, 5_000, MESSAGE_MAX // 3)
        )
    raw = dice.choice(_HEADS) + dice.choice(_BODIES)
    return dice.damaged(raw) if dice.one_in(2) else raw


def stream(dice: Dice) -> bytes:
    """A first byte says how it is cut; then messages in any framing, and what is none."""
    parts = [dice.randbytes(1)]
    for _ in range(dice.randrange(8)):
        raw = message(dice)
        counts = (b"%d %s" % (len(raw), raw), b"%d %s" % (dice.natural(), raw))
        parts.append(dice.choice((raw + b"\n", raw + b"\0", *counts, raw)))
    data = b"".join(parts)
    return dice.damaged(data) if dice.one_in(3) else data


def _is_text(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            assert key, "a name of nothing"
            _is_text(key)
            _is_text(inner)
    elif isinstance(value, list):
        for inner in value:
            _is_text(inner)
    elif isinstance(value, str):
        value.encode()
    else:
        assert isinstance(value, int)


def read_syslog(raw: bytes) -> None:
    frame = of_datagram(raw) or Frame(b"")
    for fold in (False, True):
        record = read_message(frame.raw, How(_DAY, fold=fold), frame.marks)
        assert record["format"] in ("rfc5424", "rfc3164", "plain")
        _is_text(record)


def read_stream(raw: bytes) -> None:
    frames, step = Frames(), (1, 7, 1_000, 1 << 20)[(raw[0] if raw else 0) % 4]
    step = max(step, len(raw) // 4_000)
    size, at = 0, 1
    for at in range(1, len(raw), step):
        size += sum(len(frame.raw) for frame in frames.feed(raw[at : at + step]))
        assert frames.waiting <= MESSAGE_MAX + step + 16, "more is kept of a message than one may have"
    size += sum(len(frame.raw) for frame in frames.end())
    assert size <= max(0, len(raw) - 1), "more came out than was put in"


def read_formats(raw: bytes) -> None:
    text = raw.decode(errors="backslashreplace")
    for reader in (read_cef, read_leef):
        for name in ("CEF:", "LEEF:"):
            at = text.find(name)
            fields, flag = reader(text[max(0, at) :])
            assert fields is not None or flag
            _is_text(fields or {})


TARGETS = (
    Bytes("syslog", message, read_syslog),
    Bytes("syslog-stream", stream, read_stream),
    Bytes("cef-leef", message, read_formats),
)
