"""What servers answer to sources that ask them, and what such a source finds on its disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from relays.gateways.mapping import Mapped, read_mapping
from relays.gateways.misp.events import read_misp
from relays.gateways.misp.feed import MispFeed
from relays.gateways.misp.settings import read_settings as read_misp_settings
from relays.gateways.options import Options
from relays.gateways.poll.feed import PollFeed, link_in
from relays.gateways.poll.settings import read_settings
from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply, Request
from relays.gateways.pulling.pages import Feed, Unreadable
from relays.gateways.pulling.seen import digest_of, encoded, frames_in
from relays.gateways.pulling.settings import How
from relays.gateways.stix.reading import read_stix
from relays.gateways.taxii.feed import TaxiiFeed
from relays.gateways.taxii.settings import read_settings as read_taxii
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.fuzz.files import json_near
from tests.unit.gateways.intel import attribute, event, indicator

_NOW_MS = 1_773_144_000_000
_ASKED_MAX = 20
_SETTINGS = read_settings(Options({
    "url": "https://feed.example/v1/items", "records": "data.items", "next": "links.next", "id": ["id", "meta.version"],
    "since": {"param": "from", "field": "at", "start": "1h"},
}))
_ANSWER = {
    "data": {"items": [{"id": 1, "at": "2026-03-10T11:59:00Z"}, {"id": 2, "at": 1_773_143_999}, "198.51.100.7", None]},
    "links": {"next": "/v1/items?page=2"},
}
_LINKS = (
    b'<https://feed.example/x>; rel="last", </v1/items?page=2>; rel="next"', b"<", b">", b'; rel="next"', b",", b"<a>",
    b' ; rel = next', b"<a>;" * 900,
)


_TAXII = read_taxii(Options({"url": "https://taxii.example/root/collections/x/", "unmarked": "green"}))
_ENVELOPE = {"more": True, "next": "a", "objects": [indicator(1), indicator(2, object_marking_refs=[
    "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"], kill_chain_phases=[
        {"kill_chain_name": "mitre-attack", "phase_name": "exfiltration"}])]}
_EVENTS = {"response": [event(1, attribute(1, Tag=[{"name": "tlp:amber"}]), tags=["tlp:green"], Object=[
    {"name": "file", "distribution": "0", "Attribute": [attribute(2, "filename|md5", "x|" + "0" * 32)]}])]}
_MISP = read_misp_settings(Options({"url": "https://misp.example", "api_key": {"env": "K"}}))
_OF_STIX = read_mapping(Options({"topic": "intel.{fabric.kind}.taxii"}), read_stix)
_OF_MISP = read_mapping(Options({"topic": "intel.{fabric.kind}.misp"}), read_misp)


class _Ask:
    """Answers each request with the same."""

    def __init__(self, raw: bytes, how: How) -> None:
        self._how = how
        self._raw = raw
        self.asked = 0

    def __call__(self, request: Request) -> Reply:
        self.asked += 1
        return Reply(200, {"link": "<?page=2>; rel=next"}, self._raw, request.url)

    there = Asking.there


def answer(dice: Dice) -> bytes:
    return json_near(dice, _ANSWER)


def _records(feed: Feed, how: How, raw: bytes) -> Iterator[Mapping[str, Any]]:
    """What a feed reads of a server that gives the same to every question."""
    ask = _Ask(raw, how)
    pages = feed.pages({}, ask, lambda: _NOW_MS)  # type: ignore[arg-type]
    try:
        page = next(pages)
        while ask.asked <= _ASKED_MAX:
            for record in page.records:
                if not isinstance(record, Unreadable):
                    assert feed.id_of(record)
                    yield record
            assert int(page.mark.get("since", 0)) <= _NOW_MS
            page = pages.send(len(page.records))
        raise AssertionError("it asks without an end")
    except StopIteration:
        pass
    except NoAnswerError as error:
        assert str(error).isprintable() and error.next_step, "an error that could forge a line, or helps nobody"


def read_answer(raw: bytes) -> None:
    assert all(isinstance(record, dict) for record in _records(PollFeed(_SETTINGS), _SETTINGS.how, raw))


def envelope(dice: Dice) -> bytes:
    return json_near(dice, _ENVELOPE)


def read_envelope(raw: bytes) -> None:
    for record in _records(TaxiiFeed(_TAXII), _TAXII.how, raw):
        found = _OF_STIX.apply(record, now_ms=_NOW_MS)
        assert not isinstance(found, Mapped) or found.topic.startswith("intel.") and found.label is not None


def events(dice: Dice) -> bytes:
    return json_near(dice, _EVENTS)


def read_events(raw: bytes) -> None:
    for record in _records(MispFeed(_MISP), _MISP.how, raw):
        found = _OF_MISP.apply(record, now_ms=_NOW_MS)
        assert not isinstance(found, Mapped) or found.topic.startswith("intel.")


def link(dice: Dice) -> bytes:
    return b"".join(dice.choice(_LINKS) for _ in range(dice.randrange(8)))


def read_link(raw: bytes) -> None:
    link_in(raw.decode("latin-1"))


def taken(dice: Dice) -> bytes:
    frames = [encoded(page, [digest_of(str(n)) for n in range(dice.randrange(1, 5))]) for page in range(3)]
    data = b"".join(frames)
    return dice.damaged(data) if dice.one_in(2) else data[: dice.randrange(len(data))]


def read_taken(raw: bytes) -> None:
    assert sum(16 * len(frame.digests) for frame in frames_in(raw)) <= len(raw)


TARGETS = (
    Bytes("poll-answer", answer, read_answer), Bytes("taxii-envelope", envelope, read_envelope),
    Bytes("misp-events", events, read_events), Bytes("link-header", link, read_link), Bytes("seen", taken, read_taken),
)
