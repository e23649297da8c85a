"""What a declaration of a polled API says: where in its answers the records are, and how one comes to the next page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from relays.gateways.kinds import Option
from relays.gateways.mapping.lookups import read_path
from relays.gateways.mapping.paths import Path
from relays.gateways.options import Options
from relays.gateways.pulling.settings import OPTIONS as ASKING
from relays.gateways.pulling.settings import How, read_how
from relays.wording import shown

OPTIONS: Final = (
    *ASKING,
    Option("records", '"data.items"', "Where in an answer the list of records is; without it the answer is the list."),
    Option("id", '"id" | ["id", "modified"]', "What a record is known by when it comes again; without it all of it."),
    Option("since", '{ param = "since", field = "updated_at" }', "Ask for what came after the newest: also format "
           '("rfc3339", "s" or "ms"), start ("24h") and overlap ("1m").'),
    Option("cursor", '{ param = "cursor", path = "meta.next_cursor" }', "An answer says what to ask for next with."),
    Option("next", '"links.next" | "link-header"', "An answer has a link to the next, or its header Link has."),
    Option("page", '{ param = "page", first = 1 }', "Pages are numbered, and the last one is empty."),
)
LINK_HEADER: Final = "link-header"
FORMATS: Final = ("rfc3339", "s", "ms")
_WAYS: Final = ("cursor", "next", "page")
_PARAM_CHARS_MAX: Final = 64


@dataclass(frozen=True)
class Since:
    """`start_s`: how far back the first time; None for all there is. `overlap_s`: again each time, for what came late.
    """

    param: str
    field: Path
    format: str
    start_s: float | None
    overlap_s: float


@dataclass(frozen=True)
class Cursor:
    """`param`: of the query, with what is at `path` of the answer."""

    param: str
    path: Path


@dataclass(frozen=True)
class Numbered:
    """`first`: the number of the first page."""

    param: str
    first: int


@dataclass(frozen=True)
class Settings:
    """`records` None: the answer itself is the list. `next` empty: there are no links. Of `cursor`, `next` and `page`
    one at most."""

    how: How
    records: Path | None
    id: tuple[Path, ...]
    since: Since | None
    cursor: Cursor | None
    next: Path | str
    page: Numbered | None


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    ways = [way for way in _WAYS if options.has(way)]
    for way in ways[1:]:
        options.wrong(way, f"there is {ways[0]} already", "leave one of them out")
    link = options.text("next")
    ids = [read_path(options, "id", each) for each in options.texts("id")]
    return Settings(
        read_how(options),
        read_path(options, "records", options.text("records")) if options.has("records") else None,
        tuple(path for path in ids if path is not None), _since(options), _cursor(options),
        link if link in ("", LINK_HEADER) else read_path(options, "next", link) or "", _page(options),
    )


def _since(options: Options) -> Since | None:
    inner = _inner(options, "since", ("param", "field", "format", "start", "overlap"))
    if inner is None:
        return None
    field = read_path(inner, "field", inner.value("field"))
    found = Since(
        _param(inner, "since"), field or Path("x", ("x",), ()), inner.choice("format", FORMATS, "rfc3339"),
        inner.seconds("start", "24h") if inner.has("start") else None,
        inner.seconds("overlap", "1m", 0.0, 30 * 86_400.0),
    )
    _pass_on(options, "since", inner)
    return found


def _cursor(options: Options) -> Cursor | None:
    inner = _inner(options, "cursor", ("param", "path"))
    if inner is None:
        return None
    path = read_path(inner, "path", inner.value("path"))
    found = Cursor(_param(inner, "cursor"), path or Path("x", ("x",), ()))
    _pass_on(options, "cursor", inner)
    return found


def _page(options: Options) -> Numbered | None:
    inner = _inner(options, "page", ("param", "first"))
    if inner is None:
        return None
    found = Numbered(_param(inner, "page"), inner.number("first", 1, 0, 1))
    _pass_on(options, "page", inner)
    return found


def _inner(options: Options, key: str, known: tuple[str, ...]) -> Options | None:
    if not options.has(key):
        return None
    inner = Options(options.table(key))
    inner.only(known)
    return inner


def _param(inner: Options, example: str) -> str:
    value: Any = inner.text("param", needed=f'"{example}"')
    if value and (not value.isascii() or not value.isprintable() or len(value) > _PARAM_CHARS_MAX):
        inner.wrong("param", f"{shown(value)} is no name of a parameter", f'write param = "{example}"')
    return str(value)


def _pass_on(options: Options, key: str, inner: Options) -> None:
    for fault in inner.faults:
        options.wrong(f"{key}.{fault.key}", fault.cause, fault.write, fault.code)
