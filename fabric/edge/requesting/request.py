"""A response action on its way: what it asks for, checked, and each target's outcome as it ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from fabric.edge.arguments.checks import to_map, to_text
from fabric.edge.arguments.suggestions import known_instead
from fabric.edge.messages import Approvals, Outcome, Step
from fabric.edge.publishing.options import to_leaf
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.vocabulary import text_types
from fabric.protocol.vocabulary.arguments import check_args, lasting_arg
from fabric.protocol.vocabulary.openc2 import ActionSpec, parse_action, read_spec
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.targets import Target

# How long after an action's ttl a result is still waited for, before silence is `unknown`.
RESULT_WAIT_MS = 5_000
# Steps that a program has yet to look at: of each target all that there are, and of some how far they are.
_STEPS_MAX = 32_768
# Names of incidents and of playbooks' steps, joined.
KEY_BYTES_MAX = 256
# Of what was typed, as much as is shown where it is wrong.
_TYPED_CHARS_MAX = 80
_ARGS_NEXT = "correct what is named, or leave it out"
# As a program may give one: "ipv4_net=203.0.113.9", {"ipv4_net": "203.0.113.9"}, or `Target`.
AnyTarget: TypeAlias = "Target | Mapping[str, Any] | str"


class Progress(NamedTuple):
    """What a tracker knows, copied for another thread. `targets` are None until they were selected.

    `held`: of these, those that were away then; each gets the action when it is back in time.
    """

    targets: tuple[str, ...] | None
    held: tuple[str, ...]
    nobody: bool
    outcomes: list[Outcome]
    done: bool
    steps: tuple[Step, ...] = ()  # those that are new

    @classmethod
    def of(cls, tracker: Tracker) -> Progress:
        steps = tuple([news for news in tracker.news if isinstance(news, Step)])
        return cls(tracker.targets, tracker.held, tracker.nobody, tracker.outcomes(), tracker.done, steps)

    def followed_by(self, later: Progress) -> Progress:
        """What is known later, with the steps of both; too many of them lose the oldest."""
        return later._replace(steps=(*self.steps, *later.steps)[-_STEPS_MAX:])


class Request:
    """A response action on its way: its targets, and the outcome of each that has ended."""

    def __init__(self, action_id: str) -> None:
        self.action_id = action_id
        self.targets: tuple[str, ...] | None = None
        self.held: tuple[str, ...] = ()  # of the targets, those that were away when they were selected
        self.nobody = False
        self.outcomes: dict[str, Outcome] = {}
        self.steps: dict[str, Step] = {}  # the last of each target
        self.new_steps: tuple[Step, ...] = ()  # in their order, since `watch` was told last
        self.approval: Approvals | None = None  # of what is held for approvals, or was approved
        self.done = False

    def learn(self, progress: Progress, watch: Callable[[Request], None] | None) -> list[Outcome]:
        """The outcomes that are new, also in place of an earlier one. `watch` is told before anybody reads them."""
        before = self.outcomes
        self.targets, self.held, self.nobody, outcomes, self.done, self.new_steps = progress
        self.steps |= {step.target: step for step in self.new_steps}
        self.approval = next((step.approval for step in reversed(self.new_steps) if step.approval), self.approval)
        self.outcomes = {outcome.target: outcome for outcome in outcomes}
        if watch is not None:
            watch(self)
        return [outcome for outcome in outcomes if before.get(outcome.target) != outcome]


CANCEL_ACTION = "cancel"
_OF_EFFECT: Final = "effect/"
_HEX: Final = re.compile("[0-9a-f]{16}")


def cancel_target(action_id: str) -> str:
    """The target of what cancels an action. Raises USAGE."""
    return f"command={to_leaf(action_id)[:ID_BYTES].hex()}"


def key_for(key: str | None, args: Mapping[str, Any] | None, *, dry_run: bool) -> str:
    """Under which key what becomes of an action is kept, or none. Where its effect is to end it is given one: that end
    comes long after, when whoever asked may have left."""
    if key is not None:
        return to_key(key)
    lasts = isinstance(args, Mapping) and not {"duration", "stop_time"}.isdisjoint(args)
    return f"{_OF_EFFECT}{os.urandom(8).hex()}" if lasts and not dry_run else ""


def is_given_by_itself(key: str) -> bool:
    """Whether it is one that `key_for` gave."""
    return key.startswith(_OF_EFFECT) and _HEX.fullmatch(key, len(_OF_EFFECT)) is not None


def to_key(key: object) -> str:
    """A key of an action: a program's own words for it. Raises USAGE."""
    if not isinstance(key, str) or not key or len(key.encode()) > KEY_BYTES_MAX or not key.isprintable():
        raise FabricError(
            Code.USAGE, "a key that cannot be one", f"give 1 to {KEY_BYTES_MAX} bytes of printable text"
        )
    return key


def check_sealed(args: Mapping[str, Any], key: str) -> None:
    """Raises USAGE for what cannot be sealed: what relays, or this identity's book, have to read."""
    if lasting := lasting_arg(args):
        raise FabricError(
            Code.USAGE, f"an action that is sealed has no {lasting}: relays could not end what they cannot read",
            "leave it out, and ask for the opposite when it is time; or do not seal it",
        )
    if key:
        raise FabricError(
            Code.USAGE, "an action that is sealed has no key: the book could not tell whether it is the same",
            "leave out the key, or do not seal it",
        )


def request_arguments(
    action: str, target: AnyTarget, to: str, args: Mapping[str, Any] | None, command_id: str = ""
) -> tuple[ActionSpec, dict[str, Any]]:
    """The action's spec and record, checked before anything is signed."""
    spec = _spec(to_text(action, "an action", "deny"), target)
    selector = parse_selector(to_text(to, "a selector", "role=firewall"))
    if isinstance(selector, Reject):
        raise FabricError(selector.code, selector.detail)
    if selector.selects_nobody:
        raise FabricError(Code.NOBODY, "the selector is empty", "write e.g. 'role=firewall', or 'all'")
    args_ = to_map(args or {}, "the arguments")
    record = {"action": spec.action, "target": spec.target.to_json(), "args": args_}
    problem = check_args(args_, spec)
    if problem is not None:
        raise FabricError(problem.code, problem.detail, _ARGS_NEXT)
    if command_id:
        if text_types.command_id(to_text(command_id, "a command_id", "c-1")) is None:
            raise FabricError(Code.BAD_ACTION, "command_id", "give 1 to 36 characters, without spaces")
        record["command_id"] = command_id
    return spec, record


def _spec(action: str, target: AnyTarget) -> ActionSpec:
    if isinstance(target, Target):
        target = target.to_json()
    if isinstance(target, Mapping):
        target, type_ = dict(target), next((name for name in target if isinstance(name, str)), "")
        spec = read_spec(action, target)
    else:
        type_ = to_text(target, "a target", "ipv4_net=203.0.113.9").partition("=")[0]
        spec = parse_action(action, target)
    if isinstance(spec, Reject):
        typed = f"{action} {type_}"[:_TYPED_CHARS_MAX]
        raise FabricError(spec.code, f"{typed}: {spec.detail}", known_instead(action, type_))
    return spec
