"""What every test begins with."""

import gc
import signal
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Where a test does not say how many. Each run has others, and `scripts/fuzz` goes on for as long as it is let. How long
# something takes says how busy this machine is.
settings.register_profile("suite", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# A shell without job control has what it runs in the background ignore Ctrl-C, and all that it starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Collecting makes much and lets go of nothing: who looks for garbage meanwhile finds none.
gc.disable()

_COMPUTING = ("simulation", "fuzz", "properties")
_WAITING = ("integration",)


def pytest_collection_modifyitems(items):
    """Files that compute run beside files that wait for processes; what is short fills up the end."""
    of_file = {}
    for item in items:
        of_file.setdefault(item.path, []).append(item)
    place = {}
    for folders in (_COMPUTING, _WAITING):
        files = [file for folder in folders for file in of_file if file.parent.name == folder]
        place |= {file: n / len(files) for n, file in enumerate(files)}
    items[:] = [item for file in sorted(of_file, key=lambda file: (place.get(file, 1), str(file)))
                for item in of_file[file]]


def pytest_collection_finish():
    """What is there by now stays: garbage is looked for in what tests make, and less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
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
