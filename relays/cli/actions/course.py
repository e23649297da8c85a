"""How `fabric act` shows what becomes of an action: for people, one JSON object a line, or OpenC2's responses.

With OpenC2 standard output has one response a line (Language 1.0, 3.3.2), each in a message from whom it is (3.2), for
each target that ended; what is no response goes to standard error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fabric.edge.messages import Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.responses import response_message
from relays.cli.actions.absent import AWAY, away_json, away_line
from relays.cli.actions.artifacts import tell_left
from relays.cli.actions.asked import Asked
from relays.cli.actions.changes import end_json, step_cell, tell_changes
from relays.cli.actions.unanswered import ID_CHARS, Open, clock_time
from relays.responses import response_of
from relays.terminal import LABEL_STYLES, Cell, Screen, Table, json_text, say, say_json
from relays.wall import wall_ms

TEXT, JSON, OPENC2 = "text", "json", "openc2"
_CODES = {code.label: code for code in Code}
_STYLES = {End.COMPLETED: "green", End.READY: "green", End.FAILED: "red", End.REFUSED: "red", End.UNKNOWN: "yellow"}


def to_format(name: str | None, as_json: bool) -> str:
    """Raises USAGE."""
    if name not in (None, TEXT, OPENC2) or (as_json and name is not None):
        said = f"--format {name}{' and --json' if as_json else ''}"
        raise FabricError(Code.USAGE, said, "write --format openc2, or --json, or neither")
    return JSON if as_json else name or TEXT


class Course:
    """`me`: who asks. `watched`: each change of state is told, too, where no table shows it."""

    def __init__(self, screen: Screen, format_: str, asked: Asked, *, watched: bool = False) -> None:
        self._screen = screen
        self._format = format_
        self._asked = asked
        self._watched = watched
        self.me = ""
        self._told: tuple[bool, bool] | None = None  # what was told of approvals: whether they are given, and asked for

    @property
    def is_json(self) -> bool:
        return self._format == JSON

    @property
    def is_live(self) -> bool:
        return self._format == TEXT and self._screen.is_terminal

    def changes(self, request: Request) -> None:
        """Of its targets, some go on."""
        if self._watched and not self.is_live and self._format != OPENC2:
            tell_changes(request, as_json=self.is_json)

    def outcome(self, outcome: Outcome, *, now: bool = True) -> None:
        """It ended, at one target; before this command began, where it is not `now`, and then no table shows it."""
        if self._format == JSON:
            say_json(end_json(outcome, watched=self._watched))
        elif self._format == OPENC2:
            self._respond(outcome, str(outcome.end))
        elif not (self.is_live and now):
            say(line_of(outcome))

    def held(self, open_: Open) -> None:
        """Of its targets, these are away, and get it if they are back in time."""
        if not (self.is_live or (self._watched and self.is_json)):
            self._tell(open_.held(as_json=self.is_json))

    def approvals(self, open_: Open) -> None:
        """It is held until it is approved, or was approved by now. Once each."""
        approval = open_.approval
        if approval is None or (approval.given, approval.is_asked) == self._told:
            return
        self._told = approval.given, approval.is_asked
        if self.is_live or (self._watched and self.is_json):
            return
        if not approval.given:
            self._tell(open_.waits(as_json=self.is_json))
        elif not self.is_json:
            self._tell([approval.text])

    def unanswered(self, open_: Open) -> None:
        """Nobody waits any more for these."""
        self._tell(open_.lines(as_json=self.is_json))

    def away(self, ids: Sequence[str]) -> None:
        """Who was meant, and is not connected."""
        if ids and self._format == TEXT:
            self._screen.say(Cell(away_line(ids), "yellow"))
        for id_ in ids:
            if self._format == JSON:
                say_json(away_json(id_))
            elif self._format == OPENC2:
                self._respond(Outcome(id_, End.UNKNOWN, "", 0, AWAY.label, AWAY.cause), AWAY.reason)

    def too_few(self, expected: int, selected: int) -> None:
        """On standard error."""
        if self._format == JSON:
            say_json({"expected": expected, "selected": selected}, error=True)
        else:
            say(f"{expected} targets were expected and {selected} {'was' if selected == 1 else 'were'} selected", error=True)

    def left(self, outcomes: Iterable[Outcome], identity: str) -> None:
        """What it left at its targets; in JSON that stands with each outcome."""
        if self._format == TEXT:
            tell_left([artifact for outcome in outcomes for artifact in outcome.artifacts], identity)

    def step(self, words: str) -> None:
        """Between two steps of a rollout: on standard error, so that it is nobody's data."""
        say(words, error=True)

    def not_begun(self, targets: Sequence[str], stopped_by: Outcome | None) -> None:
        """Whom no step of a rollout was for, and what stopped it."""
        if self._format == JSON and targets:
            by = None if stopped_by is None else {"target": stopped_by.target, "end": str(stopped_by.end)}
            say_json({"not_begun": list(targets), "stopped_by": by})
        elif targets:
            why = "" if stopped_by is None else f", as {stopped_by.target} ended as {stopped_by.end}"
            say(f"not begun at {len(targets)}{why}: {', '.join(targets)}", error=self._format == OPENC2)

    def table(self, request: Request, ends_s: float, *, dry_run: bool = False) -> Table:
        return table_of(request, f"{self._asked.action} {self._asked.target}", ends_s, dry_run=dry_run)

    def _tell(self, lines: Iterable[str | dict[str, Any]]) -> None:
        for line in lines:
            if not isinstance(line, str):
                say_json(line)
            elif self._format == OPENC2:
                say(line, error=True)
            else:
                self._screen.say(Cell(line, "yellow"))

    def _respond(self, outcome: Outcome, end: str) -> None:
        if not self._asked.wants_response:
            return
        say_json(response_message(
            response_of(outcome, end), from_=outcome.by or self.me, to=self.me, created_ms=wall_ms(),
            request_id=self._asked.request_id or self._asked.command_id,
        ))


def table_of(request: Request, title: str, ends_s: float, *, dry_run: bool = False) -> Table:
    """All of it, as far as it is known by now."""
    approval, until = request.approval, f"may be executed until {clock_time(ends_s)}"
    would_wait = "" if approval is None or approval.is_asked else approval.text
    if would_wait:
        approval, until = None, would_wait
    if approval is not None:
        ends_s = approval.until_ms / 1000
        until = f"{approval.text}{';' if approval.given else ','} "
        until += f"may be executed until {clock_time(ends_s)}" if approval.given else f"until {clock_time(ends_s)}"
    table = Table("target", "end", "ms", "why", "label", "result", title=title, aside=("why", "label", "result"))
    if approval is not None and not approval.given:
        table.foot(f"decided with: fabric approve {request.action_id[:ID_CHARS]}")
    for target in request.targets or tuple(request.outcomes):
        outcome = request.outcomes.get(target)
        if outcome is None and _is_away(request, target):
            later = f"gets it if it is back before {clock_time(ends_s)}"
            table.row(target, Cell("away", "yellow"), "", "a dry run waits for nobody" if dry_run else later, "", "")
            continue
        if outcome is None:
            table.row(target, step_cell(request, target), "", until if approval else f"no answer yet; {until}", "", "")
            continue
        table.row(
            target or "all", Cell(outcome.end, _STYLES.get(outcome.end, "yellow")), str(outcome.took_ms),
            why_of(outcome) or would_wait, Cell(outcome.label.short, LABEL_STYLES[outcome.label]) if outcome.by else "",
            json_text(outcome.result, ascii_only=False) if outcome.result else "",
        )
    return table


def _is_away(request: Request, target: str) -> bool:
    """It was away, and nothing was heard of it since."""
    step = request.steps.get(target)
    return target in request.held and (step is None or step.away)


def why_of(outcome: Outcome) -> str:
    """Number and reason; who says so, where that is not the target itself; and who denied it, in that one's words. What
    a target says by its number alone is said in words."""
    denied = f"; {outcome.denied_by}{f': {outcome.why}' if outcome.why else ''}" if outcome.denied_by else ""
    if outcome.code and outcome.by and outcome.by != outcome.target:
        return f"{outcome.code} {outcome.reason} at {outcome.by}{denied}"
    known = _CODES.get(outcome.code)
    cause = f": {known.cause}" if known is not None and outcome.reason == known.reason else ""
    return f"{outcome.code} {outcome.reason}{cause}{denied}".strip()


def line_of(outcome: Outcome) -> str:
    """How it ended at one target, for people: with the label of what is said there, where somebody said it."""
    why = f" {why_of(outcome)}" if outcome.code else ""
    result = f" {json_text(outcome.result, ascii_only=False)}" if outcome.result else ""
    label = f"{outcome.label.spelling}, " if outcome.by else ""
    return f"{outcome.target or 'all'}: {outcome.end}{why}{result} ({label}{outcome.took_ms} ms)"
