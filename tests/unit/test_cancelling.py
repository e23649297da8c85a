"""What targets say of an action that was cancelled or released, for people."""

import pytest

from fabric.edge.messages import Outcome
from fabric.protocol.vocabulary.openc2 import End
from relays.cli.actions.cancelling import line_of_cancelled


@pytest.mark.parametrize(("result", "line"), [
    ({"was": "running"}, "fw-1: it was running"),
    ({"was": "not at work"}, "fw-1: it was not at work; `fabric action` says how it ended"),
    ({"was": "in force", "effect": "released"}, "fw-1: released"),
    ({"was": "in force", "effect": "lasts"},
     "fw-1: lasts: another action keeps the same effect up (`fabric leases`)"),
    ({"was": "in force", "effect": "revert failed"}, "fw-1: revert failed: it goes on trying, and its log says why"),
    ({"was": "in force", "effect": "from the future"}, "fw-1: from the future"),
])
def test_a_target_says_what_it_was_or_what_became_of_its_effect(result, line):
    assert line_of_cancelled(Outcome("fw-1", End.COMPLETED, "fw-1", 200, result=result)) == line
