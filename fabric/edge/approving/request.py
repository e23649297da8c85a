"""What a relay asks an approver (SPEC 9.7): an action that it holds, and on which terms; read and checked.

Guarantees: the id is computed here from the action's own header, and each part is what that header says, so what is
shown is what is signed; a relay's words can be printed as they are. Not promised: that its origin signed the action.
An approver need not know its credential; executors do, and what nobody signed they refuse. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fabric.edge.highest import label_of_whole
from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    APPROVALS_MAX,
    APPROVERS_MAX,
    DIGEST_BYTES,
    NAME_BYTES_MAX,
    POLICY_ROLES_MAX,
    TARGETS_MAX,
)
from fabric.protocol.envelope.header import Header, Kind, decode_header
from fabric.protocol.envelope.layout import decode_envelope, leaf_of, part_digest
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.trust.policies import WITHIN_MS_MAX, Escalation, Policies
from fabric.protocol.vocabulary.arguments import check_args
from fabric.protocol.vocabulary.openc2 import read_spec, split_topic
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label

# What is kept of a request besides the bytes that it came in, which are decoded: at most about this.
_REQUEST_BYTES, _TARGET_BYTES = 4_096, 96
# Of a relay's verdict on an approval, its `end`.
COUNTED = "counted"
_MS_MAX = 2**53
# Of a text that is shown, such as a role.
_WORDS_MAX = 256


class PolicyVersion(NamedTuple):
    """Under which policies an action is held: what an approval binds."""

    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """An action that waits for approvals. Times in milliseconds since 1970, by the fabric's time.

    `id`: the action's, all of its digest; `target`, `args`: what is to be done, and `requester`, `to`: who asked whom,
    as it was signed. `targets`: all whom it will be for, and nobody else. `rule`: of the policies; it wants `require`
    approvals by these `roles`, or by those of `escalation` when they are late. `approved_by`: who approved so far.
    `by`: the relay that holds it. `until_ms`: how long, by this machine's clock. `withheld`: the label of the action
    is above this approver's clearance; it cannot be decided here, and of what it is only its topic is known.
    """

    id: str
    action: str
    target_type: str
    target: Target | None
    args: Mapping[str, Any]
    requester: str
    to: str
    targets: tuple[str, ...]
    class_: str
    severity: Severity
    label: Label
    issued_at_ms: int
    ttl_ms: int
    dry_run: bool
    held_at_ms: int
    within_ms: int
    rule: str
    require: int
    roles: tuple[str, ...]
    escalation: Escalation | None
    policies: PolicyVersion
    approved_by: tuple[str, ...]
    by: str
    until_ms: int
    withheld: bool = False
    header: Header | None = field(default=None, repr=False, compare=False)  # of the action
    bytes: int = field(default=0, repr=False, compare=False)  # about, that keeping it takes

    @property
    def key(self) -> tuple[str, str]:
        """Which hold it is: another relay may say that it holds the same."""
        return self.by, self.id

    @property
    def text(self) -> str:
        """What is to be done, in a line."""
        if self.target is None:
            return f"{self.action} {self.target_type} (withheld)"
        return f"{self.action} {self.target.text}"

    def to_json(self) -> dict[str, Any]:
        """As `fabric approvals --json` prints it."""
        later = self.escalation
        return {
            "id": self.id, "action": self.action, "target": None if self.target is None else self.target.to_json(),
            "args": dict(self.args), "requester": self.requester, "to": self.to, "targets": list(self.targets),
            "class": self.class_, "severity": self.severity.name.lower(), "label": self.label.short,
            "issued_at": self.issued_at_ms, "ttl_ms": self.ttl_ms, "dry_run": self.dry_run,
            "held_at": self.held_at_ms, "within_ms": self.within_ms, "until": self.until_ms, "rule": self.rule,
            "require": self.require, "roles": list(self.roles),
            "escalation": None if later is None else {
                "after_ms": later.after_ms, "roles": list(later.roles), "require": later.require,
            },
            "policies": self.policies.version, "policies_digest": self.policies.digest.hex(),
            "approved_by": list(self.approved_by), "by": self.by, "withheld": self.withheld,
        }


def read_request(
    message: Verified, record: Message, now_ms: int, fabric_ms: int, class_of: Callable[[str], str]
) -> ApprovalRequest | Reject:
    """What a relay's result asks. `now_ms`: this machine's time, `fabric_ms`: the fabric's; `class_of`: of a verb."""
    match record.content:
        case {
            "targets": list(targets), "held_at": held_at_ms, "within_ms": within_ms, "rule": str(rule),
            "require": require, "roles": list(roles), "policies": version, "policies_digest": str(digest), **more,
        }:
            try:
                terms = _terms(held_at_ms, within_ms, rule, require, roles, more.get("escalation", []))
                ids = _targets(targets)
                policies = PolicyVersion(_number(version, 1, _MS_MAX), _digest(digest))
                approved_by = tuple(_words(name) for name in _list(more.get("approved_by", []), APPROVALS_MAX))
            except (TypeError, ValueError, LookupError):
                return Reject(Code.MALFORMED, "what an approver is asked")
        case _:
            return Reject(Code.MALFORMED, "what an approver is asked")
    raw = record.content.get("action")
    if raw is None and record.withheld:
        action: _Action | Reject = _Action.withheld(message.header)
    else:
        action = _read_action(raw, message.header)
    if isinstance(action, Reject):
        return action
    verb, target_type = split_topic(message.header.topic)
    asked = action.header
    return ApprovalRequest(
        message.header.correlation.hex(), verb, target_type, action.target, action.args,
        _words(asked.origin) if asked else "", _words(asked.to, 2**16) if asked else "", ids, class_of(verb),
        message.header.severity if asked is None else asked.severity,
        message.header.label if asked is None else label_of_whole(asked),
        asked.issued_at_ms if asked else 0, asked.ttl_ms if asked else 0, bool(asked and asked.terms.dry_run),
        terms.held_at_ms, terms.within_ms, terms.rule, terms.require, terms.roles, terms.escalation, policies,
        approved_by, message.credential.id, now_ms + terms.held_at_ms + terms.within_ms - fabric_ms,
        asked is None, asked, 2 * len(message.raw) + _TARGET_BYTES * len(ids) + _REQUEST_BYTES,
    )


def check_terms(request: ApprovalRequest, policies: Policies) -> Reject | None:
    """Whether it says of its rule what these policies say, where this node has the ones that it is held under.

    Under older ones nothing is approved any more. Of newer ones that have not come here nothing is known.
    """
    if request.policies.version > policies.version:
        return None
    if request.policies != (policies.version, policies.digest):
        return Reject(Code.OTHER_POLICIES, f"version {request.policies.version}, not {policies.version}")
    rule = policies.rule(request.rule)
    said = (request.require, _sorted(request.roles), request.within_ms, _later(request.escalation))
    if rule is None or said != (rule.require, _sorted(rule.roles), rule.within_ms, _later(rule.escalation)):
        return Reject(Code.OTHER_POLICIES, f"not what the rule {request.rule} says")
    return None


def _sorted(roles: Iterable[str]) -> list[str]:
    return sorted(_words(role) for role in roles)


def _later(escalation: Escalation | None) -> tuple[int, list[str], int] | None:
    if escalation is None:
        return None
    return escalation.after_ms, _sorted(escalation.roles), escalation.require


class _Terms(NamedTuple):
    held_at_ms: int
    within_ms: int
    rule: str
    require: int
    roles: tuple[str, ...]
    escalation: Escalation | None


class _Action(NamedTuple):
    header: Header | None
    target: Target | None
    args: Mapping[str, Any]

    @classmethod
    def withheld(cls, about: Header) -> _Action | Reject:
        """Of what may not be seen here, at least its id is one."""
        if len(about.correlation) != DIGEST_BYTES:
            return Reject(Code.MALFORMED, "an approval of no action")
        return cls(None, None, {})


def _read_action(raw: object, about: Header) -> _Action | Reject:
    """The action inside, whole, and the one that the result is about."""
    envelope = decode_envelope(raw) if isinstance(raw, bytes) else Reject(Code.MALFORMED, "no action")
    header = envelope if isinstance(envelope, Reject) else decode_header(envelope.header)
    if isinstance(envelope, Reject) or isinstance(header, Reject):
        return Reject(Code.MALFORMED, "the action that is to be approved")
    if header.kind is not Kind.ACTION or leaf_of(envelope.header) != about.correlation:
        return Reject(Code.BAD_DIGEST, "another action than the one that is to be approved")
    if (header.topic, header.label, header.audience) != (about.topic, about.label, about.audience):
        return Reject(Code.MALFORMED, "asked about otherwise than it was asked for")
    if len(envelope.parts) != len(header.manifest):
        return Reject(Code.BAD_MANIFEST)
    for part, entry in zip(envelope.parts, header.manifest, strict=True):
        if part is None or part_digest(part) != entry.digest:
            return Reject(Code.BAD_DIGEST, "the action that is to be approved")
    readings = read_records(header, envelope.parts)
    if isinstance(readings, Reject) or len(readings) != 1:
        return Reject(Code.BAD_ACTION, "the action that is to be approved")
    said = readings[0].content
    spec, args = read_spec(said.get("action"), said.get("target")), said.get("args") or {}
    if isinstance(spec, Reject):
        return spec
    if spec.topic != header.topic or not isinstance(args, dict):
        return Reject(Code.BAD_ACTION, "its body contradicts its topic")
    problem = check_args(args, spec)
    return problem or _Action(header, spec.target, args)


def _terms(held_at: object, within: object, rule: str, require: object, roles: Any, later: Any) -> _Terms:
    within_ms = _number(within, 1, WITHIN_MS_MAX)
    if not name_ok(rule):
        raise ValueError
    escalation = None
    if later:
        after_ms, asked, enough = later
        escalation = Escalation(_number(after_ms, 1, within_ms), _roles(asked), _number(enough, 1, APPROVERS_MAX))
    held_at_ms, required = _number(held_at, 0, _MS_MAX), _number(require, 1, APPROVERS_MAX)
    return _Terms(held_at_ms, within_ms, rule, required, _roles(roles), escalation)


def _targets(names: list[Any]) -> tuple[str, ...]:
    ids = tuple(names)
    if not 1 <= len(ids) <= TARGETS_MAX or not all(isinstance(id_, str) and name_ok(id_) for id_ in ids):
        raise ValueError
    if len(set(ids)) != len(ids):
        raise ValueError
    return tuple(sorted(ids))  # as they are signed


def _roles(names: Any) -> tuple[str, ...]:
    found = _list(names, POLICY_ROLES_MAX)
    if not all(isinstance(name, str) and 0 < len(name.encode()) <= NAME_BYTES_MAX for name in found):
        raise ValueError
    return tuple(_words(name) for name in found)


def _list(values: Any, most: int) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise ValueError
    return values


def _number(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_BYTES:
        raise ValueError
    return digest


def _words(said: object, most: int = _WORDS_MAX) -> str:
    """A few words of what a relay said; a terminal that they are printed on obeys nothing of them."""
    words = said[:most] if isinstance(said, str) else ""
    return "".join(character if character.isprintable() else "?" for character in words)
