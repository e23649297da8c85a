"""The authority's approval policies (SPEC 6.7): which actions need whose approval, and of which class `x-` verbs are.

Guarantees: a `Policies` from `verify_policies` is the authority's for this fabric, whole, and every rule in it can be
read and could be met. Of the rules that match an action one decides, and the same one wherever it is asked: `demand_of`
is total, and the order of rules means nothing. The class of an action is the authority's word, never a requester's.
Refuses: unsigned policies, those of another fabric, a rule that asks for nobody, and a class for a verb that has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeGuard

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import (
    APPROVERS_MAX,
    NAME_BYTES_MAX,
    POLICIES_BYTES_MAX,
    POLICY_CLASSES_MAX,
    POLICY_ELEMENTS_MAX,
    POLICY_ROLES_MAX,
    POLICY_RULES_MAX,
    TTL_MAX_MS,
)
from fabric.protocol.base.signed import open_document, seal_document
from fabric.protocol.trust.credentials import Credential, name_ok
from fabric.protocol.vocabulary.openc2 import (
    ACTIONS,
    CLASSES,
    ActionClass,
    action_matches,
    check_action_pattern,
    class_of,
    is_extension,
)
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label

_WHAT: Final = "policies"
# An approval may be as old as its kind allows, and no hold is longer.
WITHIN_MS_MAX: Final = TTL_MAX_MS["approval"]


class Asked(NamedTuple):
    """What an action's signed header says of it, as far as rules ask."""

    action: str
    target_type: str
    label: Label
    severity: Severity


@dataclass(frozen=True, slots=True)
class When:
    """Which actions a rule is for. Empty is any; label and severity are met from there upwards.

    `to` selects among an action's targets: one that it selects is enough.
    """

    class_: ActionClass | None = None
    action: str = ""
    to: str = ""
    label: Label = Label.CLEAR
    severity: Severity = Severity.UNKNOWN

    def is_about(self, class_: ActionClass, asked: Asked) -> bool:
        """Whether it is for such an action, as far as its targets do not matter."""
        return (
            (not self.class_ or self.class_ == class_)
            and (not self.action or action_matches(self.action, asked.action, asked.target_type))
            and asked.label >= self.label
            and asked.severity >= self.severity
        )

    def takes_in(self, target: Credential) -> bool:
        """Whether it is for actions to this target."""
        return not self.to or selected(self.to, target)


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who else may approve when an action has been held for so long, and how many of them are enough."""

    after_ms: int
    roles: tuple[str, ...]
    require: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`require` distinct principals with one of these roles must approve, within this time of the hold's beginning."""

    name: str
    when: When
    require: int
    roles: tuple[str, ...]
    within_ms: int
    escalation: Escalation | None = None

    @property
    def demand(self) -> tuple[int, int, str]:
        """What demands more sorts first: more approvers, then less time; of equals the name decides."""
        return -self.require, self.within_ms, self.name


@dataclass(frozen=True, slots=True)
class Policies:
    """Version 0 is none at all: the grant alone decides. `rules`: the most demanding first."""

    version: int = 0
    issued_at_ms: int = 0
    rules: tuple[Rule, ...] = ()
    classes: Mapping[str, ActionClass] = field(default_factory=dict)  # of `x-` verbs only
    raw: bytes = b""
    digest: bytes = b""  # of what was signed: what an approval binds

    def supersedes(self, other: Policies) -> bool:
        return self.version > other.version

    def class_of(self, action: str) -> ActionClass:
        """OpenC2's own actions are what they are; an `x-` verb is what the authority says, else `other`."""
        return self.classes.get(action) or class_of(action)

    def rule(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.name == name), None)


def demand_of(policies: Policies, asked: Asked, targets: Sequence[Credential]) -> Rule | None:
    """The most demanding rule that matches; None: the grant alone decides."""
    class_ = policies.class_of(asked.action)
    for rule in policies.rules:
        if rule.when.is_about(class_, asked) and any(rule.when.takes_in(target) for target in targets):
            return rule
    return None


def demand_among(policies: Policies, asked: Asked, known: Sequence[Credential], named: str) -> Rule | None:
    """The same where only some targets are known, of an action that was approved by the rule with this name, if any.

    That rule counts where it is about such actions and demands no less than the one that matches here: it may have been
    another target that it is for. Otherwise the one that matches here does.
    """
    own, rule = demand_of(policies, asked, known), policies.rule(named)
    if rule is None or not rule.when.is_about(policies.class_of(asked.action), asked):
        return own
    return rule if own is None or rule.demand <= own.demand else own


def selected(selector: str, node: Credential) -> bool:
    """Whether a selector selects this node. Empty and unreadable select nobody."""
    parsed = parse_selector(selector)
    return not isinstance(parsed, Reject) and parsed.matches(node.attributes())


# -- as it travels ----------------------------------------------------------------------------------------


def issue_policies(
    fabric: str, version: int, issued_at_ms: int, rules: Sequence[Rule], classes: Mapping[str, ActionClass],
    authority: signing.Signer,
) -> bytes:
    """The same rules and classes in any order are the same bytes. Raises FabricError(TOO_LARGE) beyond the bound."""
    ordered = sorted(rules, key=lambda rule: rule.demand)
    body = pack([
        1, fabric, version, issued_at_ms, [_rule_out(rule) for rule in ordered],
        [[verb, class_] for verb, class_ in sorted(classes.items())],
    ])
    raw = seal_document(signing.TYPE_POLICIES, body, authority)
    if len(raw) > POLICIES_BYTES_MAX or len(ordered) > POLICY_RULES_MAX or len(classes) > POLICY_CLASSES_MAX:
        raise FabricError(Code.TOO_LARGE, f"policies of {len(ordered)} rules have {len(raw)} bytes")
    return raw


def verify_policies(raw: bytes, authority_key: bytes, fabric: str) -> Policies | Reject:
    """The policies, or STALE_POLICIES (the authority did not sign them), WRONG_FABRIC or MALFORMED."""
    opened = open_document(
        raw, signing.TYPE_POLICIES, authority_key, POLICIES_BYTES_MAX, what=_WHAT, unsigned=Code.STALE_POLICIES
    )
    if isinstance(opened, Reject):
        return opened
    body = unpack(opened, bytes_max=POLICIES_BYTES_MAX, elements_max=POLICY_ELEMENTS_MAX, depth_max=5)
    match body:
        case [1, str(name), version, issued, list(entries), list(pairs), *_]:
            if name != fabric:
                return Reject(Code.WRONG_FABRIC, _WHAT)
            if len(entries) > POLICY_RULES_MAX or len(pairs) > POLICY_CLASSES_MAX:
                return Reject(Code.TOO_LARGE, _WHAT)
            try:
                return _policies(_number(version, 1, 2**53), _number(issued, 0, 2**53), entries, pairs, raw, opened)
            except (TypeError, ValueError, LookupError):
                pass
    return Reject(Code.MALFORMED, _WHAT)


def _policies(
    version: int, issued_at_ms: int, entries: list[Any], pairs: list[Any], raw: bytes, body: bytes
) -> Policies:
    rules = sorted([_rule_in(entry) for entry in entries], key=lambda rule: rule.demand)
    classes = dict([_class_in(pair) for pair in pairs])
    if len({rule.name for rule in rules}) != len(rules) or len(classes) != len(pairs):
        raise ValueError
    return Policies(version, issued_at_ms, tuple(rules), classes, raw, signing.digest(body))


def _rule_out(rule: Rule) -> list[object]:
    when, later = rule.when, rule.escalation
    return [
        rule.name, [when.class_ or "", when.action, when.to, int(when.label), int(when.severity)], rule.require,
        sorted(rule.roles), rule.within_ms,
        [] if later is None else [later.after_ms, sorted(later.roles), later.require],
    ]


def _rule_in(entry: Any) -> Rule:
    if not isinstance(entry, list) or not isinstance(entry[1], list) or not isinstance(entry[5], list):
        raise TypeError
    name, when, require, roles, within_ms, later = entry[:6]
    if not name_ok(name):
        raise ValueError
    within_ms = _number(within_ms, 1, WITHIN_MS_MAX)
    return Rule(
        name, _when_in(when), _number(require, 1, APPROVERS_MAX), _roles(roles), within_ms,
        Escalation(_number(later[0], 1, within_ms - 1), _roles(later[1]), _number(later[2], 1, APPROVERS_MAX))
        if later else None,
    )


def _when_in(when: list[Any]) -> When:
    """A condition that cannot be read makes all of it malformed: to skip it would ask for less than was signed."""
    class_, action, to, label, severity = when[:5]
    if class_ != "" and not _is_class(class_):
        raise ValueError
    if not isinstance(action, str) or (action and check_action_pattern(action) is not None):
        raise ValueError
    if not isinstance(to, str) or (to and isinstance(parse_selector(to), Reject)):
        raise ValueError
    return When(
        class_ or None, action, to, Label(_number(label, 0, max(Label))), Severity(_number(severity, 0, max(Severity)))
    )


def _class_in(pair: Any) -> tuple[str, ActionClass]:
    if not isinstance(pair, list):
        raise TypeError
    verb, class_ = pair[:2]
    if not isinstance(verb, str) or not is_extension(verb) or verb in ACTIONS or not _is_class(class_):
        raise ValueError
    return verb, class_


def _is_class(value: object) -> TypeGuard[ActionClass]:
    return value in CLASSES


def _roles(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= POLICY_ROLES_MAX or len(set(value)) != len(value):
        raise ValueError
    if not all(isinstance(role, str) and 0 < len(role.encode()) <= NAME_BYTES_MAX for role in value):
        raise ValueError
    return tuple(value)


def _number(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value
