"""What a command of `fabric edge run --exec` is, and says: its name, its progress, its answer."""

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.control import Control
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.edge.execution import LINE_BYTES_MAX
from relays.cli.edge.handling import CommandHandler, Progress, answer_in, command_of


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
        progress.close()
    assert said == [(0.4, "40 of 100"), (None, "nearly")] and logs == []


@pytest.mark.parametrize(
    ("line", "next_step"),
    [(b"40 %", "write one JSON object a line"), (b"[]", "write one JSON object a line"),
     (b'{"progress": 40}', "give a number from 0 to 1, or None"), (b'{"note": 7}', "give a few words"),
     (b'{"progress": 1e400}', "write one JSON object a line"), (b"\xff", "write one JSON object a line"),
     (b'{"percent": 40}', 'write "progress", "note", or both'),
     (b'{"note": "%s"}' % (b"x" * LINE_BYTES_MAX), "write lines of 4,096 bytes at most")],
)
def test_what_is_no_progress_is_in_the_log_once_and_without_its_content(progress, said, line, next_step):
    with capture_logs() as logs:
        for _ in range(3):
            progress(line)
        progress(b'{"progress": 1}')
        progress(b"something else")
        assert not logs
        progress.close()
    assert said == [(1.0, "")]
    assert [(log["event"], log["lines"], log["next"]) for log in logs] == [("progress not understood", 4, next_step)]


# -- its name ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def spaced(tmp_path):
    script = tmp_path / "my handlers" / "block it"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho '{}'\n")
    script.chmod(0o755)
    return script


def test_a_path_with_spaces_needs_no_second_quotes(spaced):
    assert command_of(str(spaced)) == [str(spaced)]
    assert command_of(f"'{spaced}' -v") == [str(spaced), "-v"]
    assert command_of("sh -c 'exit 1'") == ["sh", "-c", "exit 1"]


def test_one_that_cannot_be_run_is_named_whole(spaced):
    spaced.chmod(0o644)
    with pytest.raises(FabricError) as raised:
        command_of(str(spaced))
    assert raised.value.code is Code.CANNOT_RUN and f"chmod +x '{spaced}'" in raised.value.detail


# -- its answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", [b"", b" \n", b"{}", b'{"a": 1}\n', b'\n {"a": [1]} '])
def test_nothing_or_one_object_is_an_answer(out):
    assert str(answer_in(out).end) == "completed"


@pytest.mark.parametrize(
    "out", [b'{"a": 1}{"b": 2}', b'{"a": 1}\n{"b": 2}\n', b"[]", b"7", b'"x"', b"null", b"ok", b"\xff\xfe", b"{", b"\0",
            b'{"a": 1} done', b"[" * 100_000, b'{"a": ' * 50_000, b"9" * 5_000],
)
def test_two_answers_or_garbage_are_none(out):
    answer = answer_in(out)
    assert (str(answer.end), answer.code) == ("failed", Code.HANDLER_FAILED)
    assert answer.result == {"error": "the handler's output is not a JSON object"}


# -- whatever it does -------------------------------------------------------------------------------------------------

BAD = {
    "never reads its input": ("exec <&-; echo '{}'", "completed", ""),
    "keeps its output open": ("sleep 60 & echo '{}'", "completed", ""),
    "answers twice": ("echo '{}'; echo '{}'", "failed", "E709"),
    "hangs": ("sleep 60", "failed", "E709"),
    "hangs, and so does its child": ("sleep 60 & wait", "failed", "E709"),
    "hears no SIGTERM": ("trap '' TERM INT; sleep 60 & sleep 60", "failed", "E709"),
    "says megabytes": ("head -c 5000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 3", "failed", "E709"),
    "kills itself": ("kill -9 $$", "failed", "E709"),
    "closes all it has": ("exec <&- >&- 2>&-; exit 0", "completed", ""),
    "writes to what is closed": ("exec >&-; echo x; exit 4", "failed", "E709"),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_a_command_does_it_ends_in_an_answer_and_what_it_said_is_in_the_log(name):
    script, end, code = BAD[name]
    target = Target("ipv4_net", "192.0.2.1")
    action = Action("00", "deny", target, {"x": "y" * 200_000}, "soar-1", Severity.LOW, Label.GREEN, 0, 0, ())
    with capture_logs() as told:
        answer = CommandHandler(["/bin/sh", "-c", script], 0.3 if "hangs" in name or "hears" in name else 30.0)(action)
    assert (str(answer.end), answer.code.label if answer.code else "") == (end, code)
    logs = [log for log in told if log["event"] != "no folder for artifacts"]  # this action is nobody's
    assert (answer.code is None) == (logs == []) or name == "answers twice"
    if "megabytes" in name:
        (log,) = logs
        assert log["exit"] == 3 and log["said"].endswith("xxxend") and len(log["said"]) < 5_000
