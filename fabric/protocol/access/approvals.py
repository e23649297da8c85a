"""Approvals (SPEC 9.7): what of an action a policy asks, and what an approver says of an action that is held.

Guarantees: an `Approval` says everything that its approver signed: this action by its full digest, these targets, these
policies, this rule, since when the action was held, and yes or no. Whether it counts is for `quorum`. Refuses what is
not of this form, and what of it was withheld on the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import DIGEST_BYTES, WHY_CHARS_MAX
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.policies import Asked
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.vocabulary.tlp import Label

APPROVE: Final = "approve"
DENY: Final = "deny"


def asked_of(action: Header) -> Asked:
    """What an action's header says of it, as far as policies ask."""
    verb, target_type = split_topic(action.topic)
    return Asked(verb, target_type, action.label, action.severity)


def principal_of(credential: Credential) -> str:
    """Who counts: the person or team behind a node, its id where none is named."""
    return credential.principal or credential.id


def targets_digest(ids: Iterable[str]) -> bytes:
    """Of the targets of an action, in whatever order: what an approval binds."""
    return signing.digest(signing.pae(signing.TYPE_TARGETS, pack(sorted(set(ids)))))


class Hold(NamedTuple):
    """An action that is held: `targets` was fixed then, before anybody was asked."""

    action: Verified
    targets: tuple[str, ...]
    held_at_ms: int


class Held(Protocol):
    """What an approval says of a hold: also an approver knows it, who has not checked the action's signature."""

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def held_at_ms(self) -> int: ...


class Under(Protocol):
    """What it says of policies."""

    @property
    def version(self) -> int: ...

    @property
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Approval:
    """One approver's word, as it was signed. `action`: the leaf; `targets`: their digest; `at_ms`: its own time."""

    message: Verified
    action: bytes
    approves: bool
    rule: str
    policies: int
    policies_digest: bytes
    targets: bytes
    held_at_ms: int
    why: str = ""

    @property
    def approver(self) -> Credential:
        return self.message.credential

    @property
    def at_ms(self) -> int:
        return self.message.header.issued_at_ms

    @property
    def why_label(self) -> Label:
        """Of `why`, which may be above the header's."""
        header = self.message.header
        readings = read_records(header, self.message.envelope.parts)
        return header.label if isinstance(readings, Reject) else readings[0].labels.get("why", header.label)


def approval_record(hold: Held, rule: str, policies: Under, *, approves: bool, why: str = "") -> dict[str, object]:
    """The one record of an approval; the leaf goes into its header's `correlation`, its time into `issued_at_ms`."""
    return {
        "decision": APPROVE if approves else DENY, "rule": rule, "policies": policies.version,
        "policies_digest": policies.digest.hex(), "targets": targets_digest(hold.targets).hex(),
        "held_at": hold.held_at_ms, **({"why": why} if why else {}),
    }


def read_approval(message: Verified) -> Approval | Reject:
    """What it says, or BAD_APPROVAL."""
    header = message.header
    if header.kind is not Kind.APPROVAL or len(header.correlation) != DIGEST_BYTES or message.withheld:
        return Reject(Code.BAD_APPROVAL, "not a whole approval")
    readings = read_records(header, message.envelope.parts)
    if isinstance(readings, Reject) or len(readings) != 1:
        return Reject(Code.BAD_APPROVAL, "not one record")
    match readings[0].content:
        case {
            "decision": "approve" | "deny" as decision, "rule": str(rule), "policies": int(version),
            "policies_digest": str(policies), "targets": str(targets), "held_at": int(held_at_ms), **more,
        } if _is_number(version) and _is_number(held_at_ms):
            digests, why = (_digest(policies), _digest(targets)), more.get("why", "")
            if all(digests) and isinstance(why, str) and len(why) <= WHY_CHARS_MAX:
                return Approval(
                    message, header.correlation, decision == APPROVE, rule, version, digests[0], digests[1],
                    held_at_ms, why,
                )
    return Reject(Code.BAD_APPROVAL, "its record is not of this form")


def _is_number(value: int) -> bool:
    return not isinstance(value, bool) and value >= 0


def _digest(text: str) -> bytes:
    """Empty where it is none. One spelling: lower case."""
    if len(text) != 2 * DIGEST_BYTES or not set(text) <= set("0123456789abcdef"):
        return b""
    return bytes.fromhex(text)
