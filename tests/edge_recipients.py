"""Recipients of what is sealed, and a control point that asks for their keys: for the tests of that."""

from __future__ import annotations

from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.recipients import Recipients
from fabric.protocol.core.ready import Answered, Ready
from fabric.protocol.enrolment.recipients import encode_found
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.trust.revocations import issue_revocations, verify_revocations
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import FABRIC, T0, Authority, entropy

AUTHORITY = Authority("recipients")
ME = AUTHORITY.issue("zeek-1")
ROLE = (("role", "lead"),)
LEAD, DEPUTY = AUTHORITY.issue("lead-1", tags=ROLE), AUTHORITY.issue("lead-2", tags=ROLE)
AMBER = AUTHORITY.issue("analyst-1", clearance=Label.AMBER)
ABROAD = AUTHORITY.issue("lead-4", organisation="msp", tags=ROLE)
OVER = AUTHORITY.issue("lead-5", not_after_ms=1)


class House:
    """What of a control point knows to whom something is sealed; nobody answers it but a test."""

    def __init__(self):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"), ("mid",))
        self.recipients = Recipients(self.core, entropy("questions"))
        self.awaiting_keys = AwaitingKeys(self.core, self.recipients)
        self.now_ms = T0
        self.asked = []
        self.drafts = 0

    def draft(self, *names, organisations=(), label=Label.RED):
        self.drafts += 1
        audience = Audience(tuple(organisations), (), names) if names or organisations else None
        stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, 60_000, label, audience=audience)
        return Draft(stamp, {"n": self.drafts}, self.now_ms, None)

    def sort(self, *drafts):
        """Which can go, and the errors of those that never can."""
        before = set(self.recipients._asked)
        fit, failed = self.awaiting_keys.sort(drafts, self.now_ms, Ready())
        self.asked += [id_ for id_ in self.recipients._asked if id_ not in before]
        return list(fit), [(error.code, error.detail) for _, error in failed]

    def wanted(self):
        return list(self.recipients._asked.values())

    def answer(self, *members, of_role=(), unknown=()):
        raw = encode_found(of_role, [member.credential.raw for member in members], unknown)
        assert self.awaiting_keys.answered(Answered(self.asked.pop(0), None, raw), self.now_ms)

    def revoke(self, *ids):
        raw = issue_revocations(FABRIC, 2, self.now_ms, self.now_ms + 10**9, ids, AUTHORITY.signer)
        self.core.trust.take_revocations(verify_revocations(raw, AUTHORITY.key, FABRIC))
