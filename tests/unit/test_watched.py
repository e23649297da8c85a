"""A file that others replace, as whoever needs it looks at it."""

import os

import pytest

from fabric.edge.identity.watched import Watched


@pytest.fixture
def file(tmp_path):
    return Watched(tmp_path / "revocations", 1_000, 200)


def put(file, content):
    other = file.path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, file.path)


def test_it_is_read_when_it_is_new(file):
    assert file.changed(0) is None
    put(file, b"one")
    assert file.changed(1_000) == b"one" and file.changed(2_000) is None
    put(file, b"two")
    assert file.changed(3_000) == b"two"


def test_it_is_not_looked_at_all_the_time(file):
    put(file, b"one")
    assert file.changed(1_000) == b"one"
    put(file, b"two")
    assert file.changed(1_001) is None and file.changed(1_200) == b"two"


def test_one_that_cannot_be_read_is_said_and_the_next_is_taken(file):
    file.path.mkdir()
    assert file.changed(0) is None and file.problem == "not a regular file"
    file.path.rmdir()
    assert file.changed(1_000) is None, "one that is gone is no problem: the last one stays in force"
    put(file, b"one")
    assert file.changed(2_000) == b"one" and file.problem == ""


def test_no_more_is_read_than_says_that_it_is_too_large(file):
    put(file, bytes(5_000))
    assert len(file.changed(0)) == 1_001
