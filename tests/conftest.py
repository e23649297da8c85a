"""What every test begins with."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    yield
    structlog.reset_defaults()
