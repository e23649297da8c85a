"""What every test begins with."""

import gc
import signal
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.workers import WAITING

# Where a test does not say how many. Each run has others, and `scripts/fuzz` goes on for as long as it is let. How long
# something takes says how busy this machine is.
settings.register_profile("suite", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# A shell without job control has what it runs in the background ignore Ctrl-C, and all that it starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Collecting makes much and lets go of nothing: who looks for garbage meanwhile finds none.
gc.disable()

# Folders in the order in which their files are begun: those that take long before those that fill up the end.
_FOLDERS = ("integration", "simulation", "fuzz", "properties")
_WAITING = "integration"


def pytest_collection_modifyitems(config, items):
    of_file = {}
    for item in items:
        of_file.setdefault(item.path, []).append(item)
    config.stash[WAITING] = frozenset(file for file in of_file if file.parent.name == _WAITING)
    place = {folder: n for n, folder in enumerate(_FOLDERS)}
    items[:] = [
        item for file in sorted(of_file, key=lambda file: (place.get(file.parent.name, len(place)), str(file)))
        for item in of_file[file]
    ]


def pytest_collection_finish():
    """What is there by now stays: garbage is looked for in what tests make, and less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """A test that sets up logs, as a program does at its start, does so for itself: its streams are closed after it."""
    structlog.reset_defaults()


@pytest.fixture
def on_disk():
    """A folder on a disk, which gives the number of a file that is gone to the next one, as those in memory do not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)
