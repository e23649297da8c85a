"""TAXII 2.1, against a server that is not ours, and against servers that are no good."""

import json
import threading
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from fabric.protocol.base.errors import FabricError
from relays.gateways.mapping import read_mapping
from relays.gateways.options import Options
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply
from relays.gateways.pulling.pages import Unreadable
from relays.gateways.stix.reading import read_stix
from relays.gateways.taxii.feed import TaxiiFeed, time_of, written
from relays.gateways.taxii.settings import MEDIA_TYPE, read_settings
from relays.gateways.taxii.source import SOURCE
from tests.unit.gateways.intel import indicator
from tests.unit.gateways.pull_server import place
from tests.unit.gateways.support import TestIntake, at_work
from tests.unit.gateways.taxii_server import COLLECTION, taxii_server

NOW_MS = 1_773_144_000_000
TLP_AMBER = "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"
OWN = "marking-definition--11111111-1111-4111-8111-111111111111"
CLOSED = "52892447-4d7e-4f70-b94d-d7f22742ff63"
URL = f"https://taxii.example/root/collections/{COLLECTION}/"


def settings(**more):
    options = Options({"url": URL, "every": "1h", "timeout": "10s", **more})
    found = read_settings(options)
    assert not options.faults, options.faults
    return found


def source(url, folder, **more):
    return SOURCE.open(settings(url=url, user="me", password={"env": "TAXII_PASSWORD"}, **more), place(folder))


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("TAXII_PASSWORD", "pass word")


def run(made, intake):
    intake.waited.clear()
    return at_work(made, intake, lambda: intake.waited, made.wake)


def numbers(intake):
    return sorted(int(record["id"][-12:]) for record in intake.records if record["type"] == "indicator")


def test_pages_of_a_real_server_are_read_once_from_its_discovery_on(tmp_path):
    intake = TestIntake()
    with taxii_server() as server:
        server.add(*map(indicator, range(1, 8)))  # seven of one moment, on three pages
        server.add(indicator(8))
        made = source(server.url, tmp_path)
        with run(made, intake):
            assert intake.waited == [None] and numbers(intake) == list(range(1, 9))
            assert made.pull().result(20).taken == 0
            server.add(indicator(9, object_marking_refs=[TLP_AMBER]))
            assert made.pull().result(20).taken == 1
        # A run that was killed in the midst of pages goes on, and a `next` of then is not used.
        server.add(*map(indicator, range(10, 20)))
        intake.taken_max = len(intake.records) + 5
        with pytest.raises(FabricError):
            source(server.url, tmp_path).run(intake, threading.Event())
        assert numbers(intake) == list(range(1, 15))
        intake.taken_max = None
        with run(source(server.url, tmp_path), intake):
            assert numbers(intake) == list(range(1, 20))
    (marked,) = [record for record in intake.records if record.get("object_marking_refs")]
    mapping = read_mapping(Options({"topic": "intel.{fabric.kind}.taxii"}), read_stix)
    mapped = mapping.apply(marked, now_ms=NOW_MS)
    assert (mapped.topic, mapped.label.short) == ("intel.ipv4.taxii", "amber")
    assert mapped.content["fabric"]["values"] == {"ipv4": ["198.51.100.9"]}


def test_a_definition_that_is_not_with_what_it_marks_is_asked_for(tmp_path):
    definition = {"type": "marking-definition", "spec_version": "2.1", "id": OWN, "name": "ours",
                  "created": "2026-03-10T12:00:00.000Z", "definition_type": "tlp", "definition": {"tlp": "green"}}
    intake = TestIntake()
    with taxii_server() as server:
        server.add(definition)
        with run(source(server.url, tmp_path), intake):
            assert len(intake.records) == 1
        server.add(indicator(1, object_marking_refs=[OWN]), indicator(2, object_marking_refs=[OWN[:-1] + "2"]))
        with run(source(server.url, tmp_path), intake):  # it knows nothing of the run before
            assert len(intake.records) == 3
    labels = {record["id"][-1]: record["fabric"].get("label") for record in intake.records[1:]}
    assert labels == {"1": "green", "2": "red"}, "nobody has the other one"


@pytest.mark.parametrize(("more", "words"), [
    ({"collections": ["Indicators"]}, None), ({"collections": [COLLECTION]}, None),
    ({"collections": ["Nothing"]}, "no collection 'Nothing'; it has 'Indicators', 'Closed'"),
    ({"collections": [CLOSED]}, "may not be read"), ({"password": {"env": "WRONG"}}, "HTTP 401"),
])
def test_collections_are_found_by_name_or_it_is_said_why_not(tmp_path, monkeypatch, more, words):
    monkeypatch.setenv("WRONG", "s3cret")
    intake = TestIntake()
    with taxii_server() as server:
        server.add(indicator(1))
        declared = settings(url=server.url, user="me", **{"password": {"env": "TAXII_PASSWORD"}, **more})
        made = SOURCE.open(declared, place(tmp_path))
        with run(made, intake):
            assert intake.waited == [None] if words is None else words in intake.waited[0]
            assert "s3cret" not in repr(intake.waited)
        for url in (server.url.replace("taxii2/", "root/"),
                    server.url.replace("taxii2/", f"root/collections/{COLLECTION}/objects/")):
            with run(source(url, tmp_path / url[-8:-1]), intake):
                assert intake.waited == [None]


class Ask:
    """`answer` gets (path, params) and gives (document or bytes, headers)."""

    def __init__(self, declared, answer):
        self._how, self._answer, self.asked = declared.how, answer, []

    def __call__(self, request):
        assert self._how.headers["Accept"] == MEDIA_TYPE
        self.asked.append(dict(request.params))
        body, headers = self._answer(request.url, dict(request.params))
        return Reply(200, headers, body if isinstance(body, bytes) else json.dumps(body).encode(), request.url)

    there = Asking.there


def through(ask, declared, mark=None, most=60):
    feed, records, mark = TaxiiFeed(declared), [], mark or {}
    for page in feed.pages(mark, ask, lambda: NOW_MS):
        records += page.records
        mark, most = page.mark, most - 1
        assert most, "it asks without an end"
    return records, mark


def test_a_server_without_next_loses_nothing_of_one_moment():
    """Ten objects of two moments, three on a page: by `added_after` alone those in the middle would be left out."""
    declared = settings(limit=3)
    added = [(indicator(n), f"2026-03-10T11:00:0{n // 5}.000000Z") for n in range(10)]
    sizes = {}

    def answer(_url, params):
        left = [each for each in added if each[1] > params.get("added_after", "")]
        # It gives more of a moment when it is asked for the same again: else nobody could get on.
        size = sizes[params.get("added_after")] = sizes.get(params.get("added_after"), 0) + 3
        page = left[:size]
        return {"objects": [each for each, _ in page], "more": len(left) > size}, {
            "x-taxii-date-added-last": page[-1][1]} if page else {}

    records, mark = through(Ask(declared, answer), declared)
    assert {record["id"] for record in records} == {each["id"] for each, _ in added}
    assert mark == {COLLECTION: "2026-03-10T11:00:01.000000Z"}


@pytest.mark.parametrize(("body", "words"), [
    (b"<!doctype html>", "page for people"), (b'{"objects": [{"type": "indi', "no JSON, or not all"),
    (b"[]", "no envelope: it is a list"), (b'{"title": "s3cret", "http_status": "500"}', "no envelope: it has 'title'"),
    (b"", "empty"), (b'{"objects": [], "more": true}', "does not say from where"),
    (b'{"objects": [], "more": true, "next": {}}', "next of its answer"), (b"\xff", "not UTF-8"),
    (b'{"objects": [], "more": true, "next": "a"}', "circle"), (b'{"objects": []} x', "no JSON, or not all"),
])
def test_what_is_no_envelope_is_a_fault(body, words):
    declared = settings()
    with pytest.raises(NoAnswerError, match=words) as raised:
        through(Ask(declared, lambda *_: (body, {})), declared)
    assert "s3cret" not in f"{raised.value} {raised.value.next_step}"


def test_an_object_that_cannot_be_read_hinders_no_other():
    declared = settings()
    body = (b'{"objects": [' + json.dumps(indicator(1)).encode() + b', {"type": "indicator", "x": NaN}, 7, '
            + json.dumps(indicator(2)).encode() + b"]}")
    records, mark = through(Ask(declared, lambda *_: (body, {})), declared)
    assert [isinstance(record, Unreadable) for record in records] == [False, True, True, False] and mark == {}
    assert through(Ask(declared, lambda *_: ({}, {})), declared)[0] == []


def test_a_server_whose_clock_is_ahead_does_not_take_ours_along():
    declared = settings(start="1d")
    ask = Ask(declared, lambda *_: ({"objects": []}, {"x-taxii-date-added-last": "2031-01-01T00:00:00Z"}))
    _, mark = through(ask, declared)
    assert ask.asked[0]["added_after"] == "2026-03-09T12:00:00.000000Z"
    assert mark == {COLLECTION: "2026-03-10T12:00:00.000000Z"}
    ask = Ask(declared, lambda *_: ({"objects": []}, {"x-taxii-date-added-last": "2020-01-01T00:00:00Z"}))
    assert through(ask, declared, mark)[1] == mark, "it never goes back"


@pytest.mark.parametrize(("answers", "words"), [
    ({"": {"api_roots": ["https://evil.example/root/"]}}, "another place"), ({"": []}, "nothing of TAXII"),
    ({"": {"api_roots": ["/a/", "/b/"]}}, "2 API roots"), ({"": {"title": "x"}}, "no discovery and no API root"),
    ({"": {"versions": []}, "collections/": {"collections": []}}, "it has 0 collections"),
    ({"": {"versions": []}, "collections/": {"collections": [{"id": "a"}, {"id": "b"}]}}, "2 collections .*: 'a', 'b'"),
    ({"": {"versions": []}, "collections/": {"collections": [{"id": {}}, 7]}}, "has no collection ''"),
])
def test_what_leads_to_no_collection_is_said(answers, words):
    declared = settings(url="https://taxii.example/root/")

    def answer(url, _params):
        return answers[url.removeprefix("https://taxii.example/root/")], {}

    with pytest.raises(NoAnswerError, match=words):
        through(Ask(declared, answer), declared)


def test_an_id_of_a_collection_cannot_lead_elsewhere():
    declared = settings(url="https://taxii.example/root/", collections=["odd"])
    urls = []

    def answer(url, _params):
        urls.append(url)
        return ({"versions": []} if url.endswith("root/") else {"objects": []} if "objects" in url else {
            "collections": [{"id": "../../x?y=/", "title": "odd"}]}), {}

    through(Ask(declared, answer), declared)
    assert urls[-1] == "https://taxii.example/root/collections/..%2F..%2Fx%3Fy%3D%2F/objects/"


@settings_of(max_examples=12)
@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.just("2026-03-10T11:00:00Z"), lambda inner:
       st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
           ["objects", "more", "next", "type", "id", "object_marking_refs", "granular_markings"]), inner, max_size=4),
       max_leaves=10))
def test_whatever_an_envelope_is_it_is_objects_or_a_fault(document):
    declared = settings()
    try:
        records, _ = through(Ask(declared, lambda *_: (document, {"x-taxii-date-added-last": "x"})), declared)
    except NoAnswerError as error:
        assert str(error).isprintable()
    else:
        assert all(isinstance(record, Unreadable) or "fabric" in record for record in records)


@settings_of(max_examples=30)
@given(st.datetimes(min_value=datetime(1971, 1, 1)))
def test_a_time_is_read_as_it_was_written(at):
    text = at.isoformat(timespec="microseconds") + "Z"
    found = time_of(text)
    assert found is not None and written(found) == text
    assert time_of(text.replace("T", " ")) is None and time_of(7) is None
    assert time_of("2026-13-10T11:00:00Z") is None
    assert time_of("2026-03-10T11:00:00.5+02:00") == time_of("2026-03-10T09:00:00.5Z"), "as some servers write it"
    assert time_of("2026-03-10T11:00:00+99:00") is None and time_of("9999-12-31T23:59:59-01:00") is None
