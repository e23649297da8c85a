"""Credentials: who a node is and what it may do (SPEC 6.1). Who vouches for that is for `chain`.

Guarantees: what `decode_body` reads is well formed and within its bounds. Whether it is valid *now* and not revoked is
checked at every use, with the time as an argument. Refuses a name that could be a path or a selector, an issuer without
`issuing`, and anybody else with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    GRANTS_MAX,
    ID_BYTES,
    KEEP_BYTES_MAX,
    KEEP_BYTES_MIN,
    NAME_BYTES_MAX,
    POINT_QUOTA_BYTES,
    SESSION_KEEP_MS_MAX,
    TAGS_MAX,
)
from fabric.protocol.vocabulary.severity import Severity, severity_from_wire
from fabric.protocol.vocabulary.tlp import Label, label_from_wire

# The times by which something may be judged, the node's best one first. Never empty.
Clocks = tuple[int, ...]

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
# A relay knows thousands of credentials that say the same of some things: of so many it keeps only one copy.
_COPIES_MAX = 256
# What a reader's share does when it is full, where it does not shed.
_WAIT = "wait"


class NodeKind(IntEnum):
    """What a credential makes of its holder (SPEC 6.1). The numbers are on the wire."""

    RELAY = 1
    POINT = 2
    OPERATOR = 3
    ISSUER = 4


@dataclass(frozen=True, slots=True)
class PublishGrant:
    """Events and intel on the topics of a pattern, up to a severity (SPEC 8.2).

    `to_organisations`, `to_communities`: whom else than its own organisation the origin may address. Where a name ends
    in `*` it stands for all that begin like it.
    """

    pattern: str
    severity_max: Severity = Severity.FATAL
    rate_per_s: int = 0  # 0: not limited
    to_organisations: tuple[str, ...] = ()
    to_communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestGrant:
    """Actions of an action pattern, to targets that the selector `to` selects, up to a severity (SPEC 8.2)."""

    action: str
    to: str
    severity_max: Severity = Severity.FATAL
    scope: str = ""  # the relay where its actions turn; empty: the root


@dataclass(frozen=True, slots=True)
class ApproveGrant:
    """Approvals of a class of actions, for targets that the selector `to` selects (SPEC 9.7)."""

    class_: str
    to: str


@dataclass(frozen=True, slots=True)
class DeclassifyGrant:
    """Messages on the topics of a pattern, labelled `from_` at most, re-issued as low as `to` (SPEC 8.3)."""

    pattern: str
    from_: Label
    to: Label


@dataclass(frozen=True, slots=True)
class Keep:
    """How much a relay keeps for a reader, and how long one that is away is waited for."""

    bytes: int = POINT_QUOTA_BYTES
    ms: int = SESSION_KEEP_MS_MAX
    waits: bool = False  # when it is full, a durable reader loses nothing, and others do not get through (SPEC 7.5)

    def covers(self, other: Keep) -> bool:
        """Whether the other asks for no more."""
        return other.bytes <= self.bytes and other.ms <= self.ms and (self.waits or not other.waits)

    def with_(self, other: Keep) -> Keep:
        """What covers both."""
        return Keep(max(self.bytes, other.bytes), max(self.ms, other.ms), self.waits or other.waits)


@dataclass(frozen=True, slots=True)
class Grants:
    """Everything is denied that is not in here. Who says nothing of what is kept has what `Keep()` says."""

    publish: tuple[PublishGrant, ...] = ()
    subscribe: tuple[str, ...] = ()
    request: tuple[RequestGrant, ...] = ()
    execute: tuple[str, ...] = ()
    approve: tuple[ApproveGrant, ...] = ()
    keep: Keep | None = None
    declassify: tuple[DeclassifyGrant, ...] = ()

    @property
    def kept(self) -> Keep:
        return self.keep or Keep()


@dataclass(frozen=True, slots=True)
class Issuing:
    """What an issuer may give to others, on every dimension. Itself it may do none of it.

    Where it says so a name may end in `*`, for all that begin like it; `*` alone is any name.
    """

    ids: tuple[str, ...]  # `*`
    kinds: tuple[NodeKind, ...]
    segments: tuple[str, ...]  # `*`
    organisations: tuple[str, ...]  # `*`
    clearance: Label
    communities: tuple[str, ...] = ()  # `*`
    client_of: tuple[str, ...] = ()  # `*`
    tags: tuple[tuple[str, str], ...] = ()  # (name, value or `*`); of one name as many as there are values
    principals: tuple[str, ...] = ()  # `*`
    grants: Grants = field(default_factory=Grants)


@dataclass(frozen=True, slots=True)
class Credential:
    """What an issuer says of a node. Keys are 32 raw bytes, times milliseconds since 1970."""

    fabric: str
    id: str
    kind: NodeKind
    curve_key: bytes
    sign_key: bytes
    organisation: str
    clearance: Label
    segment: str
    not_before_ms: int
    not_after_ms: int
    serial: int
    principal: str = ""
    seal_key: bytes = b""
    communities: tuple[str, ...] = ()
    client_of: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    grants: Grants = field(default_factory=Grants)
    issuing: Issuing | None = None  # of issuers only
    carries_sealed: bool = False  # of relays only: what is sealed to others goes by it, whatever its clearance
    issuers: tuple[str, ...] = ()  # who vouches for it, the nearest first; the authority itself has no id
    raw: bytes = b""
    digest: bytes = b""

    @property
    def is_relay(self) -> bool:
        return self.kind is NodeKind.RELAY

    @property
    def voucher(self) -> str:
        """Whose word it is: the issuer that the authority signed, with all issuers below it; empty: the authority's."""
        return self.issuers[-1] if self.issuers else ""

    def attributes(self) -> Mapping[str, str]:
        """What selectors see (SPEC 9): the tags, and over them id, segment and organisation."""
        seen = dict(self.tags)
        seen.update(id=self.id, segment=self.segment, organisation=self.organisation)
        return seen


def name_ok(name: object) -> bool:
    """Relay, control point, fabric and segment names: lower case letters, digits and -, so never a path."""
    return (
        isinstance(name, str)
        and 0 < len(name) < NAME_BYTES_MAX
        and not name.startswith("-")
        and _NAME_CHARACTERS.issuperset(name)
    )


def names_cover(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Each name, or pattern of names, is one of the patterns or begins like one that ends in `*`."""
    return all(any(begins(pattern, name) for pattern in patterns) for name in names)


def begins(pattern: str, name: str) -> bool:
    """Whether the pattern is this name, or ends in `*` and the name begins like it."""
    if pattern.endswith("*"):
        return name.removesuffix("*").startswith(pattern[:-1])
    return name == pattern


def digest_of(raw: bytes) -> bytes:
    """The 16 bytes by which an envelope names its signer."""
    return signing.digest(raw)[:ID_BYTES]


def encode_body(credential: Credential) -> bytes:
    """What is signed of a credential."""
    body: list[Any] = [
        1,
        credential.fabric,
        credential.id,
        int(credential.kind),
        credential.principal,
        credential.curve_key,
        credential.sign_key,
        credential.seal_key,
        credential.organisation,
        list(credential.communities),
        list(credential.client_of),
        int(credential.clearance),
        credential.segment,
        [list(pair) for pair in credential.tags],
        encode_grants(credential.grants),
        credential.not_before_ms,
        credential.not_after_ms,
        credential.serial,
    ]
    may = credential.issuing
    if may is not None:
        body.append([
            list(may.ids), [int(kind) for kind in may.kinds], list(may.segments), list(may.organisations),
            int(may.clearance), list(may.communities), list(may.client_of), [list(pair) for pair in may.tags],
            list(may.principals), encode_grants(may.grants),
        ])
    if credential.carries_sealed:
        body += [None, 1] if may is None else [1]
    return pack(body)


def encode_grants(grants: Grants) -> list[Any]:
    """As they stand in a credential: lists of text and numbers."""
    return [
        [_publish_out(g) for g in grants.publish],
        list(grants.subscribe),
        [[g.action, g.to, int(g.severity_max), g.scope] for g in grants.request],
        list(grants.execute),
        [[g.class_, g.to] for g in grants.approve],
        *([_keep_out(grants.kept)] if grants.keep is not None or grants.declassify else []),
        *([[[g.pattern, int(g.from_), int(g.to)] for g in grants.declassify]] if grants.declassify else []),
    ]


def decode_body(fields: Any, raw: bytes, issuers: tuple[str, ...]) -> Credential | Reject:
    """A credential from its unpacked body. `raw` is all of it as it was signed."""
    try:
        return _from_fields(fields, raw, issuers)
    except (TypeError, ValueError, LookupError):
        return Reject(Code.MALFORMED, "credential body")


def _from_fields(f: Any, raw: bytes, issuers: tuple[str, ...]) -> Credential:
    if not isinstance(f, list) or f[0] < 1 or not all(name_ok(f[i]) for i in (1, 2, 8, 12)):
        raise ValueError
    if any(len(_bytes(f[i])) != 32 for i in (5, 6)) or len(_bytes(f[7])) not in (0, 32):
        raise ValueError
    kind = NodeKind(f[3])
    return Credential(
        fabric=_one_name(f[1]),
        id=f[2],
        kind=kind,
        principal=_str(f[4]),
        curve_key=f[5],
        sign_key=f[6],
        seal_key=f[7],
        organisation=_one_name(f[8]),
        communities=_strs(f[9]),
        client_of=_strs(f[10]),
        clearance=_clearance(f[11]),
        segment=_one_name(f[12]),
        tags=_tags(f[13]),
        grants=_one_of_grants(decode_grants(f[14])),
        issuing=_issuing(f[18]) if kind is NodeKind.ISSUER else None,
        carries_sealed=kind is NodeKind.RELAY and len(f) > 19 and f[19] == 1,
        not_before_ms=_int(f[15]),
        not_after_ms=_int(f[16]),
        serial=_int(f[17]),
        issuers=issuers,
        raw=raw,
        digest=digest_of(raw),
    )


@lru_cache(maxsize=_COPIES_MAX)
def _one_of_grants(grants: Grants) -> Grants:
    """The first of all that are equal."""
    return grants


@lru_cache(maxsize=_COPIES_MAX)
def _one_name(name: str) -> str:
    """The first of all that are equal."""
    return name


def decode_grants(f: Any) -> Grants:
    """Raises TypeError, ValueError or LookupError for what is none."""
    publish, subscribe, request, execute, approve, *more = f
    lowering = more[1] if len(more) > 1 else []
    if any(len(grants) > GRANTS_MAX for grants in (publish, subscribe, request, execute, approve, lowering)):
        raise ValueError
    keep = _keep(more[0]) if more else None
    declassify = tuple(_declassify(g) for g in lowering)
    return Grants(
        publish=tuple(_publish(g) for g in publish),
        subscribe=_strs(subscribe),
        request=tuple(RequestGrant(_str(g[0]), _str(g[1]), severity_from_wire(g[2]), _str(g[3])) for g in request),
        execute=_strs(execute),
        approve=tuple(ApproveGrant(_str(g[0]), _str(g[1])) for g in approve),
        keep=None if declassify and keep == Keep() else keep,  # its place has to be filled
        declassify=declassify,
    )


def _publish_out(g: PublishGrant) -> list[Any]:
    beyond = [[list(g.to_organisations), list(g.to_communities)]] if g.to_organisations or g.to_communities else []
    return [g.pattern, int(g.severity_max), g.rate_per_s, *beyond]


def _publish(f: Any) -> PublishGrant:
    organisations, communities = (_addressed(f[3][0]), _addressed(f[3][1])) if len(f) > 3 else ((), ())
    return PublishGrant(_str(f[0]), severity_from_wire(f[1]), _int(f[2]), organisations, communities)


def _addressed(names: object) -> tuple[str, ...]:
    found = _strs(names)
    if len(found) > GRANTS_MAX:
        raise ValueError
    return found


def _declassify(f: Any) -> DeclassifyGrant:
    """Of labels that are not known it opens the least: it lowers nothing that is above CLEAR, and nothing below RED."""
    return DeclassifyGrant(_str(f[0]), _clearance(f[1]), label_from_wire(f[2]))


def _keep_out(keep: Keep) -> list[Any]:
    return [keep.bytes, keep.ms, *([_WAIT] if keep.waits else [])]


def _keep(f: Any) -> Keep:
    bytes_, ms, *more = f
    if not KEEP_BYTES_MIN <= _int(bytes_) <= KEEP_BYTES_MAX or not 0 < _int(ms) <= SESSION_KEEP_MS_MAX:
        raise ValueError
    return Keep(bytes_, ms, more[:1] == [_WAIT])


def _tags(f: Any) -> tuple[tuple[str, str], ...]:
    if len(f) > TAGS_MAX:
        raise ValueError
    return tuple((_str(name), _str(value)) for name, value, *_ in f)


def _issuing(f: Any) -> Issuing:
    ids, kinds, segments, organisations, clearance, communities, client_of, tags, principals, grants = f[:10]
    return Issuing(
        _strs(ids), tuple([_KINDS[kind] for kind in kinds if kind in _KINDS]), _strs(segments), _strs(organisations),
        _clearance(clearance), _strs(communities), _strs(client_of), _tags(tags), _strs(principals),
        decode_grants(grants),
    )


_KINDS = {int(kind): kind for kind in NodeKind}


def _clearance(n: object) -> Label:
    """How much is opened to somebody: of what is not known the least, as of content it is the most."""
    return Label(n) if type(n) is int and n in _LABELS else Label.CLEAR


_LABELS = frozenset(map(int, Label))


def check_validity(credential: Credential, now_ms: int, skew_ms: int) -> Reject | None:
    """Whether it is valid at this time; the skew is given to it at both ends (SPEC 5)."""
    if now_ms + skew_ms < credential.not_before_ms or now_ms - skew_ms > credential.not_after_ms:
        return Reject(Code.CREDENTIAL_EXPIRED, credential.id)
    return None


def check_validity_by(credential: Credential, clocks_ms: Clocks, skew_ms: int) -> Reject | None:
    """CREDENTIAL_EXPIRED where it is valid by none of these."""
    first = None
    for clock_ms in clocks_ms:
        problem = check_validity(credential, clock_ms, skew_ms)
        if problem is None:
            return None
        first = first or problem
    return first


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _strs(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError
    return tuple(_str(value) for value in values)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value
