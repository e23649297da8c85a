"""A source that pulls, with a server of this machine: what is new is given once, whatever the server does, and a kill.
"""

import threading

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Pulled, Pulls
from relays.gateways.options import Options
from relays.gateways.poll.settings import read_settings
from relays.gateways.poll.source import SOURCE
from relays.gateways.pulling.pages import document_of
from relays.gateways.registry import SOURCES
from tests.integration.harness import wait_for
from tests.unit.gateways.pull_server import place, serving
from tests.unit.gateways.support import TestIntake, at_work


class Feed:
    """A server with items that come by and by, two on a page, each page with a cursor."""

    def __init__(self):
        self.items, self.faults = [], []

    def __call__(self, path, headers, body):
        if self.faults:
            return self.faults.pop(0)
        at = int(path.partition("after=")[2] or 0)
        page = self.items[at : at + 2]
        return 200, {}, {"items": page, "next": at + len(page)}


def source(server, folder, **more):
    options = Options({"url": server.url, "every": "1h", "records": "items", "id": "id",
                       "cursor": {"param": "after", "path": "next"}, **more})
    settings = read_settings(options)
    assert not options.faults, options.faults
    return SOURCE.open(settings, place(folder))


def run(made, intake):
    """At work; it has looked once by then."""
    intake.waited.clear()
    return at_work(made, intake, lambda: intake.waited, made.wake)


def ids(intake):
    return [record["id"] for record in intake.records]


def numbered(*numbers):
    return [{"id": number} for number in numbers]


def test_what_is_new_is_given_once_page_by_page_and_when_it_is_told_to_look(tmp_path):
    feed, intake = Feed(), TestIntake()
    feed.items = numbered(1, 2, 3)
    with serving(feed) as server:
        made = source(server, tmp_path)
        assert isinstance(made, Pulls)
        with run(made, intake):
            assert ids(intake) == [1, 2, 3] and intake.waited == [None]
            assert intake.wheres[2] == f"http://127.0.0.1:{server.port} page 2 record 1"
            feed.items += numbered(4, 3, 5)
            assert made.pull().result(20) == Pulled(2, 1, 0)
            assert ids(intake) == [1, 2, 3, 4, 5]
        with run(source(server, tmp_path), intake):  # it goes on where it was
            assert server.asked[-1] == "/v1/items?after=6"
        assert ids(intake) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("killed_after", range(6))
def test_wherever_it_is_killed_nothing_is_missing_and_nothing_comes_twice(tmp_path, killed_after):
    """Also when the server gives the page in another way then."""
    feed, intake = Feed(), TestIntake()
    feed.items = numbered(1, 2, 3, 4, 5)
    intake.taken_max = killed_after
    with serving(feed) as server:
        made, stop = source(server, tmp_path), threading.Event()
        if killed_after < 5:
            with pytest.raises(FabricError):
                made.run(intake, stop)
            assert len(intake.records) == killed_after
        intake.taken_max = None
        feed.items = numbered(2, 1, 4, 3, 5, 6)
        with run(source(server, tmp_path), intake):
            pass
    assert sorted(ids(intake)) == [1, 2, 3, 4, 5, 6]


def test_what_is_urgent_goes_first_so_that_none_overtakes_another(tmp_path):
    feed, intake = Feed(), TestIntake()
    feed.items = [{"id": 1, "sev": "low"}, {"id": 2, "sev": "critical"}]
    with serving(feed) as server, run(source(server, tmp_path), intake):
        assert ids(intake) == [2, 1]


def test_faults_are_said_and_what_was_taken_stays_and_it_goes_on_there(tmp_path):
    feed, intake = Feed(), TestIntake()
    feed.items = numbered(1, 2, 3)
    feed.faults = [(401, {}, b"s3cret")]
    with serving(feed) as server:
        made = source(server, tmp_path)
        with run(made, intake):
            assert intake.waited == [f"http://127.0.0.1:{server.port}: HTTP 401"]
            feed.faults = [(200, {}, {"items": numbered(1, 2), "next": 2}), (200, {}, b"<html>")]
            with pytest.raises(FabricError, match="page for people"):
                made.pull().result(20)
            assert ids(intake) == [1, 2]
            assert made.pull().result(20) == Pulled(1, 0, 0)
            assert ids(intake) == [1, 2, 3] and server.asked[-2].endswith("after=2")
            feed.faults = [(429, {"Retry-After": "600"}, b"")]
            for words in ("HTTP 429", r"left alone for (600|5\d\d) s"):
                with pytest.raises(FabricError, match=words):
                    made.pull().result(20)
            assert "s3cret" not in repr(intake.waited)


def test_what_is_no_record_is_rejected_once_and_the_rest_is_taken(tmp_path):
    feed, intake = Feed(), TestIntake()
    feed.items = [{"id": 1}, ["no", "record"], {"id": 2}]
    with serving(feed) as server:
        with run(source(server, tmp_path, cursor={"param": "after", "path": "none"}), intake):
            pass
        assert ids(intake) == [1] and intake.rejected[0][:2] == (b'["no", "record"]', Code.BAD_INPUT)
        with run(source(server, tmp_path, cursor={"param": "after", "path": "next"}), intake):
            wait_for(lambda: ids(intake) == [1, 2], "what another declaration finds")
    assert len(intake.rejected) == 1


def test_what_is_nested_as_deep_as_can_be_read_is_rejected_and_ends_nothing(tmp_path):
    def answer(path, _headers, _body):
        depth = 950 + int(path.partition("page=")[2])
        return 200, {}, b'{"items": [{"id": 1, "x": %s%s}]}' % (b"[" * depth, b"]" * depth)

    intake = TestIntake()
    with serving(answer) as server:
        options = Options({"url": server.url, "every": "1h", "records": "items", "page": {"param": "page"}})
        with run(SOURCE.open(read_settings(options), place(tmp_path)), intake):
            pass
    assert not intake.records and len(intake.rejected) > 10, "each that Python reads"
    assert "no JSON" in intake.waited[-1], "and the first that it does not"


def test_a_circle_is_told_and_what_was_new_is_taken_once(tmp_path):
    intake = TestIntake()

    def answer(path, headers, body):
        at = int(path.partition("after=")[2] or 0)
        return 200, {}, {"items": numbered(at), "next": 1 + at % 3}

    with serving(answer) as server:
        made = source(server, tmp_path)
        with run(made, intake):
            assert "circle" in intake.waited[0]
            with pytest.raises(FabricError, match="circle"):
                made.pull().result(20)
        assert ids(intake) == [0, 1, 2, 3]


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5])
def test_a_page_with_more_than_one_frame_holds_is_given_in_parts(tmp_path, monkeypatch, killed_after):
    monkeypatch.setattr("relays.gateways.pulling.source.PAGE_RECORDS_MAX", 2)
    intake, again = TestIntake(), TestIntake()
    intake.taken_max = killed_after
    items = numbered(1, 2, 3, 4, 5)
    with serving(lambda *_: (200, {}, {"items": items})) as server:
        more = {"cursor": {"param": "after", "path": "none"}}
        if killed_after < 5:
            with pytest.raises(FabricError):
                source(server, tmp_path, **more).run(intake, threading.Event())
        again.positions = intake.positions
        items.reverse()
        with run(source(server, tmp_path, **more), again):
            assert sorted(ids(intake) + ids(again)) == [1, 2, 3, 4, 5]


def test_a_server_without_an_end_is_left_for_the_next_pull(tmp_path, monkeypatch):
    monkeypatch.setattr("relays.gateways.pulling.source.PAGES_MAX", 3)
    intake = TestIntake()

    def answer(path, headers, body):
        at = int(path.partition("after=")[2] or 0)
        return 200, {}, {"items": numbered(at), "next": at + 1}

    with serving(answer) as server:
        made = source(server, tmp_path)
        with run(made, intake):
            assert ids(intake) == [0, 1, 2] and "more than 3 pages" in intake.notes[0]
            assert made.pull().result(20) == Pulled(3, 0, 0)
            assert ids(intake) == [0, 1, 2, 3, 4, 5]


def test_who_asks_while_it_ends_is_told(tmp_path):
    feed, intake = Feed(), TestIntake()
    with serving(feed) as server:
        made = source(server, tmp_path)
        with run(made, intake) as end:
            end()
            with pytest.raises(FabricError) as raised:
                made.pull().result(20)
        assert raised.value.code is Code.STOPPING


def test_another_server_is_read_from_its_beginning(tmp_path):
    feed, intake = Feed(), TestIntake()
    feed.items = numbered(1, 2, 3)
    with serving(feed) as one, serving(feed) as other:
        for server in (one, other):
            with run(source(server, tmp_path), intake):
                pass
        assert ids(intake) == [1, 2, 3] and other.asked[0] == "/v1/items"


def test_a_disk_that_is_full_is_said_and_the_server_is_not_asked_more_often(tmp_path, monkeypatch):
    feed, intake = Feed(), TestIntake()
    feed.items = numbered(1)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with serving(feed) as server:
        made = source(server, tmp_path)
        monkeypatch.setattr("os.fdatasync", full)
        with run(made, intake):
            assert intake.waited == ["what it takes cannot be written down: no space left on device"]
            assert len(server.asked) == 1 and not intake.records
            monkeypatch.undo()
            assert made.pull().result(20) == Pulled(1, 0, 0)


def test_a_fault_of_ours_is_told_to_who_asked_and_ends_the_run(tmp_path):
    feed = Feed()
    feed.items = numbered(1)
    intake = TestIntake()
    intake.take_many = None
    with serving(feed) as server:
        made = source(server, tmp_path)
        asked = made.pull()
        with pytest.raises(TypeError):
            made.run(intake, threading.Event())
        with pytest.raises(FabricError, match="TypeError"):
            asked.result(20)


@pytest.mark.parametrize(("kind", "more", "claims"), [
    ("poll", {"topic": "detections.x", "params": {"kind": "ip"}}, ["url https://feed.example/x, kind ip"]),
    ("poll", {"topic": "detections.x", "headers": {"X-Key": {"env": "FEED_KEY"}}},
     ["url https://feed.example/x, X-Key FEED_KEY"]),
    ("taxii", {"collections": ["a", "b"], "user": "me", "password": {"env": "PASSWORD"}},
     [f"url https://feed.example/x, user me, {each}" for each in "ab"]),
    ("misp", {"api_key": {"file": "/etc/fabric/misp.key"}, "search": {"tags": ["a"]}},
     ['url https://feed.example/x, Authorization /etc/fabric/misp.key, {"tags": ["a"]}']),
])
def test_what_it_asks_for_is_claimed_with_where_its_secrets_are(kind, more, claims):
    source = SOURCES.kind(kind)
    options = Options({"url": "https://feed.example/x", **more})
    settings = source.read(options)
    assert list(source.claims(settings)) == claims
    assert not [fault for fault in options.faults if fault.key != "topic"]


def test_a_sample_is_read_as_an_answer_is():
    assert document_of(b'\xef\xbb\xbf[{"n": 1}]') == [{"n": 1}]
    for data in (b"", b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError, match="."):
            document_of(data)
