"""Executing actions (SPEC 9.3): from a delivery to a handler's answer, at most once, never late.

Guarantees: time is asked immediately before the handler; an action is begun at most once in a session; whatever the
handler does, the requester gets exactly one result: completed, failed, refused or expired. What goes wrong in a
handler is told by name, never with its text, which could hold what nobody may see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fabric.edge.arguments.suggestions import known_instead
from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.handling.fitting import fit
from fabric.edge.highest import label_of_whole
from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Action, messages_of
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.options import to_ttl_ms
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Header, Kind, decode_header
from fabric.protocol.envelope.layout import decode_envelope, leaf_of
from fabric.protocol.envelope.parts import Open, read_records
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary import text_types
from fabric.protocol.vocabulary.arguments import Times, check_args, lasting_arg
from fabric.protocol.vocabulary.lifecycle import state_of
from fabric.protocol.vocabulary.openc2 import (
    End,
    Status,
    action_matches,
    actions_meet,
    check_action_pattern,
    read_spec,
    split_topic,
)
from fabric.protocol.vocabulary.responses import QUERY_FEATURES, features_of, status_of_code
from fabric.protocol.vocabulary.tlp import Label

Handler = Callable[[Action], Any]


# What a target says of itself (SPEC 9.4); `unknown` and `unroutable` are for others to say.
_OWN_ENDS = (End.COMPLETED, End.FAILED, End.REFUSED, End.EXPIRED)
# A requester reads no more than 256 characters of it.
_REASON_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the requester. A handler may return one, a mapping (completed, with this result), or None.

    `reason` says, in a few words, what the code alone does not. `artifacts`: what it left to be fetched, put in by whom
    it left it with.
    """

    end: End = End.COMPLETED
    status: int = int(Status.OK)
    result: Mapping[str, Any] | None = None
    code: Code | None = None
    label: Label | None = None  # never below the action's
    reason: str = ""
    artifacts: tuple[Artifact, ...] = ()

    def record(self, target: str) -> dict[str, Any]:
        record: dict[str, Any] = {"end": str(self.end), "targets": [target], "by": target, "status": self.status}
        if self.result is not None:
            record["result"] = dict(self.result)
        if self.artifacts:
            record["artifacts"] = [artifact.to_book() for artifact in self.artifacts]
        reason = self.reason[:_REASON_CHARS_MAX]
        if self.code is not None:
            record.update(code=self.code.label, reason=f"{self.code.reason}: {reason}" if reason else self.code.reason)
        elif reason:
            record["reason"] = reason
        return record


def answer_of(returned: object) -> Answer:
    """A handler's return value as an answer that can be sent.

    What does not fit is left out of the result and named, and the end stays what it is: it was done. Anything that is
    no answer is the handler's fault.
    """
    if returned is None:
        return Answer()
    answer = Answer(result=returned) if isinstance(returned, Mapping) else returned
    if not isinstance(answer, Answer):
        return failed(Code.HANDLER_FAILED, f"it returned a value of type {type(returned).__name__[:64]}, not a map")
    wrong = _wrong_field(answer)
    if wrong:
        return failed(Code.HANDLER_FAILED, f"it returned an answer whose {wrong} is none")
    if answer.result is None:
        return answer
    fitted = fit(answer.result)
    if not fitted.problem:
        return replace(answer, result=fitted.result)
    if answer.code is None:
        return replace(answer, result=fitted.result, code=Code.RESULT_UNFIT, reason=fitted.problem)
    return replace(answer, result=fitted.result, reason=answer.reason or f"result: {fitted.problem}")


def _wrong_field(answer: Answer) -> str:
    """The first field that somebody filled with something else; who is not checked by types may."""
    fields = {
        "end": answer.end in _OWN_ENDS,
        "status": isinstance(answer.status, int) and 0 <= answer.status < 1_000,
        "result": answer.result is None or isinstance(answer.result, Mapping),
        "code": answer.code is None or isinstance(answer.code, Code),
        "label": answer.label is None or isinstance(answer.label, Label),
        "reason": isinstance(answer.reason, str) and answer.reason.isprintable(),
        "artifacts": answer.artifacts == (),
    }
    return next((name for name, right in fields.items() if not right), "")


def failed(code: Code, reason: str = "") -> Answer:
    """The answer to an action that went wrong while it was executed."""
    return Answer(End.FAILED, int(Status.INTERNAL_ERROR), code=code, reason=reason)


def refused(reason: Reject) -> Answer:
    """The answer to an action that was not begun: expired where its time is over, else refused."""
    end = End.EXPIRED if reason.code is Code.EXPIRED else End.REFUSED
    # Of what is asked for wrongly it is said where: no more than that is in its detail.
    detail = reason.detail if reason.code is Code.BAD_ACTION else ""
    return Answer(end, int(status_of_code(reason.code)), code=reason.code, reason=detail)


def profiles_of(credential: Credential) -> tuple[str, ...]:
    """The actuator profile that a control point has: its tag `profile`."""
    return tuple(value for name, value in credential.tags if name == "profile")


def interrupted() -> Answer:
    """The answer to an action whose handler was called by a process that ended before it had returned."""
    return Answer(End.UNKNOWN, int(Status.SERVICE_UNAVAILABLE), code=Code.INTERRUPTED)


class _Registered(NamedTuple):
    pattern: str
    handler: Handler
    idempotent: bool
    revert: Handler | None = None  # ends the effect that the handler had
    ends_itself: bool = False  # the handler sees to that


class Handlers:
    """Patterns and their handlers, in order of registration; the first that matches takes the action.

    `query features` is answered here (OpenC2 Language 1.0, 4.1), unless a pattern names it: one with `*` for the target
    is of a handler that does not know of it. `denied` hears of what no grant allows.
    """

    def __init__(
        self, granted: Sequence[str], denied: Callable[[Code], None] = lambda _: None, profiles: Sequence[str] = (),
    ) -> None:
        self._profiles = profiles
        self._granted = granted
        self._denied = denied
        self._handlers: list[_Registered] = []

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def add(
        self, action: str, target_type: str, handler: Handler, *, idempotent: bool = False,
        revert: Handler | None = None, ends_itself: bool = False,
    ) -> None:
        """Raises BAD_ACTION, or EXECUTE_DENIED for what could never come because no grant allows any of it; USAGE.

        `idempotent`: to call it a second time for one action does no harm, whatever became of the first. `revert`: its
        inverse, called with the same action when that has a duration and it is over; where it is not given, the method
        `revert` of the handler, if it has one. To call it again does no harm, whatever became of the last time, and
        also where there is nothing to revert. `ends_itself`: the handler ends by itself what has a duration, unless
        another action keeps the same up.
        """
        revert = revert if revert is not None or ends_itself else getattr(handler, "revert", None)
        if revert is not None and (ends_itself or not callable(revert)):
            raise FabricError(
                Code.USAGE, "a handler that ends its effects itself is not reverted" if ends_itself else
                f"a revert of type {type(revert).__name__[:64]}", "give revert=FUNCTION, or ends_itself=True",
            )
        pattern = f"{action} {target_type}"
        problem = check_action_pattern(pattern)
        if problem is not None:
            word = action if check_action_pattern(f"{action} *") is not None else target_type
            what = f"{word} is not known" if word else "it names no target"
            raise FabricError(
                problem.code, f"{pattern.strip()}: {what}",
                (known_instead(action, target_type) if word else "") or "write e.g. 'deny ipv4_net', 'deny *' or '*'",
            )
        if not any(actions_meet(grant, pattern) for grant in self._granted):
            self._denied(Code.EXECUTE_DENIED)
            raise FabricError(Code.EXECUTE_DENIED, pattern)
        self._handlers.append(_Registered(pattern, handler, idempotent, revert, ends_itself))

    def find(self, topic: str) -> Handler | None:
        found = self._find(topic)
        return None if found is None else found.handler

    def is_idempotent(self, topic: str) -> bool | None:
        """Whether the handler of such actions is; None where there is none."""
        found = self._find(topic)
        return None if found is None else found.idempotent

    def revert_of(self, topic: str) -> Handler | None:
        """What ends the effect of such an action; None where nothing does, or its handler by itself."""
        found = self._find(topic)
        return None if found is None else found.revert

    def ends(self, topic: str) -> bool:
        """Whether the effect of such an action ends when its duration is over."""
        found = self._find(topic)
        return found is not None and (found.revert is not None or found.ends_itself)

    def _find(self, topic: str) -> _Registered | None:
        action, target_type = split_topic(topic)
        own = (action, target_type) == QUERY_FEATURES
        found = (
            each for each in self._handlers
            if action_matches(each.pattern, action, target_type) and not (own and each.pattern.endswith("*"))
        )
        return next(found, _Registered("query features", self._features, idempotent=True) if own else None)

    def _features(self, action: Action) -> Answer:
        patterns = [each.pattern for each in self._handlers]
        found = features_of(action.target.value, patterns, self._granted, self._profiles)
        if "pairs" in found:
            ends = [each.pattern for each in self._handlers if each.revert is not None or each.ends_itself]
            found["timed"] = {
                name: types for name, types in features_of(("pairs",), ends, self._granted, ())["pairs"].items()
                if name != QUERY_FEATURES[0]
            } if ends else {}
        return Answer(result=found or None)


def read_action(delivery: Delivery, open_: Open | None = None) -> Action | Reject:
    """The body must say what the signed header says, in the one way that a requester's side writes it (SPEC 9.1).

    A handler may build a rule or a command from the target: whoever signed it, it is parsed again here, by its type.
    """
    messages = messages_of(delivery, open_)
    if isinstance(messages, Reject):
        return messages
    header = delivery.message.header
    action = _action_in(header, delivery.message.leaf, messages[0].content, delivery.hops)
    if isinstance(action, Reject):
        return action
    lasting = lasting_arg(action.args)
    if lasting and any(entry.is_sealed for entry in header.manifest):
        # Relays could not end it, nor could this node when it has to read it again from its own disk (SPEC 9.2).
        return Reject(Code.BAD_ACTION, f"args.{lasting}: what is sealed has none")
    times = Times.of(action.args)
    # An action's age and when it was issued are the fabric's time, as far as anybody here knows it.
    counts_from_ms = delivery.message.counts_from_ms
    late = times.why_not(counts_from_ms + delivery.age_ms)
    if late is not None:
        return late
    deadline_ms = counts_from_ms + header.ttl_ms
    return replace(action, deadline_ms=deadline_ms if times.stop_ms is None else min(deadline_ms, times.stop_ms))


def action_kept(envelope: bytes, hops: tuple[str, ...]) -> Action | Reject:
    """An action that was read when it came, as it was then: what it did is to be reverted, whatever the time is."""
    opened = decode_envelope(envelope)
    header = opened if isinstance(opened, Reject) else decode_header(opened.header)
    if isinstance(opened, Reject) or isinstance(header, Reject):
        return Reject(Code.MALFORMED, "an action in the ledger")
    readings = read_records(header, opened.parts)
    return readings if isinstance(readings, Reject) else _action_in(
        header, leaf_of(opened.header), readings[0].content, hops
    )


def _action_in(
    header: Header, leaf: bytes, content: Mapping[str, Any], hops: tuple[str, ...]
) -> Action | Reject:
    action, target_type = split_topic(header.topic)
    target, args, command_id = content.get("target"), content.get("args", {}), content.get("command_id", "")
    if content.get("action") != action or not isinstance(target, dict) or list(target) != [target_type]:
        return Reject(Code.BAD_ACTION, header.topic)
    spec = read_spec(action, target)
    if isinstance(spec, Reject):
        return spec
    # As JSON: what is equal to Python, True and 1, is not the same to a handler. The order of names means nothing.
    if json.dumps(spec.target.to_json(), sort_keys=True) != json.dumps(target, sort_keys=True):
        return Reject(Code.BAD_ACTION, f"target.{target_type}: not written in the one way")
    problem = check_args(args, spec)
    if problem is not None:
        return problem
    if command_id != "" and (not isinstance(command_id, str) or text_types.command_id(command_id) is None):
        return Reject(Code.BAD_ACTION, "command_id: an id of 1 to 36 characters, without spaces")
    return Action(
        leaf.hex(), action, spec.target, args, header.origin, header.severity, label_of_whole(header),
        header.issued_at_ms, header.issued_at_ms + header.ttl_ms, hops, command_id,
    )


def stamp_about(about: Header, leaf: bytes, answer: Answer, defaults: Defaults) -> Stamp:
    """A result goes to the requester, is bound to the request's full digest, and bears at least the label of all that
    its handler read: a field of the action may be above its envelope."""
    return Stamp(
        Kind.RESULT, about.topic, about.severity, about.phase, to_ttl_ms(None, Kind.RESULT, defaults),
        label_of_whole(about) if answer.label is None else max(label_of_whole(about), answer.label),
        to=about.origin, correlation=leaf, audience=about.audience, state=state_of(answer.end),
    )
