"""What every test begins with."""

import pytest
import structlog

_COMPUTING = ("simulation", "fuzz", "properties")
_WAITING = ("integration",)


def pytest_collection_modifyitems(items):
    """Files that compute run beside files that wait for processes; what is short fills up the end."""
    place = {}
    for folders in (_COMPUTING, _WAITING):
        files = dict.fromkeys(item.path for folder in folders for item in items if item.path.parent.name == folder)
        place |= {file: n / len(files) for n, file in enumerate(files)}
    items.sort(key=lambda item: (place.get(item.path, 1), str(item.path)))


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    yield
    structlog.reset_defaults()
