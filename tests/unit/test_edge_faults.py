"""What a program's own function raises: in the log by its type and place, and the end of nobody but by an exit."""

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.logging.faults import contained


def raises(error):
    raise error


def test_what_a_function_of_the_program_raises_is_logged_without_its_text_and_goes_no_further():
    with capture_logs() as logs, contained(structlog.get_logger(), "on_notice"):
        raises(ValueError("secret"))
    (line,) = logs
    assert line["event"] == "on_notice raised" and line["error"] == "ValueError"
    assert line["at"].startswith("test_edge_faults.py:") and "secret" not in str(line)


def test_nothing_is_logged_where_nothing_is_raised():
    with capture_logs() as logs, contained(structlog.get_logger(), "on_notice"):
        pass
    assert logs == []


def test_an_exit_is_no_fault_of_a_function():
    with capture_logs() as logs, pytest.raises(SystemExit), contained(structlog.get_logger(), "on_notice"):
        raises(SystemExit(3))
    assert logs == []
