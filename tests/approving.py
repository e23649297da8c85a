"""An action that is held, who may approve it, and who may not: for tests of a quorum. No randomness."""

from __future__ import annotations

from typing import Any

from fabric.protocol.access.approvals import Hold, approval_record, asked_of
from fabric.protocol.access.quorum import Judge
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import ApproveGrant, Grants, RequestGrant
from fabric.protocol.trust.policies import Escalation, Policies, Rule, When, demand_of, issue_policies, verify_policies
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import FABRIC, MINUTE_MS, T0, Authority, Member, verified

AUTHORITY = Authority("approving")
MAY = Grants(approve=(ApproveGrant("contain", "segment=ot-1"),), request=(RequestGrant("deny *", "all"),))
RULE = Rule(
    "ot", When("contain", "", "segment=ot-1"), 2, ("ot-lead",), 10 * MINUTE_MS,
    Escalation(5 * MINUTE_MS, ("ciso",), 1),
)


def member(id_: str, role: str, principal: str = "", grants: Grants = MAY, key_of: str = "", **fields: Any) -> Member:
    return AUTHORITY.issue(id_, grants=grants, tags=[("role", role)], principal=principal, key_of=key_of, **fields)


SOAR = member("soar-1", "soar", "kim")
FW = AUTHORITY.issue("fw-7", segment="ot-1", tags=[("role", "firewall")])
OTHER_FW = AUTHORITY.issue("fw-8", segment="ot-1", tags=[("role", "firewall")])
LEADS = [member("lead-1", "ot-lead", "ann"), member("lead-2", "ot-lead", "bob"), member("lead-3", "ot-lead")]
CISO = member("ciso-1", "ciso", "eve")


def policies(*rules: Rule, version: int = 3) -> Policies:
    raw = issue_policies(FABRIC, version, T0, rules or (RULE,), {}, AUTHORITY.signer)
    found = verify_policies(raw, AUTHORITY.key, FABRIC)
    assert isinstance(found, Policies), found
    return found


POLICIES = policies()


def action(**fields: Any) -> Verified:
    fields = {"topic": "deny.ipv4_net", "to": "role=firewall", "severity": Severity.HIGH, "label": Label.GREEN} | fields
    args = fields.pop("args", {})
    record = {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": args}
    return verified(SOAR, kind=Kind.ACTION, records=[record], **fields)


ACTION = action()
HOLD = Hold(ACTION, ("fw-7", "fw-8"), T0 + 1_000)


def approval(
    by: Member, after_ms: int = MINUTE_MS, *, hold: Hold = HOLD, rule: str = "ot", under: Policies = POLICIES,
    approves: bool = True, record: dict[str, Any] | None = None, sequence: int = 0, **header: Any,
) -> Verified:
    """What this member says so long after the hold began. `record`: what its record says otherwise."""
    said = approval_record(hold, rule, under, approves=approves) | (record or {})
    fields = {
        "kind": Kind.APPROVAL, "topic": hold.action.header.topic, "correlation": hold.action.leaf,
        "issued_at_ms": hold.held_at_ms + after_ms, "ttl_ms": 10 * MINUTE_MS, "label": Label.GREEN,
        "sequence": sequence,
    } | header
    return verified(by, records=[{key: value for key, value in said.items() if value is not None}], **fields)


def judge(
    hold: Hold = HOLD, rule: Rule | None = None, under: Policies = POLICIES, gone: tuple[str, ...] = (),
    known: tuple[Member, ...] = (FW, OTHER_FW),
) -> Judge:
    """`gone`: the ids of those who are revoked by now."""
    credentials = [one.credential for one in known]
    decides = rule or demand_of(under, asked_of(hold.action.header), credentials)
    assert decides is not None
    return Judge(
        hold, decides, under, credentials, lambda who: Reject(Code.REVOKED, who.id) if who.id in gone else None, SKEW_MS
    )
