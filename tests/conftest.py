"""What every test begins with."""

import pytest
import structlog

# What computes for long begins first, beside tests that wait; what is short fills up the end.
_ORDER = ("simulation", "integration", "fuzz", "properties")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: next((n for n, name in enumerate(_ORDER) if f"/{name}/" in str(item.path)), len(_ORDER)))


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    yield
    structlog.reset_defaults()
