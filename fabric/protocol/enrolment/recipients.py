"""Questions about who somebody is (SPEC 6.5): the credentials to which RED is sealed, by id or by a selector.

    question = [ 1, [id ...], selector, topic, [organisation ...] ]    at most 17 ids; a selector where it is not empty
    answer   = [ 1, [id ...], [credential ...], [id ...] ]     of the selector; what fits; ids that nobody knows

Guarantees: what is decoded is within its bounds. Credentials are passed on as they were signed: whoever asked verifies
each. Refuses, as a `Reject`: everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    ANSWER_BYTES_MAX,
    ASK_BYTES_MAX,
    AUDIENCE_NAMES_MAX,
    CREDENTIAL_BYTES_MAX,
    NAME_BYTES_MAX,
    SELECTOR_BYTES_MAX,
    TOPIC_BYTES_MAX,
)
from fabric.protocol.trust.credentials import name_ok

# A JOIN to no issuer asks this. A relay that knows nothing of it answers NO_ISSUER.
NO_ISSUER_NAME: Final = ""
# One more than can be named: so many are too many.
MEMBERS_NAMED_MAX: Final = AUDIENCE_NAMES_MAX + 1
_ELEMENTS_MAX: Final = 3 * MEMBERS_NAMED_MAX + 8


class Wanted(NamedTuple):
    """Of whom the credentials are wanted: these ids, and all whom a selector selects where there is one (SPEC 9.5).

    `topic`: of an action; then only of those who may execute it. `organisations`: of which the selected are meant;
    patterns of names as in grants, and none at all means everybody.
    """

    ids: tuple[str, ...]
    to: str = ""
    topic: str = ""
    organisations: tuple[str, ...] = ()


class Found(NamedTuple):
    """`members`: the ids of whom the selector selects, more than can be named where there are too many. `unknown`: ids
    that nobody has.

    An id that is in none of the three was found, and its credential did not fit: ask again for the rest.
    """

    members: tuple[str, ...]
    credentials: tuple[bytes, ...]
    unknown: tuple[str, ...]


def encode_wanted(wanted: Wanted) -> bytes:
    """The request of a JOIN."""
    organisations = [list(wanted.organisations)] if wanted.organisations else []
    return pack([1, list(wanted.ids), wanted.to, wanted.topic, *organisations])


def decode_wanted(raw: bytes) -> Wanted | Reject:
    """MALFORMED where it is none."""
    match unpack(raw, bytes_max=ASK_BYTES_MAX, elements_max=_ELEMENTS_MAX, depth_max=2):
        case [1, list(ids), str(to), str(topic), *more] if (
            _are_names(ids) and len(to.encode()) <= SELECTOR_BYTES_MAX and len(topic.encode()) <= TOPIC_BYTES_MAX
        ):
            organisations = more[0] if more else []
            if isinstance(organisations, list) and _are_patterns(organisations):
                return Wanted(tuple(ids), to, topic, tuple(organisations))
    return Reject(Code.MALFORMED, "who is asked for")


def encode_found(members: Iterable[str], credentials: Iterable[bytes], unknown: Iterable[str]) -> bytes:
    """As many of the credentials as fit, in this order."""
    names, unknown_names = list(members)[:MEMBERS_NAMED_MAX], list(unknown)[:MEMBERS_NAMED_MAX]
    fit: list[bytes] = []
    room = ANSWER_BYTES_MAX - len(pack([1, names, [], unknown_names])) - 16
    for raw in credentials:
        room -= len(raw) + 5
        if room < 0 or len(fit) == MEMBERS_NAMED_MAX:
            break
        fit.append(raw)
    return pack([1, names, fit, unknown_names])


def decode_found(raw: bytes) -> Found | Reject:
    """MALFORMED where it is none. What is no credential among its credentials is for whoever verifies them."""
    match unpack(raw, bytes_max=ANSWER_BYTES_MAX, elements_max=_ELEMENTS_MAX, depth_max=3):
        case [1, list(members), list(credentials), list(unknown), *_] if (
            _are_names(members) and _are_names(unknown) and len(credentials) <= MEMBERS_NAMED_MAX
            and all(type(each) is bytes and len(each) <= CREDENTIAL_BYTES_MAX for each in credentials)
        ):
            return Found(tuple(members), tuple(credentials), tuple(unknown))
        case _:
            return Reject(Code.MALFORMED, "who was found")


def _are_names(names: list[Any]) -> bool:
    return len(names) <= MEMBERS_NAMED_MAX and all(name_ok(name) for name in names)


def _are_patterns(names: list[Any]) -> bool:
    return len(names) <= MEMBERS_NAMED_MAX and all(type(name) is str and len(name) <= NAME_BYTES_MAX for name in names)
