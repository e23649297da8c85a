"""The pages of an API: what is asked for next, and what is no answer, with a server that is a function."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from relays.gateways.options import Options
from relays.gateways.poll.feed import PollFeed, link_in, newest, written
from relays.gateways.poll.settings import read_settings
from relays.gateways.poll.source import SOURCE
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply
from relays.gateways.pulling.pages import Unreadable

NOW_MS = 1_773_144_000_000
URL = "https://feed.example/v1/items"


def settings(**more):
    options = Options({"url": URL, **more})
    found = read_settings(options)
    assert not options.faults, options.faults
    return found


class Ask:
    """`answer` gets (url, params) and gives the document, bytes, or a Reply."""

    def __init__(self, declared, answer):
        self.asked, self._answer, self._how = [], answer, declared.how
        self.headers = []

    def __call__(self, request):
        self.asked.append((request.url, dict(request.params)))
        self.headers.append(dict(request.headers))
        found = self._answer(request.url, dict(request.params))
        if isinstance(found, Reply):
            return found
        return Reply(200, {}, found if isinstance(found, bytes) else json.dumps(found).encode(), request.url)

    there = Asking.there


def through(feed, ask, mark=None, fresh=None, most=50):
    """All records, and the mark behind them."""
    pages, records, mark = feed.pages(mark or {}, ask, lambda: NOW_MS), [], mark or {}
    page = next(pages, None)
    while page is not None and most:
        records += page.records
        mark, most = page.mark, most - 1
        try:
            page = pages.send(len(page.records) if fresh is None else fresh)
        except StopIteration:
            break
    return records, mark


def test_a_list_alone_and_one_somewhere_in_the_answer():
    declared = settings()
    found, _ = through(PollFeed(declared), Ask(declared, lambda *_: [{"a": 1}, "text", 7, None, [1]]))
    assert found[:3] == [{"a": 1}, {"value": "text"}, {"value": 7}]
    assert [each.raw for each in found[3:]] == [b"null", b"[1]"]
    declared = settings(records="data.items")
    assert through(PollFeed(declared), Ask(declared, lambda *_: {"data": {"items": [{"b": 2}]}}))[0] == [{"b": 2}]
    assert through(PollFeed(declared), Ask(declared, lambda *_: {"data": {"items": None}}))[0] == []


@pytest.mark.parametrize(("answer", "words"), [
    (b"<html>login</html>", "page for people"), (b'{"data": {"items": [{"a"', "no JSON, or not all"), (b"", "empty"),
    (b'{"error": "s3cret"}', "has no data.items: it has 'error'"), (b"\xff\xfe", "not UTF-8"), (b"[]", "it is a list"),
    (b'{"data": {"items": {"a": 1}}}', "is no list"), (b"[" * 100_000, "no JSON"), (b"9" * 10_000, "no JSON"),
    (b'{"data": {"items": "all"}}', "is no list"), (b"[" + b"{}," * 5_000_000 + b"{}]", "32 times answer_max"),
])
def test_what_is_no_answer_is_never_nothing_new(answer, words):
    declared = settings(records="data.items")
    with pytest.raises(NoAnswerError, match=words) as raised:
        through(PollFeed(declared), Ask(declared, lambda *_: answer))
    assert "s3cret" not in str(raised.value)


def test_cursors_lead_on_until_there_is_none():
    declared = settings(records="items", cursor={"param": "after", "path": "next"})
    pages = {None: ([1, 2], "b"), "b": ([3], 17), "17": ([4], None)}
    ask = Ask(declared, lambda _, params: dict(zip(("items", "next"), pages[params.get("after")], strict=True)))
    records, mark = through(PollFeed(declared), ask)
    assert [each["value"] for each in records] == [1, 2, 3, 4] and mark == {}
    assert [params for _, params in ask.asked] == [{}, {"after": "b"}, {"after": "17"}]


def test_a_cursor_that_no_address_can_hold_is_a_fault_and_is_not_kept():
    declared = settings(records="items", cursor={"param": "after", "path": "next"})
    with pytest.raises(NoAnswerError, match="next of its answer is no cursor"):
        through(PollFeed(declared), Ask(declared, lambda *_: b'{"items": [1], "next": "\\ud800"}'))


def test_a_cursor_of_where_it_ended_is_asked_with_the_next_time():
    declared = settings(records="items", cursor={"param": "after", "path": "next"})
    ask = Ask(declared, lambda _, params: {"items": [] if params else [1], "next": "b"})
    records, mark = through(PollFeed(declared), ask)
    assert (len(records), mark, len(ask.asked)) == (1, {"at": "b"}, 2)
    through(PollFeed(declared), ask, mark)
    assert ask.asked[-1][1] == {"after": "b"} and len(ask.asked) == 3


@pytest.mark.parametrize("way", ["cursor", "next", "page"])
def test_pages_that_lead_in_a_circle_end_in_a_fault(way):
    declared = settings(records="items", **{way: {
        "cursor": {"param": "after", "path": "next"}, "next": "next", "page": {"param": "page"},
    }[way]})
    turn = {"a": "b", "b": "a"}
    ask = Ask(declared, lambda url, params: {
        "items": [1], "next": turn.get(params.get("after", url[-1]), "a"),
    })
    with pytest.raises(NoAnswerError, match="circle") as raised:
        through(PollFeed(declared), ask)
    assert raised.value.anew and len(ask.asked) <= 4


def test_links_are_followed_to_the_same_place_only():
    declared = settings(records="items", next="links.next", params={"limit": "5"})
    ask = Ask(declared, lambda url, _: {"items": [1], "links": {"next": None if "p=2" in url else "/v2?p=2"}})
    assert len(through(PollFeed(declared), ask)[0]) == 2
    assert ask.asked[1][0] == "https://feed.example/v2?p=2"
    for link in ("https://evil.example/", "//evil.example/x", "http://feed.example/v1", "https://feed.example:444/",
                 "https://u:p@feed.example/", "file:///etc/passwd"):
        ask = Ask(declared, lambda _url, _params, link=link: {"items": [1], "links": {"next": link}})
        with pytest.raises(NoAnswerError, match="another place|no address"):
            through(PollFeed(declared), ask)
    with pytest.raises(NoAnswerError, match="no text"):
        through(PollFeed(declared), Ask(declared, lambda *_: {"items": [1], "links": {"next": {"href": 1}}}))


def test_the_header_link_leads_on():
    declared = settings(next="link-header")
    ask = Ask(declared, lambda url, _: Reply(
        200, {"link": '<https://feed.example/v1/items?page=1>; rel="prev"'} if "page" in url else
        {"link": '<https://feed.example/x>; rel="last", </v1/items?page=2>; rel="next"; x="y"'}, b"[1]", url))
    assert len(through(PollFeed(declared), ask)[0]) == 2
    assert [url for url, _ in ask.asked] == [URL, f"{URL}?page=2"]
    assert link_in("<a>; rel=next") == "a" and link_in('<a>; rel="prev next"') == "a" and link_in("<a>;x=1, b") is None


def test_since_goes_as_far_as_the_newest_record_and_never_beyond_our_own_time():
    declared = settings(since={"param": "from", "field": "at", "start": "1h", "overlap": "1s"})
    future = "2031-01-01T00:00:00Z"
    ask = Ask(declared, lambda *_: [{"at": "2026-03-10T11:59:00.250Z"}, {"at": "no time"}, {}, "x"])
    _, mark = through(PollFeed(declared), ask)
    assert ask.asked[0][1] == {"from": "2026-03-10T11:00:00.000Z"}
    assert written(mark["since"], "rfc3339") == "2026-03-10T11:58:59.250Z"
    _, mark = through(PollFeed(declared), Ask(declared, lambda *_: [{"at": future}]), mark)
    assert mark == {"since": NOW_MS - 1_000}
    _, mark = through(PollFeed(declared), Ask(declared, lambda *_: [{"at": "2026-03-01T00:00:00Z"}]), mark)
    assert mark == {"since": NOW_MS - 1_000}, "it never goes back"


def test_since_stays_while_there_are_more_pages():
    declared = settings(since={"param": "from", "field": "at", "format": "s", "overlap": "0s"},
                        records="items", cursor={"param": "after", "path": "next"})
    times = {None: (1_773_143_000, "b"), "b": (1_773_142_000, None)}
    ask = Ask(declared, lambda _, params: {
        "items": [{"at": times[params.get("after")][0]}], "next": times[params.get("after")][1]})
    feed = PollFeed(declared)
    pages = feed.pages({}, ask, lambda: NOW_MS)
    first = next(pages)
    assert first.mark == {"high": 1_773_143_000_000, "at": "b"}
    second = pages.send(1)
    assert second.mark == {"since": 1_773_143_000_000}
    # Killed between the two: it goes on with the second page.
    assert through(feed, ask, first.mark)[1] == second.mark
    assert feed.first(first.mark) == {"high": 1_773_143_000_000}


def test_a_cursor_that_is_not_known_any_more_is_left():
    declared = settings(records="items", cursor={"param": "after", "path": "next"})

    def answer(_url, _params):
        raise NoAnswerError("x: HTTP 410", status=410)

    for mark, anew in (({"at": "old"}, True), ({}, False)):
        with pytest.raises(NoAnswerError) as raised:
            through(PollFeed(declared), Ask(declared, answer), mark)
        assert raised.value.anew is anew


def test_what_did_not_change_is_not_read_again():
    declared = settings()
    then, now = "Tue, 10 Mar 2026 12:00:00 GMT", "Tue, 10 Mar 2026 12:00:02 GMT"
    for date, known in ((now, {"If-None-Match": '"1"', "If-Modified-Since": then}), (then, {"If-None-Match": '"1"'}),
                        ("x", {"If-None-Match": '"1"'})):
        headers = {"etag": '"1"', "last-modified": then, "date": date}
        feed, ask = PollFeed(declared), Ask(declared, lambda url, _, given=headers: Reply(200, given, b"[1]", url))
        through(feed, ask)
        ask._answer = lambda url, _: Reply(304, {}, b"", url)
        assert through(feed, ask) == ([], {})
        assert ask.headers == [{}, known]


def test_numbered_pages_end_with_an_empty_one():
    declared = settings(page={"param": "p", "first": 0})
    ask = Ask(declared, lambda _, params: [[1, 2], [3], []][int(params["p"])])
    records, mark = through(PollFeed(declared), ask)
    assert len(records) == 3 and mark == {} and len(ask.asked) == 3


def test_a_record_is_known_by_its_id_or_by_all_of_it():
    feed = PollFeed(settings(id=["id", "meta.version"]))
    assert feed.id_of({"id": 1, "meta": {"version": 2}, "x": 1}) == feed.id_of({"meta": {"version": 2}, "id": 1})
    assert feed.id_of({"id": 1, "meta": {"version": 3}}) != feed.id_of({"id": 1, "meta": {"version": 2}})
    assert feed.id_of({"id": 1}) != feed.id_of({"id": 1, "x": 2})
    plain = PollFeed(settings())
    assert plain.id_of({"a": 1, "b": 2}) == plain.id_of({"b": 2, "a": 1}) and plain.id_of({"a": "\ud800"})


@settings_of(max_examples=20)
@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["items", "next", "at", "x"]), inner, max_size=3), max_leaves=8))
def test_whatever_an_answer_is_it_is_records_or_a_fault(document):
    declared = settings(records="items", since={"param": "s", "field": "at"}, next="next")
    raw = json.dumps(document).encode()
    try:
        records, mark = through(PollFeed(declared), Ask(declared, lambda *_: raw))
    except NoAnswerError as error:
        assert str(error).isprintable() and error.next_step
    else:
        assert all(isinstance(each, dict | Unreadable) for each in records)
        assert mark.get("since", 0) <= NOW_MS


@settings_of(max_examples=40)
@given(st.integers(0, 2**52))
def test_a_time_is_never_written_later_than_it_is(at_ms):
    at_ms %= 4_102_444_800_000
    assert int(written(at_ms, "s")) * 1000 <= at_ms == int(written(at_ms, "ms"))
    again = datetime.fromisoformat(written(at_ms, "rfc3339"))
    assert again.tzinfo == UTC and round(again.timestamp() * 1000) == at_ms
    assert newest(settings(since={"param": "s", "field": "a"}).since, [{"a": written(at_ms, "rfc3339")}], 0) == 0


@pytest.mark.parametrize(("key", "value", "words"), [
    ("url", "http://feed.example/", "this machine only"), ("url", "https://u:p@feed.example/", "name or password"),
    ("url", "https://feed.example/?api_key=s3cret", "a secret stands in it"), ("url", "ftp://x/", "https://"),
    ("token", "s3cret", "a secret stands here"), ("headers", {"X-Api-Key": "s3cret"}, "a secret stands here"),
    ("headers", {"Host": "x"}, "said by itself"), ("headers", {"A b": "x"}, "no name"), ("every", "0s", "cannot"),
    ("headers", {"X-A": "x\r\nX-B: y"}, "letters"), ("user", "me", "'password' is missing"),
    ("certificate", "/x.pem", "'key' is missing"), ("proxy", "http://u:s3cret@p:1", "no address of a proxy"),
    ("since", {"param": "x"}, "no field"), ("since", {"param": "x", "field": "a", "format": "iso"}, "not known"),
    ("cursor", {"param": "", "path": "a"}, "text is expected"), ("since", "x", "a table"), ("id", [1], "list of texts"),
    ("page", {"param": "p", "first": 2}, "no such number"), ("records", "a..b", "no field's name"),
    ("cursor", {"param": "p", "path": "a", "x": 1}, "no key 'x'"),
])
def test_a_declaration_says_all_its_faults_and_never_a_secret(key, value, words):
    options = Options({"url": URL, key: value})
    read_settings(options)
    assert any(words in fault.cause for fault in options.faults), options.faults
    assert "s3cret" not in repr(options.faults)
    assert all(fault.write for fault in options.faults)


def test_a_password_that_stands_there_is_not_also_missing():
    options = Options({"url": URL, "user": "me", "password": "s3cret"})
    read_settings(options)
    assert [fault.code for fault in options.faults] == [Code.SECRET_INLINE]


def test_two_ways_to_the_next_page_are_one_too_many():
    options = Options({"url": URL, "next": "a", "page": {"param": "p"}})
    read_settings(options)
    assert [fault.key for fault in options.faults] == ["page"]


def test_the_kind_says_what_it_needs_and_its_options():
    assert {option.name for option in SOURCE.options} >= {"url", "every", "since", "cursor", "next", "page", "id"}
    declared = settings(ca="/none.pem", token={"file": "/none"}, headers={"X-Key": {"env": "NOT_SET_HERE"}})
    package, ca, token, key = SOURCE.needs(declared)
    assert not package.problem and "cannot be read" in ca.problem and token.problem and "environment" in key.problem
