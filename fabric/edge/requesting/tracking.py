"""A request's own account of its targets (SPEC 9.4): every one ends in exactly one state.

Guarantees: an end comes from the target itself, signed and bound to this very request, or from a relay and then only
for what a relay may say; `unknown`, whoever said it, is the one state that a later word of the target replaces; its
words can be printed as they are, whoever wrote them. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fabric.edge.artifacts.artifact import read_artifacts
from fabric.edge.highest import label_of_visible
from fabric.edge.messages import Approvals, Effect, Outcome, Step
from fabric.edge.requesting.held import approvals_of, demanded
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import TARGETS_MAX, WHY_CHARS_MAX
from fabric.protocol.envelope.reports import NOBODY, RELAY_ENDS, SELECTED
from fabric.protocol.envelope.resolution import RESOLVED
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import NodeKind, name_ok
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.vocabulary.lifecycle import State, may_follow, state_named, state_of
from fabric.protocol.vocabulary.openc2 import End

# As many as a relay and each target itself have to say, before it is known who the targets are.
_EARLY_MAX = 2 * TARGETS_MAX
_EARLY_BYTES_MAX = 16_777_216
# Relays that may have said of approvals what waits for the list of targets: one of them is where the action turned.
_EARLY_HOLDS_MAX = 8
# A code, or a reason in the words of this fabric.
_WORDS_MAX = 256


@dataclass(slots=True)
class Tracker:
    """`deadline_ms`: when whoever has not answered is `unknown`. `targets` is None until the turn relay named them.

    `ttl_ms`: the action's; `wait_ms`: how long after it a result is awaited. An action that is held for approvals is
    awaited for as long as it may be held, and then for these.
    """

    digest: bytes
    issued_at_ms: int
    deadline_ms: int
    targets: tuple[str, ...] | None = None
    ttl_ms: int = 0
    wait_ms: int = 0
    dry_run: bool = False  # it is not held for who is away, so nothing is awaited of them
    nobody: bool = False
    turned_at: str = ""  # the relay that said who was selected
    held: tuple[str, ...] = ()  # of the targets: those that were away when it turned
    ends: dict[str, Outcome] = field(default_factory=dict)
    held_until_ms: int = 0  # for approvals; until when it may be executed, when there are enough
    steps: dict[str, Step] = field(default_factory=dict)  # the last of each target, also of those that ended since
    resolution: str = ""  # in the word of the relay where it turned
    contradictions: int = 0  # results that were ignored because their record says something else than their header
    # What was learnt, for whoever takes it from here: also what has to wait for the list of targets.
    news: list[Outcome | Step | Effect] = field(default_factory=list)
    lasts: bool = False  # its effect is to end, and the targets say when it has
    effects: dict[str, Effect] = field(default_factory=dict)  # the last that each said of that
    # What came before the targets were named, (about whom, by whom) -> the first word.
    _early: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    _early_effects: dict[str, Effect] = field(default_factory=dict)
    _early_bytes: int = 0
    # What relays said of approvals before that, by relay.
    _early_holds: dict[str, tuple[tuple[str, ...], State, Approvals]] = field(default_factory=dict)
    _all: Outcome | None = None
    _promised_ms: int = 0  # whoever asked waits until then at least

    def __post_init__(self) -> None:
        self._promised_ms = self.deadline_ms

    @property
    def done(self) -> bool:
        if self.nobody or self._all is not None:
            return True
        awaited = self.targets or ()
        if self.dry_run:
            awaited = tuple(target for target in awaited if target not in self.held)
        return self.targets is not None and all(target in self.ends for target in awaited)

    def unknown(self) -> tuple[str, ...] | None:
        """The targets of which nobody knows what they did; None: all, and who they are is not known either."""
        if self._all is not None:
            return None if self._all.end is End.UNKNOWN else ()
        return tuple(target for target, outcome in self.ends.items() if outcome.end is End.UNKNOWN)

    def outcomes(self) -> list[Outcome]:
        """In the order in which they came; one for all targets where the action never reached any."""
        return [self._all] if self._all is not None else list(self.ends.values())

    @staticmethod
    def end_of(message: Verified, content: Mapping[str, Any]) -> End | None:
        """What a target says that it did; None where it is no target's word, or says that it does not know either."""
        end = _words(content.get("end", ""))
        by_relay = message.credential.kind is NodeKind.RELAY
        return None if by_relay or end not in list(End) or end == End.UNKNOWN else End(end)

    def take(self, message: Verified, content: Mapping[str, Any], now_ms: int) -> list[Outcome]:
        """What a result adds. Anything that is not this request's, or not its sender's to say, adds nothing."""
        end, state = _words(content.get("end", "")), message.header.state
        by_relay = message.credential.kind is NodeKind.RELAY
        if message.header.correlation == self.digest and by_relay and end == RESOLVED:
            self._take_resolution(message, content)
        if message.header.correlation == self.digest and not by_relay and not end and "effect" in content:
            if self.targets is not None or self._has_room(message):
                self._take_effect(effect_of(message.credential.id, content))
            return []
        if message.header.correlation != self.digest or (self.done and not self.unknown()):
            return []
        if state is not State.NONE and state.word != (end or _words(content.get("state", ""))):
            self.contradictions += 1
            return []
        if by_relay:
            return self._take_report(message, end, content, now_ms)
        if self.targets is None and not self._has_room(message):
            return []
        if state is not State.NONE and state.end is None:
            self._step(step_of(message.credential.id, state, message.credential.id, content))
            return []
        outcome = self._outcome(message, message.credential.id, end, content, now_ms)
        return self._settle(outcome) if outcome else []

    def wait_until(self, deadline_ms: int) -> None:
        """Somebody waits for it longer."""
        self._promised_ms = max(self._promised_ms, deadline_ms)
        self.deadline_ms = max(self.deadline_ms, deadline_ms)

    def recall_targets(self, targets: tuple[str, ...] | None, turned_at: str, *, nobody: bool) -> None:
        """What another process of this requester was told of its targets."""
        if self.targets is None and targets is not None:
            self._select(targets, turned_at)
        self.nobody = self.nobody or nobody

    def recall(self, heard: Outcome | Step | Effect) -> None:
        """What another process of this requester was told of a target."""
        if isinstance(heard, Effect):
            self._take_effect(heard)
        elif isinstance(heard, Step):
            if heard.away and heard.target not in self.held:
                self.held = (*self.held, heard.target)
            known = self.steps.get(heard.target)
            if known is None or _how_far(heard) > _how_far(known):
                self._step(heard)
        elif heard.target:
            self._settle(heard)
        elif self.targets is None and self._all is None:
            self._all = heard
            self.news.append(heard)

    def _take_effect(self, effect: Effect) -> None:
        """No end of the action: that stays what it is. What is over is final."""
        known = (self._early_effects if self.targets is None else self.effects).get(effect.target)
        if known is not None and known.is_over:
            return
        if self.targets is None:  # it may overtake the list of targets, as results do
            if known is not None or len(self._early_effects) < _EARLY_MAX:
                self._early_effects[effect.target] = effect
            return
        if effect.target not in self.targets:
            return
        self.effects[effect.target] = effect
        self.news.append(effect)

    @property
    def effects_due(self) -> bool:
        """Whether a target has yet to say that its effect ended."""
        may = (End.COMPLETED, End.FAILED, End.UNKNOWN)
        return self.lasts and any(
            outcome.end in may and not (target in self.effects and self.effects[target].is_over)
            for target, outcome in self.ends.items()
        )

    def _select(
        self, targets: tuple[str, ...], turned_at: str, would_wait: Approvals | None = None
    ) -> list[Outcome]:
        """`would_wait`: of a dry run, for what it would be held."""
        self.targets, self.turned_at = targets, turned_at
        if would_wait is not None:
            self._go_on(targets, State.HELD, would_wait, turned_at)
        early, self._early = self._early, {}
        effects, self._early_effects = self._early_effects, {}
        for effect in effects.values():
            self._take_effect(effect)
        if turned_at in self._early_holds:
            self._go_on(*self._early_holds[turned_at], turned_at)
        self._early_holds.clear()
        return [settled for outcome in early.values() for settled in self._settle(outcome)]

    def _has_room(self, message: Verified) -> bool:
        """Whether what this says may wait for the list of targets: anybody may have signed it."""
        self._early_bytes += sum(entry.size for entry in message.header.manifest)
        return self._early_bytes <= _EARLY_BYTES_MAX

    def _take_report(
        self, message: Verified, end: str, content: Mapping[str, Any], now_ms: int
    ) -> list[Outcome]:
        named = content.get("targets")
        named = named[:TARGETS_MAX] if isinstance(named, list) else []
        names = tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name_ok(name)))
        if end == SELECTED:
            would_wait = demanded(content) if self.dry_run else None
            return self._select(names, message.credential.id, would_wait) if self.targets is None else []
        state = state_named(end)
        if state is not State.NONE and state.end is None:
            approvals = approvals_of(state, content, now_ms, self.ttl_ms)
            if self.targets is not None and message.credential.id == self.turned_at:
                if state is State.HELD and approvals is None:
                    self._are_away(names, self.targets)
                else:
                    self._go_on(names, state, approvals, self.turned_at)
            elif self.targets is None and approvals is not None and len(self._early_holds) < _EARLY_HOLDS_MAX:
                self._early_holds[message.credential.id] = (names, state, approvals)
            return []
        if end == NOBODY:
            self.nobody = self.targets is None
            return []
        if end not in RELAY_ENDS:
            return []
        if not names:
            if self.targets is None and end == End.UNKNOWN:
                return []  # whoever took it from there may yet name the targets, and they may answer
            if self.targets is not None and message.credential.id != self.turned_at:
                return []  # on its way there it was lost to whoever says so, and was taken nevertheless
            outcome = self._outcome(message, "", end, content, now_ms)
            if self.targets is None and outcome is not None:
                self._all = outcome
                self.news.append(outcome)
                return [outcome]
            names = tuple(t for t in self.targets or () if t not in self.ends)
        outcomes = [self._outcome(message, name, end, content, now_ms) for name in names]
        return [settled for outcome in outcomes if outcome for settled in self._settle(outcome)]

    def _go_on(self, names: tuple[str, ...], state: State, approvals: Approvals | None, by: str) -> None:
        """A relay's word of these that is no end."""
        if approvals is not None:
            # However often it is said, nothing is held longer than a policy may ask.
            until_ms = self.issued_at_ms + self.ttl_ms + WITHIN_MS_MAX + (self.ttl_ms if approvals.given else 0)
            approvals = replace(approvals, until_ms=min(approvals.until_ms, until_ms))
        for name in names:
            self._step(Step(name, state, by, approval=approvals))

    def _are_away(self, names: tuple[str, ...], targets: tuple[str, ...]) -> None:
        """It is held for these. What is known of approvals stays so, and it waits for its target from then on."""
        self.held = self.held or tuple(name for name in names if name in targets)
        for name in names:
            known = self.steps.get(name)
            self._step(replace(known, away=True) if known and known.approval is not None else
                       Step(name, State.HELD, self.turned_at, away=True))

    def _take_resolution(self, report: Verified, content: Mapping[str, Any]) -> None:
        if report.credential.id == self.turned_at:
            self.resolution = _words(content.get("outcome", ""))

    def _step(self, step: Step) -> None:
        """What overtakes the list of targets is left out: states may be skipped."""
        if self.targets is None or step.target not in self.targets:
            return
        before = self._state(step.target)
        is_away = step.away and before is step.state and step.approval and not self.steps[step.target].away
        if is_away or may_follow(before, step.state, by_target=step.by == step.target):
            self.steps[step.target] = step
            self.news.append(step)
            if step.approval is not None and step.approval.is_asked:
                self._wait_for(step.approval)

    def _wait_for(self, approvals: Approvals) -> None:
        self.held_until_ms = approvals.until_ms
        last_ms = approvals.until_ms + (0 if approvals.given else self.ttl_ms) + self.wait_ms
        self.deadline_ms = max(self._promised_ms, last_ms)

    def _state(self, target: str) -> State:
        if target in self.ends:
            return state_of(self.ends[target].end)
        return self.steps[target].state if target in self.steps else State.NONE

    def _outcome(
        self, message: Verified, target: str, end: str, content: Mapping[str, Any], now_ms: int
    ) -> Outcome | None:
        if end not in list(End) or (end == End.READY and not self.dry_run):
            return None
        # What was done there the target alone can say.
        by_target = message.credential.kind is not NodeKind.RELAY
        status, result = content.get("status", 0), content.get("result", {}) if by_target else {}
        denied_by, why = ("", "") if by_target else denial_of(content)
        return Outcome(
            target=target,
            end=End(end),
            by=message.credential.id,
            status=status if isinstance(status, int) else 0,
            code=_words(content.get("code", "")),
            reason=_words(content.get("reason", "")),
            result=result if isinstance(result, dict) else {"value": result},
            label=label_of_visible(message.header, message.envelope.parts),
            took_ms=max(0, now_ms - self.issued_at_ms),
            artifacts=read_artifacts(
                content.get("artifacts") if by_target else None, target=target, action=self.digest.hex(),
                label=message.header.label,
            ),
            denied_by=denied_by,
            why=why,
        )

    def _settle(self, outcome: Outcome) -> list[Outcome]:
        if self.targets is None:
            # Results may overtake the list of targets.
            key = (outcome.target, outcome.by)
            known = self._early.get(key)
            if (known is None and len(self._early) < _EARLY_MAX) or (known is not None and _replaces(outcome, known)):
                self._early[key] = outcome
                self.news.append(outcome)
            return []
        if outcome.target not in self.targets:
            return []
        known = self.ends.get(outcome.target)
        if known is not None and not _replaces(outcome, known):
            return []
        self.ends[outcome.target] = outcome
        self.news.append(outcome)
        return [outcome]

    def time_out(self, now_ms: int) -> list[Outcome]:
        """After the deadline, silence becomes `unknown`."""
        if now_ms < self.deadline_ms or self.done:
            return []
        code = Code.TIMED_OUT
        took_ms = now_ms - self.issued_at_ms
        if self.targets is None:
            self._all = Outcome("", End.UNKNOWN, "", code=code.label, reason=code.reason, took_ms=took_ms)
            self.news.append(self._all)
            return [self._all]
        late = [
            Outcome(name, End.UNKNOWN, "", code=code.label, reason=code.reason, took_ms=took_ms)
            for name in self.targets
            if name not in self.ends
        ]
        return [settled for outcome in late for settled in self._settle(outcome)]


def _replaces(later: Outcome, known: Outcome) -> bool:
    """The target's own word for `unknown`, but for the same word once more."""
    by_target = later.by == later.target
    return known.end is End.UNKNOWN and by_target and (later.end is not End.UNKNOWN or known.by != later.by)


def effect_of(target: str, content: Mapping[str, Any]) -> Effect:
    """What a target says of the effect of an action."""
    at_ms = content.get("at")
    known = isinstance(at_ms, int) and not isinstance(at_ms, bool) and 0 < at_ms < 2**53
    return Effect(
        target, _words(content.get("effect")), at_ms if known and isinstance(at_ms, int) else 0,
        _words(content.get("code", "")), _words(content.get("reason", "")),
    )


def step_of(target: str, state: State, by: str, content: Mapping[str, Any]) -> Step:
    """A step that is said of a target; what its handler adds to it counts where it can."""
    if state is not State.RUNNING:
        return Step(target, state, by)
    progress = content.get("progress")
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 1:
        progress = None
    return Step(target, state, by, None if progress is None else float(progress), _words(content.get("note", "")))


def denial_of(said: Mapping[str, Any]) -> tuple[str, str]:
    """Who denied it, and why, as the relay that held it says; of nobody nothing."""
    denied_by = _words(said.get("denied_by"))
    return denied_by, _words(said.get("why"), WHY_CHARS_MAX) if denied_by else ""


def _how_far(step: Step) -> tuple[State, bool, float]:
    return step.state, step.away, step.progress or 0


def _words(said: object, most: int = _WORDS_MAX) -> str:
    """A few words of what somebody said; a terminal that they are printed on obeys nothing of them."""
    words = said[:most] if isinstance(said, str) else ""
    return "".join(character if character.isprintable() else "?" for character in words)
