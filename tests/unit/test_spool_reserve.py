"""The last reserve of a disk: spent once, and back when there is room for it."""

import pytest

from fabric.spool import reserve as module
from fabric.spool.database import Database
from fabric.spool.reserve import Reserve

BALLAST = 1 << 16


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A reserve and how much is free on its disk."""
    free = [1 << 30]
    monkeypatch.setattr(module, "free_bytes", lambda folder: free[0])
    db = Database(tmp_path / "hq.db")
    yield Reserve(tmp_path / "hq.db", db, free_bytes_min=1 << 20, ballast_bytes=BALLAST), free
    db.close()


def test_it_is_there_from_the_start_and_spent_once(disk, tmp_path):
    reserve, _ = disk
    assert (tmp_path / "hq.db.ballast").stat().st_size == BALLAST
    assert reserve.spend() and not reserve.spend()
    assert not (tmp_path / "hq.db.ballast").exists()


def test_nothing_is_taken_in_while_the_disk_is_short_or_the_ballast_is_gone(disk):
    reserve, free = disk
    assert reserve.intake_allowed()
    free[0] = (1 << 20) - 1
    assert not reserve.intake_allowed()
    reserve.spend()
    free[0] = (1 << 20) + BALLAST - 1
    assert not reserve.intake_allowed(), "there is room, and none for the ballast"
    free[0] = (1 << 20) + BALLAST
    assert reserve.intake_allowed()
