"""What brokers answer to sinks, what proves who these are, and messages that become others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from fabric.documents import parse_object
from fabric.protocol.base.errors import FabricError
from fabric.protocol.envelope.field_labels import label_fields
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.narrowing import narrowed
from relays.gateways.nats.acks import error_in
from relays.gateways.nats.keys import credentials_in, key_of
from relays.gateways.options import Options
from relays.gateways.syslog.reading import How, read_message
from relays.gateways.syslog.sending.settings import read_settings
from relays.gateways.syslog.sending.writing import text_of
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.fuzz.files import json_near
from tests.unit.gateways.support import message

_ACKS = ({"stream": "FABRIC", "seq": 7, "duplicate": True}, {"error": {"code": 503, "err_code": 10077}}, {"seq": "7"})
_SEED = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU"
_CREDENTIALS = f"-----BEGIN NATS USER JWT-----\nabc\n-----BEGIN USER NKEY SEED-----\n{_SEED}\n".encode()
_SETTINGS = [
    read_settings(Options({"to": "udp://127.0.0.1:514", "format": form, "message_max": "1KB"}))
    for form in ("json", "fields")
]
_HOW = How(datetime(2026, 11, 29, tzinfo=UTC))
_CONTENT = {"src": "10.1.0.7", "a": {"b": [{"c": "x\n]\"\\"}, 1], "": None}, "long": "y" * 900, "[x@1 y=\"": 1.5}


def answer(dice: Dice) -> bytes:
    return json_near(dice, dice.choice(_ACKS))


def key(dice: Dice) -> bytes:
    raw = dice.choice((_CREDENTIALS, _SEED.encode()))
    return dice.damaged(raw) if dice.one_in(2) else raw


def content(dice: Dice) -> bytes:
    return json_near(dice, _CONTENT)


def read_answer(raw: bytes) -> None:
    number = error_in("", raw, "X")
    assert number is None or isinstance(number, int)


def read_key(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    with suppress(FabricError):
        assert key_of(text, "x").public.startswith("U")
    with suppress(FabricError):
        assert credentials_in(text, "x")[0]


def written(raw: bytes) -> None:
    """A message with this content, as syslog and for those who are cleared for less."""
    try:
        fields = parse_object(raw)
    except ValueError:
        return
    labels: dict[str, Label] = {}
    label_fields(fields, Label.AMBER, labels)
    label_fields({"src": 1}, Label.RED, labels)
    one = replace(message(1), content=fields, labels=labels)
    for settings in _SETTINGS:
        with suppress(FabricError):
            text = text_of(one, settings)
            record = read_message(text, _HOW)
            assert len(text) <= settings.message_max and b"\n" not in text and "flags" not in record
            assert record["structured_data"]["fabric@32473"]["id"] == one.id
    seen = narrowed(one, Label.GREEN)
    assert seen is not None and not seen.content, "all of it is above GREEN"


TARGETS = (
    Bytes("jetstream-answer", answer, read_answer),
    Bytes("nats-key", key, read_key),
    Bytes("handed-over", content, written),
)
