"""CloudEvents as the standard's own library for Python writes them: posted, and read by a subscriber."""

import json
from datetime import UTC, datetime

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from tests.integration.harness import house_in
from tests.integration.test_http import port_of, secrets_in, topology

# What its data may be: JSON, also what is no object; text; bytes; nothing.
DATA = [
    ({"datacontenttype": "application/json"}, {"user": "eve", "src": "10.1.0.7", "tries": [1, 2.5, None, True]}),
    ({}, {"without": "a type"}),
    ({"datacontenttype": "application/vnd.acme+json; charset=utf-8"}, {"zone": "Zürich"}),
    ({"datacontenttype": "text/plain"}, "port scan\nfrom 10.1.0.9 \N{RIGHTWARDS ARROW} all"),
    ({"datacontenttype": "application/octet-stream"}, bytes(range(256))),
    ({"dataschema": "https://acme.example/schemas/scan/2"}, None),
]
EVENTS = [
    CloudEvent({
        "id": f"e-{number}", "source": "/scanners/7", "type": "com.acme.scan", "subject": 'gate "5" 100 % Müller',
        "time": datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC), "level": "error", **attributes,
    }, data)
    for number, (attributes, data) in enumerate(DATA)
]


def batch(events):
    """The library has no mode for many: an array of what it writes of each."""
    body = b",".join(to_structured_event(event).body for event in events)
    return HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b"[" + body + b"]")


def as_read(content):
    """As the library reads what a subscriber was given."""
    return from_structured_event(HTTPMessage({}, json.dumps(content).encode()))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A house whose gateway listens, and where to post to."""
    folder = tmp_path_factory.mktemp("cloudevents")
    secrets_in(folder / "out")
    with house_in(folder, topology(folder / "out")) as house:
        house.up()
        gateway = house.start("edge", "run", "--as", "api-1", "--json")
        gateway.wait_line('"source": "api", "state": "running"')
        yield house, f"http://127.0.0.1:{port_of(house)}/v1/events"
        gateway.stop().expect(0)


@pytest.mark.parametrize("modes", [
    pytest.param(lambda events: [to_binary_event(event) for event in events], id="binary"),
    pytest.param(lambda events: [to_structured_event(event) for event in events], id="structured"),
    pytest.param(lambda events: [batch(events)], id="batched"),
])
def test_what_the_library_posts_comes_out_as_it_was_sent(running, modes):
    house, url = running
    with house.point("archive-1") as archive:
        messages = archive.subscribe("detections.app", timeout_s=30)
        archive.wait_ready()
        sent = set()
        for message in modes(EVENTS):
            headers = {**message.headers, "Authorization": "Bearer " + "shop" * 8}
            answer = httpx.post(url, content=message.body, headers=headers)
            assert answer.status_code == 202
            sent.update(answer.json()["ids"])
        came = [next(messages) for _ in EVENTS]
    assert {message.id for message in came} == sent
    assert {message.severity.name for message in came} == {"HIGH"}, "the mapping reads an event's attributes"
    by_id = {message.content["id"]: as_read(message.content) for message in came}
    for event in EVENTS:
        read = by_id[event.get_id()]
        assert (read.get_attributes(), read.get_data()) == (event.get_attributes(), event.get_data())
