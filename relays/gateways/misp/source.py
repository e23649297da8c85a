"""The kind `misp`: what is new or changed in a MISP instance becomes intel, with its TLP labels.

    [points.intel-1.sources.misp]
    kind = "misp"
    url = "https://misp.example"
    every = "5m"
    api_key = { file = "/etc/fabric/misp.key" }
    topic = "intel.{fabric.kind}.misp"
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Place, SourceKind
from relays.gateways.misp.events import read_misp, records_of
from relays.gateways.misp.feed import MispFeed
from relays.gateways.misp.settings import OPTIONS, Settings, read_settings
from relays.gateways.pulling.pages import Unreadable, document_of
from relays.gateways.pulling.settings import claim_of, needs_of
from relays.gateways.pulling.source import PullSource


def _open(settings: Settings, place: Place) -> PullSource:
    declared = (settings.how.url, settings.published, sorted(settings.search.items(), key=str))
    return PullSource(settings.how, MispFeed(settings), declared, place)


def parse_all(settings: Settings, data: bytes) -> Iterator[Mapping[str, Any] | FabricError]:
    """The records of an answer, or of an event as MISP exports it. Raises BAD_INPUT."""
    try:
        document = document_of(data)
    except ValueError:
        raise FabricError(Code.BAD_INPUT, "it is not JSON", "give what MISP answers, or exports as JSON") from None
    events = document.get("response", [document]) if isinstance(document, dict) else document
    for event in events if isinstance(events, list) else [events]:
        for record in records_of(event, settings.unmarked):
            yield record.error if isinstance(record, Unreadable) else record


SOURCE: Final = SourceKind(
    name="misp",
    summary="Events of a MISP instance, a record for each attribute; tlp tags become labels.",
    options=OPTIONS,
    read=read_settings,
    open=_open,
    needs=lambda settings: needs_of(settings.how),
    claims=lambda settings: (claim_of(settings.how, json.dumps(settings.search, sort_keys=True, default=str)),),
    preset=read_misp,
    parse_all=parse_all,
    pulls=True,
)
