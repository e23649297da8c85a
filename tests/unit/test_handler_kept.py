"""What a handler has in force: for whom, and for how many reasons."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.handlers.kept import Entry, Kept


@pytest.fixture
def kept(tmp_path):
    made = Kept(tmp_path / "h" / "kept.json", 10)
    with made.changing():
        made.put("x", Entry("soar-1", 1, "4f", {"for": ["0"]}))
        yield made


def test_it_is_held_until_the_last_of_its_reasons_is_gone(kept):
    assert kept.hold_for("x", "0") and kept.hold_for("x", "1") and kept.is_for("x", "1")
    assert kept.let_go("x", "0") and not kept.is_for("x", "0")
    assert not kept.let_go("x", "1") and "x" in kept.entries  # who lets go of the last one drops it


def test_there_are_so_many_reasons_and_no_more(kept):
    assert [kept.hold_for("x", str(n)) for n in range(17)] == [True] * 16 + [False]
    assert kept.hold_for("x", "15")


def test_a_file_in_which_a_reason_is_no_text_says_nothing(tmp_path):
    kept = Kept(tmp_path / "kept.json", 10)
    with kept.changing():
        kept.put("x", Entry("soar-1", 1, "4f", {"for": [7]}))
    with pytest.raises(FabricError) as raised, kept.changing():
        pass
    assert raised.value.code is Code.HANDLER_UNFIT
