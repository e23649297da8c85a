"""A line of `fabric subscribe --json`, read again."""

import json

import pytest

from fabric.edge.messages import messages_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Relabels
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.reading.received import message_in
from relays.terminal import json_text
from tests.support import Authority, derive, verified

ZEEK = Authority("received").issue("zeek-1")
RECORD = {"rule": "scan", "src": {"ip": "10.1.0.7"}, "raw": b"\x00\xff", "list": [b"\x01", 7, None]}


def delivered(**said):
    message = verified(
        ZEEK, records=[{}, RECORD], rules={"src": Label.AMBER}, communities=("isac",), recipients=("lead-1",), **said
    )
    found = messages_of(Delivery(message, 7, ("hq",)))
    assert isinstance(found, list)
    return found[1]


def line(message=None):
    return json.loads(json_text((message or delivered()).to_json()))


def test_what_was_printed_is_read_as_it_was():
    message = delivered()
    again = message_in(line(message))
    names = [name for name in message.__slots__ if name != "path"]
    assert {name: getattr(again, name) for name in names} == {name: getattr(message, name) for name in names}
    assert again.audience == Audience(("acme",), ("isac",), ("lead-1",)) and again.label_of("src") is Label.AMBER


def test_a_reader_sees_what_a_message_relabels():
    message = delivered(relabels=Relabels(derive("old"), 7, Label.RED))
    assert (message.relabels, message.relabelled_from) == (f"{derive('old')[:16].hex()}.7", Label.RED)
    said = line(message)
    assert said["relabels"] == message.relabels and said["relabelled_from"] == "red"
    assert not {"relabels", "relabelled_from"} & line().keys()


MESSAGE = delivered().id.rpartition(".")[0]


@pytest.mark.parametrize(("name", "value"), [
    ("id", 7), ("id", "x"), ("id", "0" * 32 + ".0"), ("leaf", "xyz"), ("leaf", "00"), ("kind", None), ("topic", []),
    *(("id", f"{MESSAGE}.{record}") for record in ("1024", "99999", "-1", "x", "٣", "")),
    ("label", "purple"), ("label", 2), ("labels", {"rule": "?"}), ("labels", []), ("withheld", {"pink": 1}),
    ("withheld", {"red": 0}), ("withheld", {"red": "1"}), ("withheld", {"red": True}),
    ("content", []), ("severity", "worse"), ("phase", "never"), ("ttl_ms", "1h"), ("ttl_ms", True), ("age_ms", -1),
    ("audience", []), ("audience", {"organisations": "acme"}), ("audience", {"recipients": [7]}),
    ("audience", {"communities": ["x"] * 17}),
])
def test_a_line_with_something_else_in_its_place_is_refused_and_named(name, value):
    with pytest.raises(FabricError) as raised:
        message_in({**line(), name: value}, "line 3")
    assert raised.value.code is Code.BAD_INPUT and raised.value.detail.startswith("line 3 is no message: it has ")


@pytest.mark.parametrize("name", ["id", "leaf", "kind", "topic", "label", "labels", "withheld", "content", "severity"])
def test_a_line_that_lacks_something_is_refused_and_says_what(name):
    said = line()
    del said[name]
    with pytest.raises(FabricError) as raised:
        message_in(said)
    assert raised.value.detail.endswith(f"it has no {'leaf' if name == 'leaf' else name}")


def test_what_only_looks_like_bytes_stays_what_it_is():
    said = {**line(), "content": {"a": {"base64": "not base64!"}, "b": {"base64": "AA==", "more": 1}}}
    assert message_in(said).content == said["content"]
