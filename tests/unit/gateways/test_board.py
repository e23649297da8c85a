"""The state of each source and sink, and the file that says so."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.board import FOLDER, Alone, Board, State, read_status


class Identity:
    id = "zeek-1"

    def __init__(self, folder):
        self.folder = folder


def test_each_change_of_a_state_is_told_once():
    told = []
    board = Board(told.append)
    entry = board.add("conn", "sources", "file")
    why = FabricError(Code.SOURCE_AWAY, "/x")
    for state, error in [(State.RUNNING, None)] * 2 + [(State.WAITING, why)] * 2 + [(State.RUNNING, None)]:
        board.enter(entry, state, error)
    assert [(change.state, change.error) for change in told] == [
        (State.RUNNING, None), (State.WAITING, why), (State.RUNNING, None)
    ]


def test_what_was_counted_is_in_the_file_and_whether_somebody_runs_them(tmp_path):
    identity = Identity(tmp_path)
    assert read_status(identity) == (False, 0, ())
    alone = Alone(identity)
    with pytest.raises(FabricError) as raised:
        Alone(identity)
    assert raised.value.code is Code.ALREADY_RUNNING
    board = Board()
    entry = board.add("conn", "sources", "file")
    board.count(entry, taken=2, position="x.log:2")
    board.count(entry, rejected=1, lost=1)
    board.count_as(entry, "no STIX", 2)
    board.count_as(entry, "no STIX", 1)
    board.enter(entry, State.FAILED, FabricError(Code.SOURCE_AWAY, "/x"))
    board.read_by(entry, 3, FabricError(Code.UNREACHABLE, "hq"))
    board.save(alone.folder)
    kept = read_status(identity)
    (said,) = kept.entries
    assert kept.running and (said["taken"], said["rejected"], said["lost"], said["position"]) == (2, 1, 1, "x.log:2")
    assert said["counts"] == {"no STIX": 3}
    assert (said["readers"], said["away"]) == (3, f"E901 {Code.UNREACHABLE.cause}")
    assert (said["state"], said["code"]) == ("failed", "E743") and said["why"].endswith("/x") and said["next"]
    alone.close()
    assert not read_status(identity).running
    Alone(identity).close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"entries": 1}', b'{"entries": [1], "at_ms": 1}'])
def test_a_file_that_is_damaged_is_said_to_be(tmp_path, content):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "status.json").write_bytes(content)
    with pytest.raises(FabricError) as raised:
        read_status(Identity(tmp_path))
    assert raised.value.code is Code.BAD_INPUT


def test_a_disk_without_room_for_it_stops_nothing(tmp_path):
    board = Board()
    board.add("conn", "sources", "file")
    board.save(tmp_path / "not there")
    board.save(tmp_path)
    assert (tmp_path / "status.json").exists()


def test_what_a_relay_refuses_later_is_counted_at_its_source():
    board = Board()
    one, two = board.add("one", "sources", "file"), board.add("two", "sources", "file")
    for entry, ids in ((one, ["a.0", "a.1"]), (two, ["a.2", "b.0"])):
        board.sent(entry, ids)
    board.refuse("a", 3)
    board.refuse("of an earlier run", 5)
    assert (one.refused, two.refused) == (2, 1) and one.to_json()["refused"] == 2
    alone = Board()
    only = alone.add("only", "sources", "file")
    alone.refuse("of an earlier run", 5)
    assert only.refused == 5
