"""What a relay says to a requester of an action that needs approvals (SPEC 9.7): it is held for them, or approved.

Guarantees: its words can be printed as they are; times are by this machine's clock, whatever the relay's says, and no
hold is longer than a policy may ask. As the book keeps it, it is read back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.edge.messages import Approvals
from fabric.protocol.base.limits import APPROVALS_MAX, APPROVERS_MAX, POLICY_ROLES_MAX
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.vocabulary.lifecycle import State

# Of a name.
_WORDS_MAX = 256


def approvals_of(state: State, said: Mapping[str, Any], now_ms: int, ttl_ms: int) -> Approvals | None:
    """What a report says of approvals; None: nothing, as of who is away. `ttl_ms`: the action's."""
    if state is State.APPROVED:
        by = _names(said.get("approved_by"), APPROVALS_MAX)
        return Approvals(True, now_ms + ttl_ms, approved_by=by, escalated=said.get("escalated") is True)
    if state is not State.HELD or "within_ms" not in said:
        return None
    within_ms, require = _number(said["within_ms"], WITHIN_MS_MAX), _number(said.get("require"), APPROVERS_MAX)
    return Approvals(
        False, now_ms + within_ms, _words(said.get("rule")), require, _names(said.get("roles"), POLICY_ROLES_MAX)
    )


def demanded(said: Mapping[str, Any]) -> Approvals | None:
    """For what an action would be held, as the report of who was selected says of a dry run; None: for nothing."""
    asks = said.get("approval")
    if not isinstance(asks, Mapping) or not (within_ms := _number(asks.get("within_ms"), WITHIN_MS_MAX)):
        return None
    require, roles = _number(asks.get("require"), APPROVERS_MAX), _names(asks.get("roles"), POLICY_ROLES_MAX)
    return Approvals(False, 0, _words(asks.get("rule")), require, roles, within_ms=within_ms)


def to_book(approvals: Approvals) -> dict[str, Any]:
    """As a word of the book keeps it."""
    return {
        "given": approvals.given, "until": approvals.until_ms, "rule": approvals.rule, "require": approvals.require,
        "roles": list(approvals.roles), "by": list(approvals.approved_by), "escalated": approvals.escalated,
        **({} if approvals.is_asked else {"within": approvals.within_ms}),
    }


def from_book(said: Mapping[str, Any] | None) -> Approvals | None:
    """The inverse."""
    if not said:
        return None
    return Approvals(
        bool(said["given"]), int(said["until"]), str(said["rule"]), int(said["require"]), tuple(said["roles"]),
        tuple(said["by"]), bool(said["escalated"]), int(said.get("within", 0)),
    )


def _number(value: object, most: int) -> int:
    return min(max(0, value), most) if type(value) is int else 0


def _names(values: object, most: int) -> tuple[str, ...]:
    return tuple(_words(value) for value in values[:most]) if isinstance(values, list) else ()


def _words(said: object) -> str:
    words = said[:_WORDS_MAX] if isinstance(said, str) else ""
    return "".join(character if character.isprintable() else "?" for character in words)
