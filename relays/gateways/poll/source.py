"""The kind `poll`: what an API answers with JSON is mapped and published, as it is declared in a topology.

    [points.api-1.sources.alerts]
    kind = "poll"
    url = "https://feed.example/v1/alerts"
    every = "5m"
    token = { file = "/etc/fabric/feed.token" }
    records = "data.items"
    id = "id"
    since = { param = "since", field = "updated_at" }
    cursor = { param = "cursor", path = "meta.next" }
    topic = "detections.feed"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Place, SourceKind
from relays.gateways.poll.feed import PollFeed, records_in
from relays.gateways.poll.settings import OPTIONS, Settings, read_settings
from relays.gateways.pulling.asking import NoAnswerError
from relays.gateways.pulling.pages import Unreadable, document_of
from relays.gateways.pulling.settings import claim_of, needs_of
from relays.gateways.pulling.source import PullSource


def _open(settings: Settings, place: Place) -> PullSource:
    how = settings.how
    declared = (how.url, settings.since, settings.cursor, settings.next, settings.page)
    return PullSource(how, PollFeed(settings), declared, place)


def parse_all(settings: Settings, data: bytes) -> Iterator[Mapping[str, Any] | FabricError]:
    """The records of an answer, or one by itself. Raises BAD_INPUT."""
    try:
        document = document_of(data)
    except ValueError:
        raise FabricError(Code.BAD_INPUT, "it is not JSON", "give an answer as the server gives it") from None
    try:
        records = records_in(document, settings.records, "the sample")
    except NoAnswerError as error:
        if not isinstance(document, dict):
            raise FabricError(Code.BAD_INPUT, error.detail, error.next_step) from None
        records = [document]
    for record in records:
        yield record.error if isinstance(record, Unreadable) else record


SOURCE: Final = SourceKind(
    name="poll",
    summary="Records of an API that answers with JSON: by pages, cursors, links, or since a time.",
    options=OPTIONS,
    read=read_settings,
    open=_open,
    needs=lambda settings: needs_of(settings.how),
    claims=lambda settings: (claim_of(settings.how),),
    parse_all=parse_all,
    pulls=True,
)
