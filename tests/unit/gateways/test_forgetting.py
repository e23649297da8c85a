"""A sink that is declared no more is forgotten by its relay, once, and one that is declared never."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways import forgetting as module
from relays.gateways.forgetting import Forgetting, left_behind, outbox_of


class Point:
    wanted = ("a.>", "b")
    problem = None

    def __init__(self, identity, **options):
        self.forgotten, self.closed = [], []

    def connect(self):
        if self.problem is not None:
            raise self.problem

    def forget(self, pattern):
        self.forgotten.append(pattern)

    def wait_ready(self):
        pass

    def close(self, timeout_s):
        self.closed.append(timeout_s)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ControlPoint", Point)
    monkeypatch.setattr(Point, "problem", None)
    for name in ("old.outbox", "old.outbox-wal", "old.outbox.lock", "old.outbox.ballast", "all.outbox", "outbox",
                 "outbox-wal"):
        (tmp_path / name).touch()
    return tmp_path


def test_only_what_is_not_declared_is_left_behind(folder):
    assert left_behind(folder, ["all"]) == [outbox_of(folder, "old")]
    assert left_behind(folder, ["all", "old"]) == [] and left_behind(folder / "none", []) == []


def test_its_relay_is_told_and_what_it_remembered_goes(folder):
    each = Forgetting(None, outbox_of(folder, "old"))
    each.run()
    assert each._point.forgotten == ["a.>", "b"] and each._point.closed
    assert sorted(path.name for path in folder.iterdir()) == ["all.outbox", "outbox", "outbox-wal"]


def test_what_was_not_told_is_told_at_the_next_start(folder, monkeypatch):
    monkeypatch.setattr(Point, "problem", FabricError(Code.REVOKED))
    each = Forgetting(None, outbox_of(folder, "old"))
    each.run()
    assert (folder / "old.outbox").exists() and each._point.forgotten == []
    monkeypatch.setattr(Point, "problem", None)
    stopped = Forgetting(None, outbox_of(folder, "old"))
    stopped.stop()
    stopped.run()
    assert (folder / "old.outbox").exists()
