"""The kind `taxii`: what is new in collections of a TAXII 2.1 server becomes intel; markings become labels.

    [points.intel-1.sources.taxii]
    kind = "taxii"
    url = "https://taxii.example/taxii2/"
    collections = ["indicators"]
    every = "5m"
    user = "me"
    password = { file = "/etc/fabric/taxii.password" }
    topic = "intel.{fabric.kind}.taxii"
"""

from __future__ import annotations

from typing import Final

from relays.gateways.kinds import Place, SourceKind
from relays.gateways.pulling.settings import claim_of, needs_of
from relays.gateways.pulling.source import PullSource
from relays.gateways.stix.reading import read_stix
from relays.gateways.stix.source import parse_all, parse_one
from relays.gateways.taxii.feed import TaxiiFeed
from relays.gateways.taxii.settings import OPTIONS, Settings, read_settings


def _open(settings: Settings, place: Place) -> PullSource:
    return PullSource(settings.how, TaxiiFeed(settings), (settings.how.url, settings.collections), place)


SOURCE: Final = SourceKind(
    name="taxii",
    summary="STIX objects of collections of a TAXII 2.1 server; markings become labels.",
    options=OPTIONS,
    read=read_settings,
    open=_open,
    needs=lambda settings: needs_of(settings.how),
    claims=lambda settings: [claim_of(settings.how, collection) for collection in settings.collections or ("",)],
    parse=lambda settings, data: parse_one(settings.stix, data),
    parse_all=lambda settings, data: parse_all(settings.stix, data),
    preset=read_stix,
    pulls=True,
)
