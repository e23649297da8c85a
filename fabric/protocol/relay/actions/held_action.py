"""One action that is held until it is approved (SPEC 9.7): what is known of it, and whether there can be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fabric.protocol.access.approvals import Hold
from fabric.protocol.base.codec import pack
from fabric.protocol.base.limits import (
    APPROVAL_BYTES_MAX,
    CREDENTIAL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
)
from fabric.protocol.core.ready import KeepHold
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.release import target_bytes
from fabric.protocol.trust.policies import Rule

# What an approver is shown is one message: the action, the names of its targets, and what is asked.
_SHOWN_BYTES_MAX: Final = 131_072
# Hops, ages, and what frames an envelope and what it has.
_AROUND_BYTES: Final = 8_192


def fits(action: Verified, targets: Sequence[str], rule: Rule) -> bool:
    """Whether approvers can be shown it, and it goes on in one frame when it has taken along what they say."""
    names = sum(map(target_bytes, targets))
    approvers = max(rule.require, rule.escalation.require if rule.escalation is not None else 0)
    released = len(action.raw) + names + approvers * (CREDENTIAL_BYTES_MAX + APPROVAL_BYTES_MAX)
    return (
        len(action.raw) + names <= _SHOWN_BYTES_MAX
        and released + _AROUND_BYTES <= ENVELOPE_BYTES_MAX
        and released + names + _AROUND_BYTES <= FRAME_BYTES_MAX
    )


def asks(rule: Rule) -> dict[str, object]:
    """What the report `selected` of a dry run says beside its targets: this rule would hold the action (SPEC 9.2)."""
    return {"approval": {
        "rule": rule.name, "require": rule.require, "roles": list(rule.roles), "within_ms": rule.within_ms,
    }}


@dataclass(slots=True)
class HeldAction:
    """An action that waits for approvals, by the rule of that name. `until_ms`: by this node's steady clock."""

    hold: Hold
    rule: str
    policies: bytes  # their digest
    until_ms: int
    left: tuple[str, ...]  # of the targets those for whom it was not cancelled: what was approved is for all of them
    approvals: dict[str, Verified] = field(default_factory=dict)  # by approver
    signed_ms: dict[str, int] = field(default_factory=dict)  # when, by this node's steady clock; not over a restart


def kept(held: HeldAction) -> KeepHold:
    """As it is on disk."""
    hold = held.hold
    return KeepHold(hold.action.leaf, pack([
        hold.action.credential.raw, hold.action.raw, list(hold.targets), hold.held_at_ms, held.rule, held.policies,
        list(held.left),
    ]), held.until_ms)
