"""Whether an action may go on without being held (SPEC 9.7): asked at each hop down, and at the executor.

Guarantees: where a rule of the policies is about the action and a target that is known here, it is let pass only with a
quorum that this node found itself; from when its time counts is what that quorum says. Stateless.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.access.approvals import Hold, asked_of, read_approval
from fabric.protocol.access.permissions import fetches
from fabric.protocol.access.quorum import Standing, check_quorum
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import Approved
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.policies import Policies, demand_among
from fabric.protocol.trust.store import TrustStore


def open_approval(
    credential_raw: bytes, envelope_raw: bytes, trust: TrustStore, roots: RootCache
) -> Verified | Reject:
    """An approval that comes with its signer's credential."""
    credential = verify_credential(credential_raw, trust.authority_key, trust.fabric)
    if isinstance(credential, Reject):
        return credential
    return open_envelope(envelope_raw, {credential.digest: credential}, roots)


def why_not_released(
    action: Verified, known: Sequence[Credential], trust: TrustStore, standing: Standing, roots: RootCache,
    now_ms: int, skew_ms: int,
) -> Reject | None:
    """Why it may not go on to these targets of it, as far as they are known here; `now_ms`: the fabric's time.

    A dry run, and what fetches, is held by nobody: nothing is executed.
    """
    header, approved, policies = action.header, action.envelope.approved, trust.policies
    if header.kind is not Kind.ACTION or header.terms.dry_run or fetches(header):
        return None if approved is None else Reject(Code.BAD_APPROVAL, "of what needs none")
    if approved is None:
        rule = demand_among(policies, asked_of(header), known, "")
        return None if rule is None else Reject(Code.APPROVAL_DUE, rule.name)
    return _why_not(action, approved, known, policies, trust, standing, roots, now_ms, skew_ms)


def _why_not(
    action: Verified, approved: Approved, known: Sequence[Credential], policies: Policies, trust: TrustStore,
    standing: Standing, roots: RootCache, now_ms: int, skew_ms: int,
) -> Reject | None:
    if any(node.id not in approved.targets for node in known):
        return Reject(Code.OTHER_TARGETS)
    messages: list[Verified] = []
    for credential, envelope in approved.approvals:
        message = open_approval(credential, envelope, trust, roots)
        if isinstance(message, Reject):
            return message
        messages.append(message)
    first = read_approval(messages[0])
    rule = demand_among(policies, asked_of(action.header), known, "" if isinstance(first, Reject) else first.rule)
    if rule is None:
        return Reject(Code.BAD_APPROVAL, "of what needs none")
    hold = Hold(action, approved.targets, approved.held_at_ms)
    found = check_quorum(hold, rule, messages, policies, known, standing, now_ms, skew_ms)
    if isinstance(found, Reject):
        return found
    return None if found.completed_at_ms == approved.at_ms else Reject(Code.BAD_APPROVAL, "not of that time")
