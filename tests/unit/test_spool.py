"""What is on disk after anything: a clean end, kill -9, a flipped byte, a torn file, a full disk."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ledger_ops import ForgetAction, KeepAnswer, KeepCancelled, KeepIntent, KeepTold
from fabric.protocol.core.ready import (
    Done,
    KeepCredential,
    KeepDispatch,
    KeepGap,
    KeepLists,
    KeepNotice,
    KeepPosition,
    KeepSession,
    Put,
    Replace,
    Seen,
)
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool import Owed, Spool
from fabric.spool.damaged import NAMED_MAX

NOW = 1_760_000_000_000
LATER = NOW + 60_000
UP, DOWN = Direction.UP, Direction.DOWN


def id_of(number: int) -> bytes:
    return number.to_bytes(16)


def put(number: int, *destinations: str, direction: Direction = UP, size: int = 100) -> Put:
    where = tuple((name, ("fw-1",) if direction is DOWN else ()) for name in destinations or ("^",))
    envelope = bytes([number % 256]) * size
    return Put(id_of(number), direction, Lane.HIGH, envelope, 7, NOW, LATER, ("plant", "low"), where)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "hq.db"


def reopened(path: Path, now_ms: int = NOW) -> list[object]:
    spool = Spool(path)
    try:
        return list(spool.load(now_ms))
    finally:
        spool.close()


def committed(path: Path, *turns: list[object]) -> list[object]:
    """What a new process finds after these commits."""
    spool = Spool(path)
    spool.load(NOW)
    for ops in turns:
        spool.commit(ops)  # type: ignore[arg-type]
    spool.close()
    return reopened(path)


def test_a_message_is_there_until_its_last_destination_has_it(path):
    message = put(1, "^", "point:a/00")
    assert committed(path, [message]) == [message]
    (half,) = committed(path, [Done(id_of(1), UP, "^", False)])
    assert half.destinations == (("point:a/00", ()),)
    assert committed(path, [Done(id_of(1), UP, "point:a/00", True)]) == [Seen(id_of(1), UP, LATER)]


def test_only_destinations_that_wait_come_back(path):
    found = committed(path, [put(1, "^", "point:a/00", "relay:low")], [Done(id_of(1), UP, "point:a/00", False)])
    assert [name for name, _ in found[0].destinations] == ["^", "relay:low"]


def test_every_field_comes_back(path):
    message = put(9, "relay:low", direction=DOWN)
    assert committed(path, [message]) == [message]


def test_both_directions_of_one_message_are_two(path):
    up, down = put(1), put(1, "relay:low", direction=DOWN)
    assert committed(path, [up, down], [Done(id_of(1), UP, "^", True)]) == [Seen(id_of(1), UP, LATER), down]


def test_put_and_done_in_one_turn_leaves_only_that_it_was_seen(path):
    assert committed(path, [put(1), Done(id_of(1), UP, "^", True)]) == [Seen(id_of(1), UP, LATER)]


def test_a_fuller_copy_replaces_the_first(path):
    fuller = b"fuller"
    assert committed(path, [put(1), Replace(id_of(1), UP, b"soon")], [Replace(id_of(1), UP, fuller)]) == [
        put(1)._replace(envelope=fuller)
    ]


def test_what_the_core_needs_first_comes_first(path):
    ops = [
        put(1), KeepDispatch(b"d" * 32, "fw-1", 2, LATER), KeepSession("point:a/00", b"attachment"),
        KeepLists(b"list 1"), KeepLists(b"list 2"), KeepCredential(b"c" * 16, b"credential"),
        Seen(id_of(7), DOWN, LATER),
    ]
    assert committed(path, ops) == [
        KeepCredential(b"c" * 16, b"credential"), KeepLists(b"list 2"), KeepSession("point:a/00", b"attachment"),
        KeepDispatch(b"d" * 32, "fw-1", 2, LATER), Seen(id_of(7), DOWN, LATER), put(1),
    ]


def test_how_often_it_moved_comes_back(path):
    held = put(1, "^", "relay:west")._replace(moved=(("^", 3),))
    again = Done(held.id, held.direction, "", last=True)
    (found,) = [op for op in committed(path, [put(1, "relay:east")], [again, held]) if isinstance(op, Put)]
    assert found == held


def test_an_empty_attachment_forgets_a_session(path):
    assert committed(path, [KeepSession("point:a/00", b"x"), KeepSession("point:a/00", b"")]) == []
    assert committed(path, [KeepSession("point:b/00", b"x")], [KeepSession("point:b/00", b"")]) == []


@pytest.mark.parametrize(("newer", "forgotten"), [
    ([KeepNotice("zeek-1 ab", b"1"), KeepNotice("zeek-1 ab", b"2")], KeepNotice("zeek-1 ab", b"")),
    ([KeepGap("point:a/00", 1), KeepGap("point:a/00", 2)], KeepGap("point:a/00", 0)),
    ([KeepPosition("queue", "1"), KeepPosition("queue", "2")], KeepPosition("queue", "")),
])
def test_a_newer_word_replaces_the_older_and_an_empty_one_forgets(path, newer, forgotten):
    assert committed(path, newer) == newer[-1:]
    assert committed(path, [*newer, forgotten]) == []


def test_who_signed_what_is_held_is_not_forgotten_for_what_else_is_kept(path, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry.CREDENTIALS_CACHED_MAX", 1)
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([KeepCredential(b"old", b"0"), KeepCredential(b"signer", b"1"), put(1)])
    for n in range(20):
        spool.commit([KeepNotice("zeek-1 ab", bytes([n + 1]))])
    spool.sweep(NOW + 120_000)
    spool.commit([KeepCredential(b"new", b"2")])
    spool.sweep(NOW + 240_000)
    spool.close()
    assert [op.digest for op in reopened(path) if isinstance(op, KeepCredential)] == [b"signer", b"new"]


def test_whoever_signed_what_is_held_stays_however_many_credentials_come_after_his(path, monkeypatch):
    """An issuer that went bad makes any number, and what others signed could not be read back after the next start."""
    monkeypatch.setattr("fabric.spool.expiry.CREDENTIALS_CACHED_MAX", 1)
    names = [bytes([n]) * 16 for n in range(10)]
    head = b"\x95\xc4\x10"
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([KeepCredential(name, b"1") for name in names])
    spool.commit([put(1)._replace(envelope=head + names[2] + b"message")])
    spool.commit([KeepSession("point:a/00", b"\x93\xc4\x10" + names[4] + b"attachment")])
    later = NOW + 10**9
    spool.commit([KeepIntent(b"i" * 16, later, 0, 0, 0, (), head + names[5] + b"action")])
    spool.commit([KeepCancelled(b"c" * 16, "soar-1", later, names[6], b"header")])
    spool.sweep(NOW + 120_000)
    spool.close()
    left = [op.digest for op in reopened(path) if isinstance(op, KeepCredential)]
    assert left == [names[2], *names[4:7], *names[-2:]]


def test_what_comes_again_while_it_sleeps_is_one_message_afterwards(path):
    committed(path, [put(1), put(2), put(3)])
    spool = Spool(path, awake_max=1)
    assert [op.id for op in spool.load(NOW) if isinstance(op, Put)] == [id_of(1)]
    spool.commit([put(3, "^", size=7)])
    spool.commit([Done(id_of(1), UP, "^", True)])
    assert [op.id for op in spool.wake() if isinstance(op, Put)] == [id_of(2)]
    spool.close()
    left = [(op.id, len(op.envelope)) for op in reopened(path) if isinstance(op, Put)]
    assert left == [(id_of(2), 100), (id_of(3), 7)]


@pytest.mark.parametrize("body", [None, b"", b"short"])
def test_a_row_without_a_body_is_set_aside_whether_or_not_it_could_sleep(path, body):
    committed(path, [put(1), put(2)])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE messages SET body = ? WHERE n = 2", (body,))
    db.close()
    spool = Spool(path, awake_max=1)
    assert [op.id for op in spool.load(NOW) if isinstance(op, Put)] == [id_of(1)]
    assert spool.quarantined == ["messages 2: checksum"]
    spool.close()


def test_what_is_remembered_of_actions_is_looked_at_once_in_a_while_whatever_the_clock_does(path):
    def left_at(at_ms, until_ms):
        spool.commit([KeepDispatch(b"d" * 32, "fw-1", 2, until_ms)])
        spool.sweep(at_ms)
        return spool._db.execute("SELECT count(*) FROM kept").fetchone()[0]

    spool = Spool(path)
    assert left_at(NOW, NOW + 500) == 1
    assert left_at(NOW + 1_000, NOW + 500) == 1, "over, and not looked at"
    assert left_at(NOW + 15_000, NOW + 500) == 0
    assert left_at(NOW, NOW) == 0, "the clock went back"
    spool.close()


def test_what_expired_is_not_read_and_then_swept(path):
    committed(path, [Seen(id_of(1), UP, LATER), KeepDispatch(b"d" * 32, "fw-1", 2, LATER)])
    assert reopened(path, LATER) == []
    spool = Spool(path)
    spool.sweep(LATER)
    spool.close()
    assert reopened(path) == []


def test_numbers_are_not_used_again_after_a_restart(path):
    committed(path, [put(1), put(2)])
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([put(3), Done(id_of(2), UP, "^", True)])
    spool.close()
    assert [op.id for op in reopened(path) if isinstance(op, Put)] == [id_of(1), id_of(3)]


def test_settings_are_what_the_promise_needs(path):
    spool = Spool(path)
    db = spool._db
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    spool.close()


def test_one_process_a_file(path):
    spool = Spool(path)
    with pytest.raises(FabricError) as caught:
        Spool(path)
    assert caught.value.code is Code.ALREADY_RUNNING
    spool.close()
    Spool(path).close()


WRITER = """
import sys
from pathlib import Path
from fabric.spool import Owed, Spool
from tests.unit.test_spool import put
spool = Spool(Path(sys.argv[1]))
for number in range(1, 100_000):
    spool.commit([put(number, size=2000)])
    print(number, flush=True)
"""


def test_what_was_committed_survives_kill_9(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    promised = 0
    while promised < 200:
        promised = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    promised = max([promised, *map(int, process.stdout.read().split())])
    process.wait()
    found = [int.from_bytes(op.id) for op in reopened(path)]
    assert found[:promised] == list(range(1, promised + 1)) and len(found) <= promised + 1


def damage(path: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(path) as db:
        assert db.execute(sql, values).rowcount >= 1
    db.close()


FLIPPED = "substr({0}, 1, 30) || x'ff' || substr({0}, 32)"


@pytest.mark.parametrize("value", ["CAST({} AS BLOB)", "{}"], ids=["a byte", "its type too"])
@pytest.mark.parametrize("column", ["body", "meta"])
def test_a_bad_row_is_quarantined_and_the_rest_goes_on(path, column, value):
    committed(path, [put(1), put(2), put(3)])
    damage(path, f"UPDATE messages SET {column} = {value.format(FLIPPED.format(column))} WHERE n = 2")
    spool = Spool(path)
    assert [op.id for op in spool.load(NOW)] == [id_of(1), id_of(3)]
    assert spool.quarantined == ["messages 2: checksum"]
    assert spool._db.execute("SELECT source FROM quarantine").fetchall() == [("messages",)]
    spool.close()
    assert len(reopened(path)) == 2


def test_a_disk_that_lost_much_fills_neither_the_log_nor_the_quarantine(path):
    committed(path, [put(n, size=10) for n in range(1, NAMED_MAX + 4)])
    damage(path, "UPDATE messages SET sum = sum + 1")
    spool = Spool(path)
    assert spool.load(NOW) == [] and spool.damaged.rows == NAMED_MAX + 3
    assert len(spool.quarantined) == NAMED_MAX + 1 and spool.quarantined[-1] == "3 more rows"
    assert spool._db.execute("SELECT count(*) FROM quarantine").fetchone() == (NAMED_MAX,)
    spool.close()


def test_a_message_that_does_not_verify_is_set_aside(path):
    committed(path, [put(1), put(2)])
    spool = Spool(path)
    spool.load(NOW)
    spool.set_aside([(id_of(1), UP)])
    assert spool.quarantined == [f"messages 1: {id_of(1).hex()} does not verify"]
    spool.close()
    assert [op.id for op in reopened(path)] == [id_of(2)]


def test_a_file_that_is_no_database_is_kept_beside_a_new_one(path):
    path.parent.mkdir()
    path.write_bytes(b"this was never a database" * 1000)
    spool = Spool(path)
    assert spool.load(NOW) == []
    assert "hq.db.damaged-1" in spool.quarantined[0]
    spool.commit([put(1)])
    spool.close()
    assert reopened(path) == [put(1)]
    assert path.with_name("hq.db.damaged-1").read_bytes().startswith(b"this was never")


def test_what_can_be_read_of_a_torn_file_is_taken_over(path):
    count = 400
    committed(path, [KeepCredential(b"c" * 16, b"credential")], [put(n, size=3000) for n in range(1, count + 1)])
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * (pages // 2))
        file.write(os.urandom(4096 * 2))
    spool = Spool(path)
    found = spool.load(NOW)
    held = [op for op in found if isinstance(op, Put)]
    assert all(op == put(int.from_bytes(op.id), size=3000) for op in held), "nothing that is wrong is believed"
    assert spool.quarantined
    assert len(held) > count * 3 // 4
    spool.commit([put(1000)])
    spool.close()


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    return done.returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    if not mounted(folder, "24m"):
        pytest.skip("a disk that can be filled needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_intake_stops_before_the_disk_is_full_and_the_queue_drains_when_it_is(small_disk):
    spool = Spool(small_disk / "hq.db", free_bytes_min=4 * 2**20)
    number = 0
    while spool.intake_allowed():
        number += 1
        spool.commit([put(number, size=200_000)])
    assert 10 < number < 80
    # Somebody else takes the rest of the disk, and a log still grows into it.
    with (small_disk / "other").open("wb") as other, pytest.raises(OSError):
        while True:
            other.write(bytes(65_536))
            other.flush()
    assert not spool.intake_allowed()
    spool.commit([Done(id_of(n), UP, "^", True) for n in range(1, number + 1)])
    (small_disk / "other").unlink()
    assert spool.intake_allowed(), "the ballast is back"
    spool.commit([put(number + 1)])
    spool.close()
    found = reopened(small_disk / "hq.db")
    assert [op for op in found if isinstance(op, Put)] == [put(number + 1)]


def test_a_queue_that_drained_gives_its_disk_back_until_intake_is_open_again(small_disk):
    """What it had is all that there is to be had: the rest of the disk is somebody else's by now."""
    spool = Spool(small_disk / "hq.db", free_bytes_min=8 * 2**20)
    number = 0
    while spool.intake_allowed():
        number += 1
        spool.commit([put(number, size=20_000)])
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
    spool.commit([Done(id_of(n), UP, "^", True) for n in range(1, number + 1)])
    assert any(spool.intake_allowed() for _ in range(5)), "within seconds: it is asked once a second"
    assert (small_disk / "hq.db").stat().st_size < 2**20
    spool.close()


def test_a_queue_that_drained_on_a_full_disk_gives_it_back_all_the_same(small_disk):
    numbers = range(1, 401)
    committed(small_disk / "hq.db", [put(n, size=20_000) for n in numbers])
    spool = Spool(small_disk / "hq.db", free_bytes_min=2**30)
    spool.load(NOW)
    spool.commit([Done(id_of(n), UP, "^", True) for n in numbers])
    with (small_disk / "other").open("wb", buffering=0) as other, pytest.raises(OSError):
        while True:
            other.write(bytes(4_096))
    for _ in range(2):  # it is asked once a second
        spool.intake_allowed()
    assert (small_disk / "hq.db").stat().st_size < 2**20
    spool.close()


def test_what_is_in_the_log_only_is_given_back_too_where_nothing_is_free(small_disk):
    """To copy it from there the file has to grow first: that is what the reserve is for."""
    spool = Spool(small_disk / "hq.db", free_bytes_min=8 * 2**20)
    spool.commit([put(n, size=20_000) for n in range(1, 150)])
    spool.commit([Done(id_of(n), UP, "^", True) for n in range(1, 150)])
    log = (small_disk / "hq.db-wal").stat().st_size
    assert log > 2**20 > (small_disk / "hq.db").stat().st_size, "or this is about something else"
    with (small_disk / "other").open("wb", buffering=0) as other, pytest.raises(OSError):
        while True:
            other.write(bytes(4_096))
    for _ in range(3):  # it is asked once a second
        spool.intake_allowed()
    assert shutil.disk_usage(small_disk).free > log
    spool.close()


def test_the_ends_of_a_queue_take_no_room_of_its_size(path):
    """All of it may end in one commit, on a disk that has less left than the queue takes."""
    numbers = range(1, 501)
    committed(path, [put(n, size=20_000) for n in numbers])
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([Done(id_of(n), UP, "^", True) for n in numbers])
    assert path.with_name("hq.db-wal").stat().st_size < 2**20
    spool.close()


def test_after_a_failed_write_nothing_is_promised_any_more(path):
    spool = Spool(path)
    spool.commit([put(1)])
    spool._db.close()
    for _ in range(2):
        with pytest.raises(FabricError) as caught:
            spool.commit([put(2)])
        assert caught.value.code is Code.SPOOL_FAILED
    spool.close()
    assert reopened(path) == [put(1)]


def test_a_count_waits_with_the_end_that_it_counts_and_no_longer(path):
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([put(1), put(2)])
    owed = Owed(spool)
    owed.commit([Done(id_of(1), UP, "^", True), KeepNotice("zeek-1 ab", b"one")], NOW)
    assert owed.due_ms == NOW + 50
    owed.commit([Done(id_of(2), UP, "^", True), KeepNotice("zeek-1 ab", b"two")], NOW + 50)
    assert owed.due_ms is None
    owed.commit([KeepNotice("zeek-1 ab", b"")], NOW + 60)
    assert owed.due_ms is None, "what is told is forgotten together with the notice"
    spool.close()
    assert reopened(path) == [Seen(id_of(1), UP, LATER), Seen(id_of(2), UP, LATER)]


# -- a ledger's rows ------------------------------------------------------------------------------------------


def intent(number, begun=False, until_ms=LATER):
    return KeepIntent(id_of(number), until_ms, 5, NOW, NOW - 1, ("hq", "plant"), b"e" * number, begun)


def answer(number, content=b"a"):
    return KeepAnswer(id_of(number), LATER, "soar-1", content)


def test_of_an_action_there_is_what_its_last_step_left(path):
    assert committed(path, [intent(1), intent(2)], [intent(2, begun=True)]) == [intent(1), intent(2, begun=True)]
    assert committed(path, [answer(1)], [answer(2), KeepTold(id_of(2), LATER)]) == [
        answer(1), answer(2), KeepTold(id_of(2), LATER)
    ]
    assert committed(path, [answer(2, b"")], [ForgetAction(id_of(1))]) == [KeepTold(id_of(2), LATER)]


def test_what_is_not_to_begin_is_kept_by_who_said_so_until_it_is_over(path):
    one, two, over = (KeepCancelled(id_of(n), by, until, b"s" * 16, b"header") for n, by, until in (
        (1, "soar-1", LATER), (1, "soar-2", LATER), (2, "soar-1", NOW)))
    assert committed(path, [one, two, over]) == [one, two]
    spool = Spool(path)
    spool.load(NOW)
    spool.sweep(NOW)
    spool.close()
    assert committed(path, [two._replace(header=b"")]) == [one]


def test_what_was_answered_is_read_by_its_id(path):
    spool = Spool(path)
    spool.load(NOW)
    spool.commit([answer(1, b"x" * 999), answer(2), intent(3)])
    assert [spool.answer(id_of(number)) for number in (1, 2, 3)] == [b"x" * 999, b"a", b""]
    spool.close()


def test_a_ledger_s_rows_that_are_over_are_not_read_and_go(path):
    assert committed(path, [intent(1, until_ms=NOW), KeepTold(id_of(2), NOW), intent(3)]) == [intent(3)]
    spool = Spool(path)
    spool.load(NOW)
    spool.sweep(LATER)
    assert spool._db.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    spool.close()


@pytest.mark.parametrize("column", ["meta", "body"])
def test_a_damaged_row_of_an_action_is_set_aside_and_no_other(path, column):
    committed(path, [intent(1), intent(2, begun=True)])
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE kept SET {column} = x'0102' WHERE name = ?", [f"intent {id_of(2).hex()}"])
    db.close()
    spool = Spool(path)
    assert spool.load(NOW) == [intent(1)] and len(spool.quarantined) == 1
    spool.close()
