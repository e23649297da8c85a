"""A file that comes a piece at a time."""

import hashlib
import os

import pytest

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.fetching.part import Part, is_there
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label

CONTENT = b"0123456789"


def artifact(content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    return Artifact("0" * 16, "a.bin", len(content), digest, Label.GREEN, 0, "fw-1", "ab" * 32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "a.bin"


def code_of(call):
    with pytest.raises(FabricError) as error:
        call()
    return error.value.code


def test_it_grows_and_goes_on_where_it_ended_and_takes_its_name_when_it_is_right(path):
    with Part(artifact(), path) as part:
        part.append(CONTENT[:4])
        assert not part.is_right()
    assert not path.exists() and part.part.name.startswith("a.bin.") and part.part.stat().st_mode & 0o777 == 0o600
    with Part(artifact(), path) as part:
        assert part.size == 4
        part.append(CONTENT[4:])
        assert part.is_right()
        part.take_its_name()
    assert path.read_bytes() == CONTENT and os.listdir(path.parent) == ["a.bin"]
    assert is_there(artifact(), path) and not is_there(artifact(b"other"), path)


def test_an_empty_one_is_whole_at_once_and_leaves_nothing_if_it_is_not_named(path):
    with Part(artifact(b""), path) as part:
        assert part.size == 0 and part.is_right()
    assert os.listdir(path.parent) == []
    with Part(artifact(b""), path) as part:
        part.take_its_name()
    assert os.listdir(path.parent) == ["a.bin"]


def test_what_is_there_is_not_written_to(path):
    path.parent.mkdir()
    path.write_text("mine")
    assert code_of(lambda: Part(artifact(), path)) is Code.FILE_THERE
    path.unlink()
    path.symlink_to("/nowhere")
    assert code_of(lambda: Part(artifact(), path)) is Code.FILE_THERE
    path.unlink()
    with Part(artifact(), path) as part:
        part.append(CONTENT)
        path.write_text("mine")  # meanwhile
        assert code_of(part.take_its_name) is Code.FILE_THERE
    assert path.read_text() == "mine" and part.part.read_bytes() == CONTENT


def test_one_process_writes_to_it(path):
    with Part(artifact(), path):
        assert code_of(lambda: Part(artifact(), path)) is Code.ALREADY_RUNNING
    with Part(artifact(), path):
        pass


def test_of_another_artifact_of_the_same_name_nothing_is_gone_on_with(path):
    with Part(artifact(), path) as part:
        part.append(CONTENT[:4])
    with Part(artifact(b"something else"), path) as part:
        assert part.size == 0


def test_one_that_is_longer_than_it_should_be_begins_anew(path):
    with Part(artifact(), path) as part:
        part.append(CONTENT + b"more")
    with Part(artifact(), path) as part:
        assert part.size == 0
        part.append(CONTENT)
        assert part.is_right()


def test_a_link_that_somebody_planted_is_not_followed(path, tmp_path):
    path.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("keep")
    Part(artifact(), path.with_name("b.bin")).part.unlink()
    path.with_name(f"a.bin.{artifact().sha256[:12]}.part").symlink_to(victim)
    assert code_of(lambda: Part(artifact(), path)) is Code.NOT_PRIVATE and victim.read_text() == "keep"


def test_a_program_that_ended_just_behind_its_name_left_it_there(path):
    with Part(artifact(), path) as part:
        part.append(CONTENT)
        os.link(part.part, path)
    assert is_there(artifact(), path) and os.listdir(path.parent) == ["a.bin"]
