"""The revocation list's file, as a relay looks at it."""

import os

import pytest

from relays.listfile import ListFile


@pytest.fixture
def file(tmp_path):
    return ListFile(tmp_path / "revocations")


def put(file, content):
    other = file.path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, file.path)


def test_a_list_is_read_when_it_is_new(file):
    assert file.newer(0) is None
    put(file, b"one")
    assert file.newer(1_000) == b"one" and file.newer(2_000) is None
    put(file, b"two")
    assert file.newer(3_000) == b"two"


def test_it_is_not_looked_at_all_the_time(file):
    put(file, b"one")
    assert file.newer(1_000) == b"one"
    put(file, b"two")
    assert file.newer(1_001) is None and file.newer(1_200) == b"two"


def test_one_that_cannot_be_read_is_said_and_the_next_is_taken(file):
    file.path.mkdir()
    assert file.newer(0) is None and file.problem == "IsADirectoryError"
    file.path.rmdir()
    assert file.newer(1_000) is None, "one that is gone is no problem: the last one stays in force"
    put(file, b"one")
    assert file.newer(2_000) == b"one" and file.problem == ""
