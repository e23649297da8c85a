"""What every test begins with."""

import pytest
import structlog

# What computes for long begins first, beside tests that wait; what is short fills up the end.
_FIRST = ("simulation", "integration", "fuzz", "properties")


def _place(item):
    folder = item.path.parent.name
    return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)


def pytest_collection_modifyitems(items):
    items.sort(key=_place)


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    yield
    structlog.reset_defaults()
