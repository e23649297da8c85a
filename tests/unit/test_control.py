"""What a handler says while it is at work, and hears."""

import math

import pytest

from fabric.edge.control import Control
from fabric.protocol.base.errors import Code, FabricError


def test_progress_and_a_note_are_told():
    said = []
    control = Control(lambda *words: said.append(words))
    control.report(0.4, "40 of 100 files")
    control.report(1)
    control.report(note="nearly \x1b[31mdone\n" + "x" * 500)
    assert said[:2] == [(0.4, "40 of 100 files"), (1.0, "")]
    progress, note = said[2]
    assert progress is None and note.startswith("nearly ?[31mdone?xxx") and len(note) == 200


@pytest.mark.parametrize("progress", [
    -0.1, 1.1, math.nan, math.inf, "0.4", True, [1],
    pytest.param(10**400, id="large"), pytest.param(10**5_000, id="huge"),
])
def test_what_is_no_progress_is_an_error_and_not_told(progress):
    said = []
    with pytest.raises(FabricError) as error:
        Control(lambda *words: said.append(words)).report(progress)
    assert error.value.code is Code.USAGE and said == []


def test_what_is_no_note_is_an_error():
    with pytest.raises(FabricError):
        Control().report(note=b"bytes")


def test_cancelling_is_heard_once_also_by_who_listens_later():
    control, heard = Control(), []
    control.on_cancel(lambda: heard.append("before"))
    assert not control.cancelled
    control.cancel()
    control.cancel()
    control.on_cancel(lambda: heard.append("after"))
    assert control.cancelled and heard == ["before", "after"]


def test_who_raises_when_it_hears_of_it_keeps_no_other_from_hearing():
    control, heard = Control(), []
    control.on_cancel(lambda: heard.append("first"))
    control.on_cancel(lambda: 1 / 0)
    control.on_cancel(lambda: heard.append("last"))
    with pytest.raises(ZeroDivisionError):
        control.cancel()
    assert heard == ["first", "last"]
