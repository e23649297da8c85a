"""What a relay says of an approval or a denial: that it counts, or why it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.edge.approving.request import ApprovalRequest
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import APPROVALS_MAX, APPROVERS_MAX

_BY_LABEL = {code.label: code for code in Code}
_WORDS_MAX = 256


@dataclass(frozen=True, slots=True)
class Verdict:
    """It counts. `id`: of the action; `approval`: of what was signed; `approved_by`: who approved so far, of `require`;
    `by`: the relay that says so."""

    id: str
    approval: str
    approves: bool
    approved_by: tuple[str, ...]
    require: int
    by: str

    def to_json(self) -> dict[str, Any]:
        """As `fabric approve --json` prints it."""
        return {
            "id": self.id, "approval": self.approval, "decision": "approve" if self.approves else "deny",
            "counted": True, "approved_by": list(self.approved_by), "require": self.require, "by": self.by,
        }


def read_verdict(
    request: ApprovalRequest, approval: bytes, approves: bool, said: Mapping[str, Any]
) -> Verdict:
    """Of what was counted."""
    require, by = said.get("require"), approvers_in(said)
    enough = require if type(require) is int and 1 <= require <= APPROVERS_MAX else request.require
    return Verdict(request.id, approval.hex(), approves, by, enough, request.by)


def approvers_in(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Who approved so far, printable."""
    names = said.get("approved_by")
    return tuple(words(name) for name in names[:APPROVALS_MAX]) if isinstance(names, list) else ()


def why_not(said: Mapping[str, Any]) -> FabricError:
    """Of what was not counted."""
    code = _BY_LABEL.get(words(said.get("code")), Code.BAD_APPROVAL)
    reason = words(said.get("reason"))
    # The reason begins with what the code means, which the error says by itself.
    return FabricError(code, reason.removeprefix(code.reason).removeprefix(": "))


# How it ended for those who were asked, and what a decision that comes after that is told.
_ENDED = {"denied": Code.ACTION_DENIED, "expired": Code.APPROVAL_LATE, "cancelled": Code.CANCELLED}


def why_over(outcome: str) -> FabricError:
    """What became of an action that is not held any more, for one who would decide it now."""
    return FabricError(
        _ENDED.get(outcome, Code.NOT_OPEN), f"it is held no more: {outcome or 'over'}", "nothing is left to decide"
    )


# So a relay says that it holds no such action.
_NOTHING = "nothing waits for it"


def why_not_taken(error: FabricError) -> FabricError:
    """What refused an approval on its way. Where it came too late nothing is wrong with it: others were quicker, or the
    action had ended."""
    if error.code is Code.BAD_APPROVAL and error.detail == _NOTHING:
        return FabricError(Code.NOT_OPEN, "it was decided, or had ended, before this came", "nothing is left to decide")
    return error


def words(said: object) -> str:
    """A terminal that they are printed on obeys nothing of them."""
    text = said[:_WORDS_MAX] if isinstance(said, str) else ""
    return "".join(character if character.isprintable() else "?" for character in text)
