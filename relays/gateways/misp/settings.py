"""What a declaration of a MISP instance says: which of its events, and as whom it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.kinds import Option
from relays.gateways.options import Options
from relays.gateways.pulling.settings import OPTIONS as ASKING
from relays.gateways.pulling.settings import How, read_how

_NOT_HERE: Final = ("token", "user", "password")
OPTIONS: Final = (
    *(option for option in ASKING if option.name not in (*_NOT_HERE, "url")),
    Option("url", '"https://misp.example"', "Where the instance is; http:// for this machine only.", needed=True),
    Option("api_key", '{ file = "PATH" }', "The key of a user of it, who may read what is wanted.", needed=True),
    Option("published", "true | false", "Only events that are published (true)."),
    Option("start", '"30d"', "How far back the first time; without it all there is."),
    Option("search", '{ tags = ["type:OSINT"] }', "More that restSearch of MISP takes, to have fewer events."),
    Option("limit", "50", "Events of one answer (50)."),
    Option("unmarked", '"green"', "The label of what no tag and no distribution labels (the identity's default)."),
)
# What is said by itself.
_OWN: Final = ("returnFormat", "page", "limit", "timestamp", "publish_timestamp", "published", "deleted")
_SEARCH_BYTES_MAX: Final = 16_384


@dataclass(frozen=True)
class Settings:
    """`how` has the key in its headers. `start_s` None: all there is. `unmarked` None: the identity's default."""

    how: How
    published: bool
    start_s: float | None
    search: Mapping[str, Any]
    limit: int
    unmarked: Label | None


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    key = options.secret("api_key", needed=True)
    for name in _NOT_HERE:
        if options.has(name):
            options.wrong(name, "MISP takes a key", 'write api_key = { file = "/etc/fabric/misp.key" }')
    how = read_how(options)
    if key is not None:
        how = replace(how, headers={**how.headers, "Authorization": key})
    search = options.table("search")
    for name in search:
        if name in _OWN:
            options.wrong(f"search.{name}", "it is said by itself", "leave it out")
    try:
        size = len(json.dumps(dict(search), allow_nan=False))
    except (TypeError, ValueError):
        size = 0  # what cannot be carried to the edge is said of all options
    if size > _SEARCH_BYTES_MAX:
        options.wrong("search", f"it is longer than {_SEARCH_BYTES_MAX:,} characters", "search for less")
    return Settings(
        how, options.flag("published", True),
        options.seconds("start", "30d", 1.0, 100 * 366 * 86_400.0) if options.has("start") else None,
        search, options.number("limit", 50, 1, 1_000),
        options.label("unmarked", Label.RED) if options.has("unmarked") else None,
    )
