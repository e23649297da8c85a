"""What a command of `fabric edge run --exec` says of its progress."""

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.control import Control
from fabric.edge.messages import Action
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.handling import Progress


@pytest.fixture
def said():
    return []


@pytest.fixture
def progress(said):
    control = Control(lambda *words: said.append(words))
    target = Target("ipv4_net", "192.0.2.1")
    action = Action("00", "deny", target, {}, "soar-1", Severity.LOW, Label.GREEN, 0, 0, (), control=control)
    return Progress(action, structlog.get_logger())


def test_a_line_says_how_far_it_is(progress, said):
    with capture_logs() as logs:
        progress(b'{"progress": 0.4, "note": "40 of 100"}\n')
        progress(b'{"note": "nearly"}\n')
    assert said == [(0.4, "40 of 100"), (None, "nearly")] and logs == []


@pytest.mark.parametrize(
    ("line", "next_step"),
    [(b"40 %", "write one JSON object a line"), (b"[]", "write one JSON object a line"),
     (b'{"progress": 40}', "give a number from 0 to 1, or None"), (b'{"note": 7}', "give a few words"),
     (b'{"progress": 1e400}', "write one JSON object a line"), (b"\xff", "write one JSON object a line")],
)
def test_what_is_no_progress_is_in_the_log_once_and_without_its_content(progress, said, line, next_step):
    with capture_logs() as logs:
        for _ in range(3):
            progress(line)
        progress(b'{"progress": 1}')
    assert said == [(1.0, "")]
    assert [(log["event"], log["next"]) for log in logs] == [("progress not understood", next_step)]
