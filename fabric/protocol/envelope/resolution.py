"""Resolutions (SPEC 9.6): what became of an action at each of its targets, signed by the relay where it turned.

One goes to the requester, as a result; and one to whoever subscribes to `resolutions.>`, as an event. Both say the
same, with the label and the audience of the action: nothing that its header did not say, and which targets ended how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import (
    BODY_BYTES_MAX,
    DIGEST_BYTES,
    HEADER_BYTES_MAX,
    HEADER_DEPTH_MAX,
    HEADER_ELEMENTS_MAX,
)
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import Report, report_header
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import class_of
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.vocabulary.topics import RESOLUTIONS

RESOLVED = "resolved"
_LEAF = re.compile(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


class About(NamedTuple):
    """What of an action's header its resolution says, or needs to be sent."""

    topic: str
    requester: str
    label: Label
    audience: Audience
    severity: Severity
    phase: Phase
    issued_at_ms: int


class Claim(NamedTuple):
    """The leaf of an action, and the relay that says how it ended."""

    action: bytes
    by: str


def about(action: Header) -> About:
    """What of this action is kept until it is resolved."""
    return About(
        action.topic, action.origin, action.label, action.audience, action.severity, action.phase, action.issued_at_ms
    )


def write_about(about: About) -> bytes:
    """For this node's own disk."""
    a = about.audience
    return pack([
        about.topic, about.requester, int(about.label),
        [list(a.organisations), list(a.communities), list(a.recipients)],
        int(about.severity), int(about.phase), about.issued_at_ms,
    ])


def read_about(raw: bytes) -> About:
    """What `write_about` wrote."""
    fields = unpack(raw, bytes_max=HEADER_BYTES_MAX, elements_max=HEADER_ELEMENTS_MAX, depth_max=HEADER_DEPTH_MAX)
    assert not isinstance(fields, Reject), "it was read from a disk that is checked"
    topic, requester, label, audience, severity, phase, issued_at_ms = fields
    return About(
        topic, requester, Label(label), Audience(*map(tuple, audience)), Severity(severity), Phase(phase), issued_at_ms
    )


class Resolution(NamedTuple):
    """`targets`: their names by how they ended. `revision`: 1, and more where an end that was unknown is known."""

    action: bytes
    about: About
    outcome: str
    targets: Mapping[str, Sequence[str]]
    revision: int

    def record(self, by: str) -> dict[str, object]:
        """As readers see it."""
        return {
            "end": RESOLVED, "action": self.action.hex(), "about": self.about.topic.replace(".", " ", 1),
            "class": class_of(self.about.topic.partition(".")[0]), "requester": self.about.requester,
            "issued_at": self.about.issued_at_ms, "outcome": self.outcome, "revision": self.revision,
            "targets": {end: list(names) for end, names in self.targets.items()}, "by": by,
        }


def claim_in(event: Verified) -> Claim | None:
    """What an event says is resolved, and by whom; None where it is not one resolution that can be read."""
    if sum(entry.size for entry in event.header.manifest) > BODY_BYTES_MAX:
        return None
    readings = read_records(event.header, event.envelope.parts)
    if isinstance(readings, Reject) or len(readings) != 1:
        return None
    match readings[0].content:
        case {"action": str(action), "by": str(by)} if _LEAF.fullmatch(action):
            return Claim(bytes.fromhex(action), by)
    return None


def for_requester(resolution: Resolution, me: Credential) -> Report:
    """A result, bound to the action."""
    about = resolution.about
    header = _header(resolution, me, about.topic, about.requester)
    return Report(replace(header, correlation=resolution.action), resolution.record(me.id))


def for_subscribers(resolution: Resolution, me: Credential) -> Report:
    """An event: it climbs, to whoever subscribes at this relay and those above."""
    header = _header(resolution, me, f"{RESOLUTIONS}.{resolution.about.topic}", "")
    return Report(replace(header, kind=Kind.EVENT), resolution.record(me.id))


def _header(resolution: Resolution, me: Credential, topic: str, to: str) -> Header:
    about = resolution.about
    return replace(
        report_header(me, topic, to, about.label, about.audience),
        severity=about.severity, phase=about.phase, issued_at_ms=about.issued_at_ms,
    )
