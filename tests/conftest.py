"""What every test begins with."""

import gc
import tempfile
from pathlib import Path

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


def pytest_collection_finish():
    """What is there by now stays: garbage is looked for in what tests make, and less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def on_disk():
    """A folder on a disk, which gives the number of a file that is gone to the next one, as those in memory do not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)
