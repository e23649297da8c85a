"""Tests that run in forks of the process that collected them: what became of each is told once, whatever becomes of it.

A folder of tests of its own, run by a pytest of its own.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "test_a.py": """
import pytest, warnings
def test_passes(tmp_path):
    print("said")
    assert not list(tmp_path.iterdir())
def test_fails():
    print("said before it failed")
    warnings.warn("look at this")
    assert 1 == 2
@pytest.mark.skip
def test_is_skipped(): pass
@pytest.fixture
def broken():
    yield
    raise ValueError("not taken down")
def test_is_whole(broken): pass
""",
    "test_b.py": """
import os, signal
def test_before(): pass
def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
def test_goes_on(): pass
def test_ends(): os._exit(3)
""",
    **{f"test_c{n}.py": """
import pytest
def test_has_it(made): assert made
def test_has_the_same(made): assert made
""" for n in range(5)},
    "conftest.py": """
import os, pathlib, pytest
@pytest.fixture(scope="session")
def made():
    note = pathlib.Path(__file__).with_name(f"made-{os.getpid()}")
    note.write_text("up")
    yield True
    note.write_text("down")
""",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, *args):
    """What became of each test, by name, and what was shown."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.workers", "-p", "no:cacheprovider", "--junitxml",
         str(folder / "told.xml"), f"--rootdir={folder}", f"--basetemp={folder / 'temp'}", *args, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )
    cases = ElementTree.parse(folder / "told.xml").iter("testcase")
    told = [(f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}", [each.tag for each in case])
            for case in cases]
    return done, Counter(name for name, _ in told), {name: tags for name, tags in told if tags}


def test_each_test_is_run_and_told_of_once_also_when_its_worker_dies(folder):
    done, ran, told = run(folder, "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert set(ran.values()) == {1} and len(ran) == 18
    assert told == {
        "test_a::test_fails": ["failure"], "test_a::test_is_skipped": ["skipped"], "test_a::test_is_whole": ["error"],
        "test_b::test_dies": ["failure"], "test_b::test_ends": ["failure"],
    }
    assert "its worker ended by SIGKILL" in done.stdout and "its worker ended with code 3" in done.stdout
    assert "assert 1 == 2" in done.stdout and "said before it failed" in done.stdout
    assert "UserWarning: look at this" in done.stdout
    notes = [note.read_text() for note in folder.glob("made-*")]
    assert 1 <= len(notes) <= 4 and notes.count("up") <= 2, "only who was killed leaves something behind"


def test_a_run_that_ends_at_the_first_failure_takes_down_what_it_set_up(folder):
    (folder / "test_b.py").unlink()
    done, ran, told = run(folder, "--workers", "2", "-x")
    assert done.returncode == 1 and "stopping after 1 failures" in done.stdout, done.stdout
    assert "test_a::test_fails" in told and len(ran) < 14
    assert {note.read_text() for note in folder.glob("made-*")} <= {"down"}


def test_some_workers_begin_with_what_waits_for_processes(tmp_path):
    """What was collected first would be begun first, if there were one queue."""
    files = {
        # As many as two workers can have at a time: of one queue neither of them would begin the last one.
        **{f"test_a{n}.py": "def test_it(wait): wait('c')\n" for n in range(3)},
        "test_c.py": "def test_it(note): note('c')\n",
        "conftest.py": """
import pathlib, time, pytest
from tests.workers import WAITING
HERE = pathlib.Path(__file__).parent
def pytest_collection_modifyitems(config, items):
    config.stash[WAITING] = frozenset(item.path for item in items if item.path.name == "test_c.py")
@pytest.fixture
def note(): return lambda name: (HERE / name).touch()
@pytest.fixture
def is_there(): return lambda name: (HERE / name).exists()
@pytest.fixture
def wait(is_there):
    def until(name):
        deadline = time.monotonic() + 30
        while not is_there(name):
            assert time.monotonic() < deadline, f"{name} was not begun"
            time.sleep(0.01)
    return until
""",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done, ran, told = run(tmp_path, "--workers", "2")
    assert done.returncode == 0 and not told and len(ran) == 4, done.stdout
