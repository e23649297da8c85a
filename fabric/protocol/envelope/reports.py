"""What a relay says of what it held (SPEC 7.5, 7.9, 9.4): reports of actions, gap markers, notices to origins.

Each is a result that the relay signs. It bears the label and the audience of what it is about, so whoever may know of
that may know of its end, and nobody else. A requester believes a relay's report only for the states in `RELAY_ENDS`;
that something was executed is for the target alone to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SESSION_KEEP_MS_MAX, TARGETS_MAX
from fabric.protocol.base.signing import Signs
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import STREAM_BYTES, Header, Kind
from fabric.protocol.envelope.layout import seal
from fabric.protocol.envelope.parts import build_parts, read_records
from fabric.protocol.envelope.sealed_parts import Recipient, recipient, seal_content
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.lifecycle import state_named
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

SELECTED = "selected"
NOBODY = "nobody"
# Of those that were selected: they are away, and it waits for them within its time.
HELD = "held"
RELAY_ENDS = frozenset({End.EXPIRED, End.UNROUTABLE, End.REFUSED, End.UNKNOWN})
# A session's marker that its relay had no room for what waited (SPEC 7.5).
GAP_TOPIC = "fabric.gap"
# What ended of an origin's messages.
NOTICE_TOPIC = "fabric.notice"
# A report is worth keeping for as long as somebody may look into what happened.
REPORT_TTL_MS = 86_400_000
# A report is a list of names. What is larger is no relay's, and is not read here.
_BYTES_MAX = 1_048_576


@dataclass(frozen=True)
class Report:
    """What a relay says, unsigned: a header without what the moment gives, and one record."""

    header: Header
    record: dict[str, object]
    labels: Mapping[str, Label] = field(default_factory=dict)  # of fields above the header's

    def sealed(
        self, me: Credential, signer: Signs, sequence: int, at_ms: int, entropy: Callable[[int], bytes],
        to: Credential | None = None,
    ) -> bytes:
        """The envelope, issued at a time of the root's. `sequence` counts what this process said.

        What is for recipients only is sealed to whom it tells, where that one is known: so it gets there by relays that
        carried what it is about.
        """
        label = self.header.label
        header = replace(self.header, sequence=sequence, issued_at_ms=at_ms)
        reader = None if to is None or not header.audience.recipients else recipient(to)
        seal_red: Callable[[bytes], bytes] | None = None
        if isinstance(reader, Recipient):
            readers = [reader]

            def seal_red(content: bytes) -> bytes:
                return seal_content(content, header, readers, entropy)

        labels = FieldLabels(dict(self.labels), label)
        manifest, parts = build_parts([self.record], labels, label, entropy, seal_red)
        return seal([(replace(header, manifest=manifest), parts)], me.digest, signer)[0]


def build_report(
    action: Verified, end: str, targets: tuple[str, ...], code: Code | None, me: Credential, detail: str = "",
    more: Mapping[str, object] | None = None, labels: Mapping[str, Label] | None = None,
) -> Report:
    """About an action, for its requester. No targets: it speaks of all of them. `detail`: what the code cannot say.

    `more`: what its record says beside that; `labels`: of fields of it that are above the action's.
    """
    about = action.header
    record: dict[str, object] = {"end": end, "targets": list(targets), "by": me.id, **(more or {})}
    if code is not None:
        record.update(code=code.label, reason=f"{code.reason}: {detail}" if detail else code.reason)
    return Report(action_report(action, about.origin, end, me), record, labels or {})


def action_report(action: Verified, to: str, end: str, me: Credential) -> Header:
    """The header of what a relay says about an action to one node; a state that `end` is stands in it."""
    about = action.header
    return replace(
        report_header(me, about.topic, to, about.label, about.audience),
        severity=about.severity, phase=about.phase, correlation=action.leaf, issued_at_ms=about.issued_at_ms,
        state=state_named(end),
    )


def names_in(report: Verified) -> list[str] | None:
    """Whom a report of an action is about, none where it names none; None where that cannot be read."""
    if sum(entry.size for entry in report.header.manifest) > _BYTES_MAX:
        return None
    readings = read_records(report.header, report.envelope.parts)
    if isinstance(readings, Reject):
        return None
    names: list[str] = []
    for reading in readings:
        targets = reading.content.get("targets")
        if not isinstance(targets, list):
            return None
        names += [name for name in targets[:TARGETS_MAX] if isinstance(name, str)]
    return names


def build_gap(node: str, records: int, me: Credential) -> Report:
    """A gap marker, for a reader of this relay's own. It says how many, and nothing of what.

    It waits as long as the reader may be away: where it ended before, nobody would know of what it counts.
    """
    header = report_header(me, GAP_TOPIC, node, Label.CLEAR, Audience((me.organisation,)))
    return Report(replace(header, ttl_ms=SESSION_KEEP_MS_MAX), {"lost": records, "by": me.id})


def build_notice(
    origin: str, label: Label, audience: Audience, since_ms: int, ended: Sequence[dict[str, object]], me: Credential
) -> Report:
    """What ended of an origin's messages with this label and audience, for the origin (SPEC 7.9)."""
    record: dict[str, object] = {"since": since_ms, "ended": list(ended), "by": me.id}
    return Report(report_header(me, NOTICE_TOPIC, origin, label, audience), record)


def report_header(me: Credential, topic: str, to: str, label: Label, audience: Audience) -> Header:
    """Of what a relay says about something with this label and audience; `to` is whom it tells."""
    return Header(
        kind=Kind.RESULT,
        topic=topic,
        origin=me.id,
        stream=me.digest[:STREAM_BYTES],
        sequence=0,
        issued_at_ms=0,
        ttl_ms=REPORT_TTL_MS,
        severity=Severity.INFORMATIONAL,
        phase=Phase.NONE,
        label=label,
        audience=audience,
        to=to,
        correlation=b"",
        manifest=(),
    )
