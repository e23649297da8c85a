"""What a declaration of a TAXII server says: where it is, and which of its collections are wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from relays.gateways.kinds import Option
from relays.gateways.options import Options
from relays.gateways.pulling.settings import OPTIONS as ASKING
from relays.gateways.pulling.settings import How, read_how
from relays.gateways.stix.settings import OPTIONS as STIX
from relays.gateways.stix.settings import StixSettings
from relays.gateways.stix.settings import read_settings as read_stix_settings

MEDIA_TYPE: Final = "application/taxii+json;version=2.1"
COLLECTIONS_MAX: Final = 64
OPTIONS: Final = (
    Option("url", '"https://taxii.example/taxii2/"', "Of its discovery, an API root, or a collection; http:// for this "
           "machine only.", needed=True),
    Option("collections", '["indicators"]', "By id, alias or title; not needed where there is one only."),
    Option("start", '"30d"', "How far back the first time; without it all there is."),
    Option("limit", "1000", "Objects of one answer at most (1,000)."),
    *STIX,
    *(option for option in ASKING if option.name != "url"),
)


@dataclass(frozen=True)
class Settings:
    """`collections` empty: the one that there is. `start_s` None: all there is."""

    how: How
    collections: tuple[str, ...]
    start_s: float | None
    limit: int
    stix: StixSettings


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    how = read_how(options)
    collections = tuple(dict.fromkeys(options.texts("collections")))
    if len(collections) > COLLECTIONS_MAX:
        options.wrong("collections", f"there are more than {COLLECTIONS_MAX}", "declare another source for some")
    return Settings(
        replace(how, headers={"Accept": MEDIA_TYPE, **how.headers}), collections,
        options.seconds("start", "30d", 1.0, 100 * 366 * 86_400.0) if options.has("start") else None,
        options.number("limit", 1_000, 1, 100_000), read_stix_settings(options),
    )
