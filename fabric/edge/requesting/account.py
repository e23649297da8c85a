"""What the book says of an action, for whoever reads it, and between the book and those who track an action.

Guarantees: what is read back is judged by the same rules as what comes from a relay, so whatever several processes
wrote, each target is in one state; text was made printable when it was heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.edge.artifacts.artifact import Artifact, read_artifacts
from fabric.edge.messages import Approvals, Effect, Outcome, Step
from fabric.edge.requesting.held import from_book, to_book
from fabric.edge.requesting.tracking import Tracker, effect_of
from fabric.protocol.base.errors import Code, FabricError, Reject, code_of
from fabric.protocol.base.limits import LEASE_MS_MAX
from fabric.protocol.envelope.header import Header, decode_header
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.vocabulary.arguments import Times, check_args
from fabric.protocol.vocabulary.lifecycle import State, state_of
from fabric.protocol.vocabulary.openc2 import End, split_topic
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.spool.book import Entry, Word

# Results come for as long as relays know who was handed an action: its ttl and an hour.
RESULTS_MS = 3_600_000
_FOREVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class Account:
    """An action that a program of this identity asked for. Times in milliseconds since 1970, by this machine's clock.

    `args` and `target` as they were asked for; empty where they are sealed to the targets. `targets`: who was selected;
    None while nobody said. `words`: what was heard of each target, in the order in which it came: the state, by whom,
    when, and the rest of it. `states`: how each target stands, `outcomes`: how each ended that did, in the words of who
    said so. `effects`: what became of what it did, where that has a duration, as far as targets said. `away`: targets
    that are, and for whom it is held. `approval`: of what is held for approvals, or was approved. `refused`: why its
    relay did not take it. `is_open`: something is still awaited. `effects_due`: a target has yet to say that its effect
    ended.
    """

    id: str
    key: str
    requester: str
    action: str
    target: Mapping[str, Any]
    args: Mapping[str, Any]
    to: str
    severity: Severity
    label: Label
    ttl_ms: int
    dry_run: bool
    require_all: bool
    asked_ms: int
    until_ms: int
    targets: tuple[str, ...] | None
    nobody: bool
    resolution: str
    approval: Approvals | None
    refused: Code | None
    words: tuple[Word, ...]
    states: Mapping[str, State]
    outcomes: tuple[Outcome, ...]
    effects: Mapping[str, Effect]
    away: tuple[str, ...]
    is_open: bool
    effects_due: bool

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What it left, at all its targets."""
        return tuple(artifact for outcome in self.outcomes for artifact in outcome.artifacts)

    @property
    def heard_ms(self) -> int:
        """When the last word came; when it was asked for, where none did."""
        return max((word.last_ms for word in self.words), default=self.asked_ms)

    def to_json(self) -> dict[str, Any]:
        """As `fabric action ID --json` prints it."""
        return {
            "id": self.id, "key": self.key, "requester": self.requester, "action": self.action,
            "target": dict(self.target), "args": dict(self.args), "to": self.to,
            "severity": self.severity.name.lower(), "label": self.label.short, "ttl_ms": self.ttl_ms,
            "dry_run": self.dry_run, "require_all": self.require_all, "asked": self.asked_ms, "until": self.until_ms,
            "targets": None if self.targets is None else list(self.targets), "nobody": self.nobody,
            "states": {target: state.word for target, state in self.states.items()}, "resolution": self.resolution,
            "approval": None if self.approval is None else self.approval.to_json(),
            "away": list(self.away),
            "effects": {target: effect.to_json() for target, effect in self.effects.items()},
            "refused": self.refused.label if self.refused else "", "open": self.is_open,
            "effects_due": self.effects_due, "heard": self.heard_ms,
            "words": [word_json(word) for word in self.words],
        }


def word_json(word: Word) -> dict[str, Any]:
    """One of `words`, as it is printed."""
    return {
        "target": word.target, "state": word.state.word if word.state else "effect", "by": word.by, "at": word.at_ms,
        "last": word.last_ms, **_plain(word.said),
    }


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Label(value).short if name == "label" else value for name, value in said.items()}


def asked_of(envelope: bytes) -> tuple[Header, Mapping[str, Any]]:
    """The header and the record of an action that the book has. Raises BOOK_FAILED where they cannot be read."""
    decoded = decode_envelope(envelope)
    header = decoded if isinstance(decoded, Reject) else decode_header(decoded.header)
    if isinstance(decoded, Reject) or isinstance(header, Reject):
        raise FabricError(Code.BOOK_FAILED, "an action in it cannot be read")
    records = read_records(header, decoded.parts)
    if isinstance(records, Reject) or not records:
        raise FabricError(Code.BOOK_FAILED, "an action in it cannot be read")
    return header, records[0].content


def account_of(entry: Entry, words: list[Word], now_ms: int) -> Account:
    """What is known of an action."""
    header, record = asked_of(entry.envelope)
    tracker = tracker_of(entry, header, words, _FOREVER_MS)
    is_over = tracker.nobody or (tracker.done and tracker.unknown() == ())
    is_open = not (entry.closed or is_over) and now_ms < entry.until_ms
    states = {target: step.state for target, step in tracker.steps.items()}
    states |= {outcome.target: state_of(outcome.end) for outcome in tracker.outcomes()}
    given_up = {word.target for word in words if not word.by}
    for target in tracker.targets or ("",) if not (tracker.nobody or entry.refused) else ():
        ended = target in states and states[target].end is not None
        if not ended and (target in given_up or not is_open) and (target or not states):
            states[target] = State.UNKNOWN
    asked = record.get("target")
    # Of what is sealed to its targets no more than its header is read here.
    action = str(record.get("action") or split_topic(header.topic)[0])
    return Account(
        entry.id.hex(), entry.key, header.origin, action,
        asked if isinstance(asked, dict) else {}, record.get("args") or {}, header.to, header.severity, header.label,
        header.ttl_ms, header.terms.dry_run, header.terms.require_all, entry.asked_ms, entry.until_ms, entry.targets,
        entry.nobody, entry.resolution, _approval_in(words), code_of(entry.refused) if entry.refused else None,
        tuple(words), states, tuple(tracker.outcomes()), dict(tracker.effects),
        tuple([step.target for step in tracker.steps.values() if step.away and states[step.target] is step.state]),
        is_open, tracker.effects_due and now_ms < entry.until_ms,
    )


def _approval_in(words: list[Word]) -> Approvals | None:
    """The last that was said of approvals: of all targets alike."""
    said = [found for word in words if (found := from_book(word.said.get("approval"))) is not None]
    return said[-1] if said else None


def tracker_of(entry: Entry, header: Header, words: list[Word], deadline_ms: int, wait_ms: int = 0) -> Tracker:
    """A tracker that goes on where the book is."""
    tracker = Tracker(
        entry.id, entry.asked_ms, deadline_ms, ttl_ms=header.ttl_ms, wait_ms=wait_ms, dry_run=header.terms.dry_run,
        lasts=lasts_ms(entry.envelope) > 0,
    )
    recall(tracker, entry, words)
    return tracker


def recall(tracker: Tracker, entry: Entry, words: list[Word]) -> None:
    """What this process, or another of its identity, was told before. That one gave up waiting is no word of anybody.
    """
    tracker.recall_targets(entry.targets, entry.turned_at, nobody=entry.nobody)
    tracker.resolution = tracker.resolution or entry.resolution
    for word in words:
        if word.by:
            tracker.recall(heard(word, tracker.digest.hex()))


def lasts_ms(envelope: bytes) -> int:
    """For how long the effect of an action is to last, from when it was asked for on; 0 where it says nothing of it."""
    header, record = asked_of(envelope)
    args = record.get("args")
    if not isinstance(args, dict) or check_args(args) is not None or header.terms.dry_run:
        return 0
    stop_ms, duration_ms = Times.of(args).stop_ms, int(args.get("duration", 0))
    return max(0, min(LEASE_MS_MAX, duration_ms if stop_ms is None else stop_ms - header.issued_at_ms))


def word_of(heard: Outcome | Step | Effect, now_ms: int) -> Word:
    """As the book keeps it."""
    if isinstance(heard, Effect):
        said = {"effect": heard.word, "at": heard.at_ms, "code": heard.code, "reason": heard.reason}
        return Word(0, heard.target, State.NONE, heard.target, now_ms, now_ms, said)
    if isinstance(heard, Step):
        said = {} if heard.progress is None else {"progress": heard.progress}
        said |= {"note": heard.note} if heard.note else {}
        said |= {"approval": to_book(heard.approval)} if heard.approval is not None else {}
        said |= {"away": True} if heard.away else {}
        return Word(0, heard.target, heard.state, heard.by, now_ms, now_ms, said)
    rest = {
        "status": heard.status, "code": heard.code, "reason": heard.reason, "result": dict(heard.result),
        "label": int(heard.label), "took_ms": heard.took_ms,
    }
    if heard.artifacts:
        rest["artifacts"] = [each.to_book() for each in heard.artifacts]
    if heard.denied_by:
        rest |= {"denied_by": heard.denied_by, "why": heard.why}
    return Word(0, heard.target, state_of(heard.end), heard.by, now_ms, now_ms, rest)


def heard(word: Word, action: str = "") -> Outcome | Step | Effect:
    """The inverse of `word_of`. `action`: whose word it is."""
    said = word.said
    if word.state is State.NONE:
        return effect_of(word.target, said)
    if word.state.end is None:
        approval = from_book(said.get("approval"))
        away = said.get("away") is True or (word.state is State.HELD and approval is None)
        return Step(
            word.target, word.state, word.by, said.get("progress"), str(said.get("note", "")), approval, away
        )
    label = Label(said.get("label", Label.RED))
    return Outcome(
        word.target, End(word.state.end), word.by, int(said.get("status", 0)), str(said.get("code", "")),
        str(said.get("reason", "")), said.get("result") or {}, label, int(said.get("took_ms", 0)),
        read_artifacts(said.get("artifacts"), target=word.target, action=action, label=label),
        str(said.get("denied_by", "")), str(said.get("why", "")),
    )
