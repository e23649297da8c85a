"""The description of the gateway's paths, held against the gateway."""

import http.client
import json
import re

import pytest

from relays.gateways.http import answers, commands, records
from relays.gateways.http.app import ROUTES
from relays.gateways.http.openapi import document
from tests.integration.harness import wait_for
from tests.unit.gateways.stream_support import Client, message
from tests.unit.gateways.test_http import JSON, LINES, SECRETS, TOKENS, A, running
from tests.unit.gateways.test_http_openc2 import ASKS, DENY, Acting, completed

DOCUMENT = document()
OPENC2 = {"Authorization": f"Bearer {SECRETS['HTTP_B']}", "Content-Type": commands.MEDIA_TYPE, "X-Request-ID": "r"}


def test_it_has_each_path_and_method_and_no_other():
    described = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(path, method) for path, method, _ in ROUTES}


def test_it_has_each_status_and_each_content_type():
    for path in ("/v1/events", "/openc2"):
        said = {int(status) for status in DOCUMENT["paths"][path]["post"]["responses"]}
        assert {400, 401, 403, 408, 413, 415, 429, 500, 503} <= said
    events = DOCUMENT["paths"]["/v1/events"]["post"]
    assert {*answers._STATUS.values(), 202, 207} <= {int(status) for status in events["responses"]}
    taken = {records._EVENT, records._EVENTS, records._JSON[0], records._LINES[0]}
    assert taken <= set(events["requestBody"]["content"])
    assert {commands.MEDIA_TYPE, commands.MEDIA_TYPE_OLD} == set(
        DOCUMENT["paths"]["/openc2"]["post"]["requestBody"]["content"]
    )


def test_what_it_refers_to_is_there():
    found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert found == set(DOCUMENT["components"]["schemas"])


def fits(value, schema):
    """As far as these schemas go."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    types = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    names = schema.get("type", [])
    if names and not isinstance(value, tuple(types[name] for name in ([names] if isinstance(names, str) else names))):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    if isinstance(value, list):
        return all(fits(each, schema.get("items", {})) for each in value)
    known = schema.get("properties")
    if isinstance(value, dict) and known is not None:
        return set(schema.get("required", ())) <= set(value) <= set(known) and all(
            fits(each, known[name]) for name, each in value.items()
        )
    return True


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch, running(
        monkeypatch, tmp_path_factory.mktemp("http"), tokens=[{**TOKENS[0], "may": ["publish", "stream"]}, ASKS]
    ) as (source, intake):
        acting = Acting()
        intake.request, intake.is_asked = acting.request, acting.book.__contains__
        acting.say({"targets": ["fw-1"], "outcomes": [completed("fw-1")]}, None)
        wait_for(lambda: intake.fed.tell, "its feed")
        source.fed = intake.fed
        yield source


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), [
    ("POST", "/v1/events", b"{}", {**A, **JSON}, 202), ("POST", "/v1/events", b"{}\n7", {**A, **LINES}, 207),
    ("POST", "/v1/events", b"{", {**A, **JSON}, 400), ("POST", "/v1/events", b"7\n7", {**A, **LINES}, 400),
    ("POST", "/v1/events", b"{}", JSON, 401), ("POST", "/v1/events", b"{}", A, 415),
    ("POST", "/openc2", json.dumps(DENY), OPENC2, 200), ("POST", "/openc2", b"{", OPENC2, 400),
    ("POST", "/openc2", b"{}", A, 403), ("POST", "/.well-known/openc2", b"{}", {**OPENC2, **JSON}, 415),
    ("GET", "/v1/stream", None, {}, 401), ("GET", "/v1/stream", None, OPENC2, 403),
    ("GET", "/v1/health", None, {}, 200), ("GET", "/openapi.json", None, {}, 200),
])
def test_what_is_answered_is_as_it_says(gateway, method, path, body, headers, status):
    connection = http.client.HTTPConnection(*gateway.address, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]["content"]
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == status and fits(said, content[answer.headers["content-type"]]["schema"])
    if path == "/openapi.json":
        assert said == DOCUMENT


def test_each_event_is_as_it_says(gateway):
    said = DOCUMENT["paths"]["/v1/stream"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    found, away, gap = said["contentSchema"]["oneOf"][0], DOCUMENT["components"]["schemas"]["Away"], None
    with Client(gateway.address, A) as client:
        assert client.headers["content-type"].startswith("text/event-stream")
        assert fits(client.next().data, away)
        gateway.fed.tell(None)
        gap = client.next().data
        assert fits(gap, DOCUMENT["components"]["schemas"]["Gap"]) and client.next().name == "back"
        gateway.fed.put(message(1))
        event = client.next().data
        assert fits(event, found) and not fits({**event, "more": 1}, found) and not fits(gap, found)
    assert {name for name in ("gap", "away", "back", "end") if f"`{name}`" in str(DOCUMENT["paths"]["/v1/stream"])} == {
        "gap", "away", "back", "end"}
