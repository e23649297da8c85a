"""How an action that waits for approvals is shown: a row of a list, or all of it, for somebody who is to sign it."""

from __future__ import annotations

from collections.abc import Iterator

from fabric.edge.approving.request import ApprovalRequest
from relays.cli.actions.unanswered import ID_CHARS
from relays.terminal import SEVERITY_STYLES, Cell, Piece, json_text
from relays.wall import utc

COLUMNS = (
    "id", "action", "requester", "targets", "severity", "label", "class", "rule", "approved", "until", "args", "to",
)
ASIDE = ("until", "targets", "requester", "severity", "label", "class", "rule", "args", "to")
# Of targets, so many by name in a row; whoever decides sees all of them.
_NAMED = 3
# In a line of all targets, about as many characters as a terminal has.
_LINE_CHARS = 100


def row_of(request: ApprovalRequest) -> tuple[Piece, ...]:
    """The cells of `COLUMNS`."""
    return (
        request.id[:ID_CHARS], request.text, request.requester or "(withheld)", targets_line(request.targets),
        Cell(request.severity.name.lower(), SEVERITY_STYLES.get(request.severity, "")), request.label.short,
        request.class_, request.rule, progress_of(request), utc(request.until_ms),
        json_text(request.args, ascii_only=False) if request.args else "", request.to,
    )


def targets_line(targets: tuple[str, ...]) -> str:
    """How many, and the first of them."""
    named = ", ".join(targets[:_NAMED])
    more = f", and {len(targets) - _NAMED} more" if len(targets) > _NAMED else ""
    return f"{len(targets)}: {named}{more}"


def progress_of(request: ApprovalRequest) -> str:
    """How many have approved, and who."""
    names = f" ({', '.join(request.approved_by)})" if request.approved_by else ""
    return f"{len(request.approved_by)} of {request.require}{names}"


def line_of(request: ApprovalRequest) -> str:
    """In one line, as it comes."""
    return (f"{request.id[:ID_CHARS]} {request.text} ({request.label.spelling}) at {targets_line(request.targets)}, asked by "
            f"{request.requester or '(withheld)'}: {progress_of(request)} by {' or '.join(request.roles)}, until {utc(request.until_ms)}")


def all_of(request: ApprovalRequest) -> Iterator[str]:
    """Everything that an approval of it is bound to, and all that is known of it."""
    later = request.escalation
    yield f"action    {request.text}"
    if request.args:
        yield f"args      {json_text(request.args, ascii_only=False)}"
    if request.dry_run:
        yield "terms     dry run: everything is checked, and nothing executed"
    if not request.withheld:
        yield f"asked by  {request.requester}, {utc(request.issued_at_ms)}, to {request.to}"
        yield f"within    {request.ttl_ms / 1000:g} s of the last approval it may be executed"
    yield f"targets   {len(request.targets)}, and nobody else"
    yield from (f"          {line}" for line in _lines(request.targets))
    yield f"severity  {request.severity.name.lower()}, {request.label.short}{f', class {request.class_}' if request.class_ else ''}"
    yield f"rule      {request.rule}: {request.require} of {' or '.join(request.roles)}"
    if later is not None:
        yield (f"          {later.after_ms / 1000:g} s after it was held {' or '.join(later.roles)} may too, and then {later.require} "
               f"{'is' if later.require == 1 else 'are'} enough")
    yield f"policies  version {request.policies.version}, {request.policies.digest.hex()}"
    yield f"approved  {progress_of(request)}"
    yield f"held      at {request.by}, since {utc(request.held_at_ms)} by its time, until {utc(request.until_ms)} by this machine's"
    yield f"digest    {request.id}"


def _lines(names: tuple[str, ...]) -> Iterator[str]:
    line = ""
    for name in names:
        if line and len(line) + len(name) > _LINE_CHARS:
            yield line
            line = ""
        line += f"{', ' if line else ''}{name}"
    if line:
        yield line
