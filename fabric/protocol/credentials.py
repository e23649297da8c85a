"""Credentials: who a node is and what it may, signed by the fabric's authority (SPEC 6).

Guarantees: a `Credential` that came from `verify_credential` is signed by the authority, belongs to the fabric and
is well formed. Whether it is valid *now* and not revoked is asked at every use, with the time as an argument.
Refuses: anything unsigned, from another fabric, with a name that could be a path or a selector, or over a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from fabric.protocol import signing
from fabric.protocol.codec import pack, unpack
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import (
    CREDENTIAL_BYTES_MAX,
    GRANTS_MAX,
    HEADER_DEPTH_MAX,
    HEADER_ELEMENTS_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    TAGS_MAX,
)
from fabric.protocol.severity import Severity, severity_from_wire
from fabric.protocol.tlp import Label, label_from_wire

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class NodeKind(IntEnum):
    RELAY = 1
    POINT = 2
    OPERATOR = 3
    ISSUER = 4


@dataclass(frozen=True, slots=True)
class PublishGrant:
    pattern: str
    severity_max: Severity = Severity.FATAL
    rate_per_s: int = 0  # 0: not limited


@dataclass(frozen=True, slots=True)
class RequestGrant:
    action: str
    to: str
    severity_max: Severity = Severity.FATAL
    scope: str = ""  # the relay where its actions turn; empty: the root


@dataclass(frozen=True, slots=True)
class ApproveGrant:
    class_: str
    to: str


@dataclass(frozen=True, slots=True)
class Grants:
    """Everything is denied that is not in here."""

    publish: tuple[PublishGrant, ...] = ()
    subscribe: tuple[str, ...] = ()
    request: tuple[RequestGrant, ...] = ()
    execute: tuple[str, ...] = ()
    approve: tuple[ApproveGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class Credential:
    """What the authority says of a node. Keys are 32 raw bytes, times milliseconds since 1970."""

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
    raw: bytes = b""
    digest: bytes = b""

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


def digest_of(raw: bytes) -> bytes:
    """The 16 bytes by which an envelope names its signer."""
    return signing.digest(raw)[:ID_BYTES]


def issue(credential: Credential, authority: signing.Signer) -> bytes:
    """The signed bytes of a credential: msgpack [body, signature, chain]; the chain of issuers is empty so far."""
    grants = credential.grants
    body = pack([
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
        [
            [[g.pattern, int(g.severity_max), g.rate_per_s] for g in grants.publish],
            list(grants.subscribe),
            [[g.action, g.to, int(g.severity_max), g.scope] for g in grants.request],
            list(grants.execute),
            [[g.class_, g.to] for g in grants.approve],
        ],
        credential.not_before_ms,
        credential.not_after_ms,
        credential.serial,
    ])
    return pack([body, authority.sign(signing.TYPE_CREDENTIAL, body), []])


def verify_credential(raw: bytes, authority_key: bytes, fabric: str) -> Credential | Reject:
    """Signature first, then form: nothing of an unsigned body is looked at."""
    outer = unpack(raw, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=8, depth_max=2)
    if isinstance(outer, Reject):
        return Reject(outer.code, "credential")
    if not (isinstance(outer, list) and len(outer) >= 3 and all(isinstance(b, bytes) for b in outer[:2])):
        return Reject(Code.MALFORMED, "credential")
    body, signature = outer[0], outer[1]
    # Only the body is signed: any other way to write the rest would be another digest for the same credential.
    if raw != pack([body, signature, []]):
        return Reject(Code.MALFORMED, "credential")
    if not signing.verify(authority_key, signing.TYPE_CREDENTIAL, body, signature):
        return Reject(Code.BAD_CREDENTIAL)
    fields = unpack(
        body, bytes_max=CREDENTIAL_BYTES_MAX, elements_max=2 * HEADER_ELEMENTS_MAX, depth_max=HEADER_DEPTH_MAX
    )
    try:
        credential = _from_fields(fields, raw)
    except (TypeError, ValueError, LookupError):
        return Reject(Code.MALFORMED, "credential body")
    if credential.fabric != fabric:
        return Reject(Code.WRONG_FABRIC)
    return credential


def _from_fields(f: Any, raw: bytes) -> Credential:
    if not isinstance(f, list) or f[0] < 1 or not all(name_ok(f[i]) for i in (1, 2, 8, 12)):
        raise ValueError
    if any(len(_bytes(f[i])) != 32 for i in (5, 6)) or len(_bytes(f[7])) not in (0, 32):
        raise ValueError
    publish, subscribe, request, execute, approve = f[14][:5]
    if len(f[13]) > TAGS_MAX or any(len(grants) > GRANTS_MAX for grants in f[14]):
        raise ValueError
    return Credential(
        fabric=f[1],
        id=f[2],
        kind=NodeKind(f[3]),
        principal=_str(f[4]),
        curve_key=f[5],
        sign_key=f[6],
        seal_key=f[7],
        organisation=f[8],
        communities=_strs(f[9]),
        client_of=_strs(f[10]),
        clearance=label_from_wire(f[11]),
        segment=f[12],
        tags=tuple((_str(k), _str(v)) for k, v in f[13]),
        grants=Grants(
            publish=tuple(PublishGrant(_str(g[0]), severity_from_wire(g[1]), _int(g[2])) for g in publish),
            subscribe=_strs(subscribe),
            request=tuple(
                RequestGrant(_str(g[0]), _str(g[1]), severity_from_wire(g[2]), _str(g[3])) for g in request
            ),
            execute=_strs(execute),
            approve=tuple(ApproveGrant(_str(g[0]), _str(g[1])) for g in approve),
        ),
        not_before_ms=_int(f[15]),
        not_after_ms=_int(f[16]),
        serial=_int(f[17]),
        raw=raw,
        digest=digest_of(raw),
    )


def check_validity(credential: Credential, now_ms: int, skew_ms: int) -> Reject | None:
    """Whether it is valid at this time; the skew is given to it at both ends (SPEC 5)."""
    if now_ms + skew_ms < credential.not_before_ms or now_ms - skew_ms > credential.not_after_ms:
        return Reject(Code.CREDENTIAL_EXPIRED, credential.id)
    return None


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
