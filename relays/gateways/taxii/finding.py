"""Which collections a TAXII server's address leads to: through its discovery, an API root, or directly.

Guarantees: all of it is within the place that is declared; a collection that is not there, or may not be read, is a
fault that names those which are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from relays.gateways.pulling.asking import Asking, NoAnswerError, Reply, Request
from relays.gateways.pulling.pages import keys_of
from relays.gateways.taxii.settings import COLLECTIONS_MAX, Settings
from relays.wording import shown

# TAXII 2.1, 5: {api-root}/collections/{id}/, and what is below it.
_COLLECTION: Final = re.compile(r"(?P<collection>.*/collections/[^/]+)(?:/objects)?/?")
_ID_CHARS_MAX: Final = 256
_SHOWN_MAX: Final = 8
Read = Callable[[Reply], Any]


def collections_of(settings: Settings, ask: Asking, read: Read) -> dict[str, str]:
    """The address of each collection that is wanted, with a slash behind it, by its id. Raises NoAnswerError."""
    url = settings.how.url
    direct = _COLLECTION.fullmatch(urlsplit(url).path)
    if direct is not None:
        parts = urlsplit(url)._replace(path=f"{direct['collection']}/", query="", fragment="")
        return {direct["collection"].rpartition("/")[2]: parts.geturl()}
    where = settings.how.endpoint
    reply = ask(Request(url))
    document = _object(read(reply), where)
    root = reply.url
    if "api_roots" in document:
        roots = document["api_roots"] if isinstance(document["api_roots"], list) else []
        chosen = document.get("default") or (roots[0] if len(roots) == 1 else None)
        if not isinstance(chosen, str):
            raise NoAnswerError(f"{where}: it has {len(roots)} API roots, and no default",
                                "name the address of one as url")
        root = ask.there(chosen, reply.url)
    elif "versions" not in document:
        raise NoAnswerError(f"{where}: its answer is no discovery and no API root of TAXII 2.1: {keys_of(document)}",
                            "look whether the url is right")
    root = urlsplit(root)._replace(query="", fragment="").geturl().rstrip("/") + "/"
    found = _object(read(ask(Request(f"{root}collections/"))), where).get("collections")
    listed = found if isinstance(found, list) else []
    return _wanted(settings, root, [each for each in listed if isinstance(each, dict)])


def _wanted(settings: Settings, root: str, found: list[dict[str, Any]]) -> dict[str, str]:
    where, wanted = settings.how.endpoint, settings.collections
    names = {name: each for each in reversed(found) for name in _names(each)}
    known = ", ".join(shown(each.get("title") or each.get("id")) for each in found[:_SHOWN_MAX]) or "none"
    if not wanted:
        readable = [each for each in found if each.get("can_read") is not False]
        if len(readable) != 1:
            raise NoAnswerError(f"{where}: it has {len(readable)} collections that may be read: {known}",
                                "name those that are wanted: collections")
        wanted = (_names(readable[0])[0],) if _names(readable[0]) else ("",)
    chosen: dict[str, str] = {}
    for name in wanted[:COLLECTIONS_MAX]:
        each = names.get(name)
        id_ = None if each is None else each.get("id")
        if each is None or not isinstance(id_, str) or not 0 < len(id_) <= _ID_CHARS_MAX:
            raise NoAnswerError(f"{where}: it has no collection {shown(name)}; it has {known}",
                                "name one by its id, alias or title")
        if each.get("can_read") is False:
            raise NoAnswerError(f"{where}: its collection {shown(name)} may not be read",
                                "have whoever runs it let this user read it")
        chosen[id_] = f"{root}collections/{quote(id_, safe='')}/"
    return chosen


def _names(each: Mapping[str, Any]) -> list[str]:
    return [each[name] for name in ("id", "alias", "title") if isinstance(each.get(name), str)]


def _object(document: Any, where: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise NoAnswerError(f"{where}: its answer is nothing of TAXII 2.1: {keys_of(document)}",
                            "look whether the url is right")
    return document
