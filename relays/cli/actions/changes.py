"""How an action stands at each of its targets while it goes on: for a table, and a line for each change of state."""

from __future__ import annotations

from typing import Any

from fabric.edge.messages import Outcome, Step
from fabric.edge.requesting.request import Request
from fabric.protocol.vocabulary.lifecycle import State
from relays.terminal import Cell, say, say_json

_STYLES = {State.HELD: "yellow", State.RUNNING: "cyan"}


def step_line(step: Step) -> str:
    """For people: the state, how far its handler is where it says so, and of whom approvals are or were."""
    if step.approval is not None:
        said = step.approval.text if step.approval.given or not step.approval.is_asked else f"{step.state.word}, {step.approval.text}"
        return f"{said}; away" if step.away else said
    progress = "" if step.progress is None else f" {step.progress:.0%}"
    return f"{step.state.word}{progress}{f' {step.note}' if step.note else ''}"


def step_cell(request: Request, target: str) -> Cell:
    """How far the action is at a target that has not ended."""
    step = request.steps.get(target)
    if step is None:
        return Cell("...")
    said = step.state.word if step.approval is not None else step_line(step)
    return Cell(said, _STYLES.get(step.state, ""))


def tell_changes(request: Request, *, as_json: bool) -> None:
    """Each state that a target came to since this was called last, but for its end, which is told as such."""
    for step in request.new_steps:
        if as_json:
            say_json(step.to_json())
        else:
            say(f"{step.target}: {step_line(step)}")


def end_json(outcome: Outcome, *, watched: bool) -> dict[str, Any]:
    """An end. Among changes of state it is one of them."""
    said = outcome.to_json()
    return {"target": said["target"], "state": said["end"], **said} if watched else said
