"""A program at the end of a chain: what it was told, and what it says."""

import json
import subprocess
import sys

import pytest

from scripts.comparison import saying


@pytest.mark.parametrize(("more", "times"), [([], 0), ([saying.APART], 1)])
def test_who_is_told_to_gives_way_and_does_not_see_that_word(monkeypatch, more, times):
    given = []
    monkeypatch.setattr(saying, "give_way", lambda: given.append(1))
    monkeypatch.setattr(sys, "argv", ["ends", "read", "detections.>", *more])
    assert saying.arguments() == ["read", "detections.>"]
    assert len(given) == times


def test_what_is_said_is_one_object_on_a_line_at_once(capsys):
    saying.say(ready=True, records=3)
    assert json.loads(capsys.readouterr().out) == {"ready": True, "records": 3}


def test_an_end_reads_no_more_than_it_needs():
    """Some start a hundred times: an end of another library's chain is not to read all of ours first."""
    code = (
        "import sys, scripts.comparison.records\n"
        "print(*[name for name in sys.modules if name.split('.')[0] in ('fabric', 'relays')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == []
