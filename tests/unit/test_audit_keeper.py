"""What a driver tells its log: before it sends, and whatever the disk says."""

import os

import pytest

from fabric.audit.keeper import Keeper, fields_of_start
from fabric.audit.verifying import entries_of, verify_log
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from tests.auditing import AUTHORITY, DMZ, files_of_at_most
from tests.support import T0, entropy

TAKEN = Audited(kinds.ACTION_TAKEN, "soar-1", {"action": b"\1" * 32})
OPENED = Audited(kinds.LINK_OPENED, "fw-1", {"role": "point"})


@pytest.fixture
def keeper(tmp_path):
    return Keeper(tmp_path / "audit", DMZ.credential, entropy("keeper"))


@pytest.fixture
def synced(monkeypatch):
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (calls.append(1), real(descriptor))[1])
    return calls


def entries(tmp_path):
    return [(entry.kind, dict(entry.fields)) for entry in entries_of(tmp_path / "audit")][1:]


def test_nothing_is_made_before_there_is_something_to_tell(tmp_path, keeper):
    keeper.take([], 1_000, T0)
    keeper.look(99_000, T0)
    keeper.close(99_000, T0)
    assert not (tmp_path / "audit").exists()


def test_what_is_told_is_in_the_log_at_once_with_who_did_it(tmp_path, keeper):
    keeper.take([fields_of_start("1.0", DMZ.credential), TAKEN], 1_000, T0)
    assert entries(tmp_path)[1] == (kinds.ACTION_TAKEN, {"who": "soar-1", "action": b"\1" * 32})
    assert verify_log(tmp_path / "audit", AUTHORITY.key, DMZ.credential.fabric, "dmz").is_whole


def test_actions_are_on_disk_at_once_and_the_rest_within_a_second(keeper, synced):
    keeper.take([OPENED], 1_000, T0)
    assert not synced and keeper.due_ms == 2_000
    keeper.look(1_999, T0)
    assert not synced
    keeper.look(2_000, T0)
    assert len(synced) == 1 and keeper.due_ms == 11_000  # its head
    keeper.take([TAKEN], 2_001, T0)
    assert len(synced) == 2 and keeper.due_ms == 11_000


def test_a_program_that_does_nothing_and_soon_ends_leaves_nothing(tmp_path):
    def keeper():
        return Keeper(tmp_path / "audit", DMZ.credential, entropy("patient"), patience_ms=60_000)

    short = keeper()
    short.take([fields_of_start("1.0", DMZ.credential), OPENED], 1_000, T0)
    short.close(30_000, T0, Audited(kinds.LOG_STOPPED, "", {}))
    assert not (tmp_path / "audit").exists()
    long = keeper()
    long.take([OPENED], 1_000, T0)
    assert long.due_ms == 61_000
    long.look(61_000, T0)
    assert [kind for kind, _ in entries(tmp_path)] == [kinds.LINK_OPENED]
    acting = keeper()
    acting.take([OPENED], 1_000, T0 + 1)
    acting.take([TAKEN], 2_000, T0 + 2)
    assert [(entry.kind, entry.at_ms) for entry in entries_of(tmp_path / "audit")][-2:] == [
        (kinds.LINK_OPENED, T0 + 1), (kinds.ACTION_TAKEN, T0 + 2),
    ]


def test_what_was_counted_is_told_at_the_end(tmp_path, keeper):
    for _ in range(9):
        keeper.take([OPENED], 1_000, T0)
    keeper.close(1_500, T0, Audited(kinds.LOG_STOPPED, "", {}))
    found = entries(tmp_path)
    assert found[-2:] == [
        (kinds.LOG_REPEATED, {"who": "fw-1", "of": kinds.LINK_OPENED, "code": "", "times": 5}), (kinds.LOG_STOPPED, {}),
    ]


def test_a_disk_that_fails_stops_nothing_and_the_log_says_how_much_is_missing(tmp_path, keeper):
    keeper.take([TAKEN], 1_000, T0)
    with files_of_at_most(100):
        keeper.take([TAKEN, TAKEN], 1_100, T0)
        keeper.take([TAKEN], 1_200, T0)  # not tried again yet
        assert keeper.problem == "EFBIG" and keeper.due_ms == 2_100
        keeper.look(2_100, T0)
    assert keeper.problem == "EFBIG"
    keeper.look(3_100, T0)
    assert keeper.problem == ""
    assert entries(tmp_path)[-1] == (kinds.LOG_LOST, {"entries": 3, "why": "EFBIG"})
    found = verify_log(tmp_path / "audit", AUTHORITY.key, DMZ.credential.fabric, "dmz")
    assert found.is_whole and found.lost == 3


def test_a_folder_that_cannot_be_made_is_tried_again(tmp_path, keeper):
    (tmp_path / "audit").write_text("in the way")
    keeper.take([TAKEN], 1_000, T0)
    assert keeper.problem
    (tmp_path / "audit").unlink()
    keeper.look(2_000, T0)
    assert [kind for kind, _ in entries(tmp_path)] == [kinds.LOG_LOST]
