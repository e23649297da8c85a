"""OpenC2 1.0: actions, their classes and patterns, and how an action ends.

Guarantees: an `ActionSpec` names an action, and a target that was checked by its type (`targets`). The class
follows from the action, never from what a requester claims. Refuses unknown names.

`cancel` is an action like the others, except that it is not selected anew: it goes to whoever got the
original. OpenC2 has no actions but these (3.1.4); an `x-` verb is this fabric's own, for what none of them says. It is
of class `other` here; the signed policy may put it in another one.

A message that was withheld from its target has no end state of its own: it is `refused`, with the code
WITHHELD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import NAME_BYTES_MAX
from fabric.protocol.vocabulary.plain_json import Faults
from fabric.protocol.vocabulary.target_types import is_target_type
from fabric.protocol.vocabulary.targets import Target, parse_target, read_target

ActionClass: TypeAlias = Literal["investigate", "contain", "remediate", "other"]
CLASSES: Final[tuple[ActionClass, ...]] = get_args(ActionClass)

# OpenC2 Language 1.0, 3.3.1.1.
_CLASSES: Final[Mapping[str, ActionClass]] = {
    "scan": "investigate",
    "locate": "investigate",
    "query": "investigate",
    "deny": "contain",
    "contain": "contain",
    "allow": "remediate",
    "start": "other",
    "stop": "contain",
    "restart": "other",
    "cancel": "other",
    "set": "other",
    "update": "remediate",
    "redirect": "contain",
    "create": "other",
    "delete": "remediate",
    "detonate": "investigate",
    "restore": "remediate",
    "copy": "investigate",
    "investigate": "investigate",
    "remediate": "remediate",
}
ACTIONS: Final = tuple(_CLASSES)

# Extensions become a token of the action's topic, so they keep to its alphabet.
_EXTENSION: Final = re.compile(r"x-[A-Za-z0-9_-]+")
_CACHED_MAX: Final = 4_096


class Status(IntEnum):
    """OpenC2 response status."""

    PROCESSING = 102
    OK = 200
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    INTERNAL_ERROR = 500
    NOT_IMPLEMENTED = 501
    SERVICE_UNAVAILABLE = 503


class End(StrEnum):
    """How an action ended at one target: exactly one of these. Only UNKNOWN may still be replaced.

    READY is the end of a dry run, and of nothing else: it would have been begun.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNROUTABLE = "unroutable"
    UNKNOWN = "unknown"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What is to be done, and to what."""

    action: str
    target: Target

    @property
    def topic(self) -> str:
        """`deny.ipv4_net`; `delete.slpf.rule_number` for a type in a namespace."""
        return topic_of(self.action, self.target.type)

    @property
    def text(self) -> str:
        """`deny ipv4_net=203.0.113.9`"""
        return f"{self.action} {self.target.text}"


def topic_of(action: str, target_type: str) -> str:
    """An action's topic, `<action>.<target type>`; a colon, which no topic has, is a dot there, which no type has."""
    return f"{action}.{target_type.replace(':', '.')}"


def split_topic(topic: str) -> tuple[str, str]:
    """The action and the target type of an action's topic; the same for its results."""
    action, _, target_type = topic.partition(".")
    return action, target_type.replace(".", ":")


def class_of(action: str) -> ActionClass:
    """The action's class; extensions and anything unknown are `other`."""
    return _CLASSES.get(action, "other")


def is_extension(name: str) -> bool:
    """Whether it is a name of nobody's standard: `x-...`."""
    return len(name) <= NAME_BYTES_MAX and _EXTENSION.fullmatch(name) is not None


def is_action(action: str) -> bool:
    """Whether this is the name of an action: OpenC2's, or an extension."""
    return action in _CLASSES or is_extension(action)


def parse_action(action: str, target: str) -> ActionSpec | Reject:
    """An action and a target as they are typed; or every fault, with its path."""
    faults = Faults()
    return _spec(action, parse_target(target, faults), faults)


def read_spec(action: object, target: object) -> ActionSpec | Reject:
    """The same from JSON, the target as {type: value}. Never raises, whatever it is given."""
    faults = Faults()
    return _spec(action, read_target(target, "target", faults), faults)


def _spec(action: object, target: Target | None, faults: Faults) -> ActionSpec | Reject:
    if not isinstance(action, str) or not is_action(action):
        faults.add("action", "the action is not known")
    elif target is not None and not faults:
        return ActionSpec(action, target)
    return Reject(Code.BAD_ACTION, faults.detail)


@lru_cache(maxsize=_CACHED_MAX)
def _pattern(pattern: str) -> tuple[str, str] | None:
    """(action or `*`, target type or `*`)"""
    if len(pattern) > 2 * NAME_BYTES_MAX + 1:
        return None
    if pattern == "*":
        return "*", "*"
    action, space, target_type = pattern.partition(" ")
    if not space or (action != "*" and not is_action(action)):
        return None
    return (action, target_type) if target_type == "*" or is_target_type(target_type) else None


def check_action_pattern(pattern: str) -> Reject | None:
    """None for `deny ipv4_net`, `deny *`, `* ipv4_net`, `* *`, and `*` for the same."""
    if _pattern(pattern) is None:
        return Reject(Code.BAD_ACTION, "not a pattern: write e.g. 'deny ipv4_net', 'deny *' or '*'")
    return None


def action_matches(pattern: str, action: str, target_type: str) -> bool:
    """Whether the pattern allows the action on targets of the type. A broken pattern allows nothing."""
    parts = _pattern(pattern)
    return parts is not None and parts[0] in ("*", action) and parts[1] in ("*", target_type)


def action_covers(grant_pattern: str, pattern: str) -> bool:
    """Whether all that `pattern` allows is allowed by `grant_pattern` too."""
    asked = _pattern(pattern)
    # Not by action_matches on raw text: only a `*` covers a `*`, which is what comparing them does.
    return asked is not None and action_matches(grant_pattern, asked[0], asked[1])


def actions_meet(pattern: str, other: str) -> bool:
    """Whether there is an action that both patterns allow."""
    one, two = _pattern(pattern), _pattern(other)
    return one is not None and two is not None and all(
        a == b or "*" in (a, b) for a, b in zip(one, two, strict=True)
    )
