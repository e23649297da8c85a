"""What somebody may name as an outbox, by a slip or on purpose: what is not ours stays as it is, byte for byte."""

import os
import socket
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code, FabricError
from fabric.spool import Spool
from fabric.spool.named import check_outbox


def a_log(path):
    path.write_text('{"uid": "C1"}\n')


def noise(path):
    path.write_bytes(bytes(range(256)) * 32)


def one_byte(path):
    path.write_bytes(b"S")


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))


def a_link(path):
    path.with_name("target").write_text("{}")
    path.symlink_to(path.with_name("target"))


def a_link_to_nothing(path):
    path.symlink_to(path.with_name("nothing"))


def somebody_s_database(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE kept (name TEXT)")
        db.commit()


def somebody_s_database_with_a_number(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 1")
        db.execute("CREATE TABLE x (y)")
        db.commit()


def a_database_whose_tables_are_in_its_log(path):
    """Another program wrote it and was killed."""
    child = os.fork()
    if child == 0:
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE x (y)")
        db.commit()
        os._exit(0)
    os.waitpid(child, 0)


SLIPS = [
    a_log, noise, one_byte, a_folder, a_pipe, a_socket, a_link, a_link_to_nothing, somebody_s_database,
    somebody_s_database_with_a_number, a_database_whose_tables_are_in_its_log,
]


def picture(folder):
    """Names, kinds and modes of everything in it, and what is in the files."""
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("make", SLIPS, ids=lambda make: make.__name__)
def test_what_is_no_outbox_is_named_and_left_as_it_is(tmp_path, make):
    path = tmp_path / "conn.log"
    make(path)
    before = picture(tmp_path)
    with pytest.raises(FabricError) as refused:
        check_outbox(path)
    assert refused.value.code is Code.NOT_AN_OUTBOX and str(path) in refused.value.detail
    assert "--outbox" in refused.value.next_step and picture(tmp_path) == before


def test_a_control_point_asks_before_it_keeps_anything_beside_it(tmp_path):
    path = tmp_path / "conn.log"
    a_log(path)
    identity = SimpleNamespace(dials=(object(),))  # nothing else of it is looked at before
    with pytest.raises(FabricError) as refused:
        EdgeLoop(identity, path)
    assert refused.value.code is Code.NOT_AN_OUTBOX and [found.name for found in tmp_path.iterdir()] == ["conn.log"]


def test_what_is_not_there_empty_or_ours_is_fine(tmp_path):
    path = tmp_path / "outbox"
    check_outbox(path)
    check_outbox(tmp_path / "folder" / "outbox")
    path.touch()
    check_outbox(path)
    Spool(path).close()
    check_outbox(path)


def test_one_that_was_killed_before_it_was_ever_copied_from_its_log_is_ours(tmp_path):
    path = tmp_path / "outbox"
    child = os.fork()
    if child == 0:
        Spool(path)
        os._exit(0)
    os.waitpid(child, 0)
    check_outbox(path)


def test_one_from_before_there_was_a_number_is_ours_by_its_tables(tmp_path):
    path = tmp_path / "outbox"
    Spool(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 0")
    check_outbox(path)
    Spool(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone()[0] != 0


def test_one_that_is_in_use_is_said_to_be_and_not_even_looked_at(tmp_path):
    path = tmp_path / "outbox"
    spool = Spool(path)
    with pytest.raises(FabricError) as refused:
        check_outbox(path)
    assert refused.value.code is Code.OUTBOX_IN_USE
    spool.close()
    check_outbox(path)
