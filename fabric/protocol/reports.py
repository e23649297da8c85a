"""What a relay says of an action in its custody (SPEC 9.4): who was selected, and what ended without a result.

A report is a result signed by the relay. It bears the action's label, audience and severity, so whoever may know of
the action may know of its end, and nobody else. A requester believes a relay's report only for the states in
`RELAY_ENDS`; that something was executed is for the target alone to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fabric.protocol.actions import End
from fabric.protocol.credentials import Credential
from fabric.protocol.envelope import STREAM_BYTES, Header, Kind, seal
from fabric.protocol.errors import Code
from fabric.protocol.parts import FieldLabels, build_parts
from fabric.protocol.severity import Phase, Severity
from fabric.protocol.signing import Signer
from fabric.protocol.tlp import Audience, Label
from fabric.protocol.verify import Verified

SELECTED = "selected"
NOBODY = "nobody"
RELAY_ENDS = frozenset({End.EXPIRED, End.UNROUTABLE, End.REFUSED, End.UNKNOWN})
# A session's marker that its relay had no room for what waited (SPEC 7.5).
GAP_TOPIC = "fabric.gap"
# A report is worth keeping for as long as somebody may look into what happened.
REPORT_TTL_MS = 86_400_000


def build_report(
    action: Verified,
    end: str,
    targets: tuple[str, ...],
    code: Code | None,
    me: Credential,
    signer: Signer,
    sequence: int,
    fabric_now_ms: int,
    entropy: Callable[[int], bytes],
) -> bytes:
    """The envelope of a report about an action, for its requester. No targets: it speaks of all of them."""
    about = action.header
    record: dict[str, object] = {"end": end, "targets": list(targets), "by": me.id}
    if code is not None:
        record.update(code=code.label, reason=code.reason)
    header = Header(
        kind=Kind.RESULT,
        topic=about.topic,
        origin=me.id,
        stream=me.digest[:STREAM_BYTES],
        sequence=sequence,
        issued_at_ms=fabric_now_ms,
        ttl_ms=REPORT_TTL_MS,
        severity=about.severity,
        phase=about.phase,
        label=about.label,
        audience=about.audience,
        to=about.origin,
        correlation=action.leaf,
        manifest=(),
    )
    return _sealed(header, record, me, signer, entropy)


def build_gap(
    node: str,
    records: int,
    me: Credential,
    signer: Signer,
    sequence: int,
    fabric_now_ms: int,
    entropy: Callable[[int], bytes],
) -> bytes:
    """The envelope of a gap marker, for a reader of this relay's own. It says how many, and nothing of what."""
    header = Header(
        kind=Kind.RESULT,
        topic=GAP_TOPIC,
        origin=me.id,
        stream=me.digest[:STREAM_BYTES],
        sequence=sequence,
        issued_at_ms=fabric_now_ms,
        ttl_ms=REPORT_TTL_MS,
        severity=Severity.INFORMATIONAL,
        phase=Phase.NONE,
        label=Label.CLEAR,
        audience=Audience((me.organisation,)),
        to=node,
        correlation=b"",
        manifest=(),
    )
    return _sealed(header, {"lost": records, "by": me.id}, me, signer, entropy)


def _sealed(
    header: Header, record: dict[str, object], me: Credential, signer: Signer, entropy: Callable[[int], bytes]
) -> bytes:
    manifest, parts = build_parts([record], FieldLabels({}, header.label), header.label, entropy)
    return seal([(replace(header, manifest=manifest), parts)], me.digest, signer)[0]
