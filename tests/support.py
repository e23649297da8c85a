"""Deterministic members and messages of an invented fabric, for tests and the simulator. No randomness."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import STREAM_BYTES, Header, Kind, Relabels, Terms
from fabric.protocol.envelope.layout import seal
from fabric.protocol.envelope.parts import build_parts
from fabric.protocol.envelope.sealed_parts import Recipient, recipient, seal_content
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import (
    Credential,
    Grants,
    NodeKind,
    PublishGrant,
    RequestGrant,
)
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

# The present of all tests, in ms since 1970: some day in January 2027.
T0 = 1_800_000_000_000
SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

FABRIC = "acme"
# May do anything: for tests that are about something else than permissions.
EVERYTHING = Grants(
    publish=(PublishGrant(">"),), subscribe=(">",), request=(RequestGrant("*", "all"),), execute=("*",)
)

Entropy = Callable[[int], bytes]


def derive(*names: object) -> bytes:
    """32 bytes that stand for these names."""
    return hashlib.sha256("/".join(map(str, names)).encode()).digest()


def entropy(seed: object) -> Entropy:
    """A source of bytes that gives the same for the same seed, and never the same twice."""
    calls = 0

    def draw(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(derive("entropy", seed, calls)).digest(count)

    return draw


@dataclass(frozen=True)
class Member:
    """A node with its keys. `curve_key` stands for its CURVE public key."""

    credential: Credential
    signer: Signer
    curve_key: bytes

    @property
    def id(self) -> str:
        return self.credential.id


class Authority:
    """Who signs credentials; the same seed gives the same keys."""

    def __init__(self, seed: object = 0, fabric: str = FABRIC) -> None:
        self.seed = seed
        self.fabric = fabric
        self.signer = Signer(derive("authority", seed))
        self.key = self.signer.public

    def issue(
        self,
        id: str,  # noqa: A002
        kind: NodeKind = NodeKind.POINT,
        clearance: Label = Label.RED,
        organisation: str = "acme",
        segment: str = "hq",
        grants: Grants | None = None,
        tags: Sequence[tuple[str, str]] = (),
        not_before_ms: int = 0,
        not_after_ms: int = 2**45,
        serial: int = 1,
        communities: Sequence[str] = (),
        client_of: Sequence[str] = (),
        principal: str = "",
        key_of: str = "",
        *,
        carries_sealed: bool = False,
    ) -> Member:
        """`key_of`: whose signing key it has; its own where it says none."""
        signer = Signer(derive("signing", self.seed, key_of or id))
        curve_key = derive("curve", self.seed, id)
        raw = issue(
            Credential(
                fabric=self.fabric,
                id=id,
                kind=kind,
                carries_sealed=carries_sealed,
                principal=principal,
                curve_key=curve_key,
                sign_key=signer.public,
                organisation=organisation,
                clearance=clearance,
                segment=segment,
                not_before_ms=not_before_ms,
                not_after_ms=not_after_ms,
                serial=serial,
                communities=tuple(communities),
                client_of=tuple(client_of),
                tags=tuple(tags),
                grants=grants if grants is not None else Grants(),
            ),
            self.signer,
        )
        credential = verify_credential(raw, self.key, self.fabric)
        assert isinstance(credential, Credential), credential
        return Member(credential, signer, curve_key)


def draft(
    member: Member,
    *,
    kind: Kind = Kind.EVENT,
    topic: str = "detections.zeek.conn",
    records: Sequence[Mapping[str, Any]] = ({"src_ip": "10.1.0.7", "rule": "port scan"},),
    rules: Mapping[str, Label] | None = None,
    label: Label = Label.GREEN,
    severity: Severity = Severity.MEDIUM,
    phase: Phase = Phase.NONE,
    issued_at_ms: int = T0,
    ttl_ms: int = MINUTE_MS,
    to: str = "",
    correlation: bytes = b"",
    organisations: Sequence[str] = ("acme",),
    communities: Sequence[str] = (),
    recipients: Sequence[str] = (),
    sequence: int = 0,
    terms: Terms = Terms(),  # noqa: B008 - a tuple
    state: State = State.NONE,
    relabels: Relabels | None = None,
    entropy: Entropy | None = None,
    sealed_to: Sequence[Member] = (),
) -> tuple[Header, list[bytes]]:
    """A header and its parts, not signed yet. Fields without one of the `rules` bear the envelope's label.

    `sealed_to`: what is RED is sealed to these; they are its recipients, with those that are named.
    """
    draw = entropy if entropy is not None else _entropy_of(member.id, sequence)
    keys = [key for each in sealed_to if isinstance(key := recipient(each.credential), Recipient)]
    recipients = (*recipients, *(key.id for key in keys))
    header = Header(
        kind=kind,
        topic=topic,
        origin=member.id,
        stream=derive("stream", member.id, topic, label, *organisations)[:STREAM_BYTES],
        sequence=sequence,
        issued_at_ms=issued_at_ms,
        ttl_ms=ttl_ms,
        severity=severity,
        phase=phase,
        label=label,
        audience=Audience(tuple(organisations), tuple(communities), tuple(recipients)),
        to=to,
        correlation=correlation,
        records=len(records),
        terms=terms,
        state=state,
        relabels=relabels,
    )
    manifest, parts = build_parts(
        [dict(record) for record in records], FieldLabels(rules or {}, label), label, draw,
        (lambda content: seal_content(content, header, keys, draw)) if keys else None,
    )
    return replace(header, manifest=manifest), parts


def _entropy_of(*names: object) -> Entropy:
    return entropy("/".join(map(str, names)))


def message(member: Member, **fields: Any) -> bytes:
    """A signed envelope of what `draft` takes. Without `entropy`, salts follow from origin and sequence."""
    return seal([draft(member, **fields)], member.credential.digest, member.signer)[0]


def opened(raw: bytes, *members: Member) -> Verified:
    """The envelope as one that was checked. Fails the test when it is refused."""
    result = open_envelope(raw, {m.credential.digest: m.credential for m in members}, RootCache())
    assert isinstance(result, Verified), result
    return result


def verified(member: Member, **fields: Any) -> Verified:
    """`message`, opened."""
    return opened(message(member, **fields), member)


def noise(seed: int, bytes_: int = 45_000) -> str:
    """Text that does not compress."""
    return base64.b64encode(random.Random(seed).randbytes(bytes_)).decode()
