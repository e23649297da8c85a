"""How a row is run: both sides in turn after a warm-up, and a peer that is missing is named and not left out."""

from contextlib import contextmanager

import pytest

from scripts import bench_peers
from scripts.comparison import rows
from scripts.comparison.figures import RATE, NotRun, Window
from scripts.comparison.needs import Need
from scripts.comparison.processes import Failed
from scripts.comparison.rows import PLANS, Plan, disk_notes, in_turn, run


class Counting:
    """A side whose windows are 1, 2, 3 ... times `rate`."""

    def __init__(self, name, rate, asked):
        self.does, self._rate, self._asked = f"what {name} does", rate, asked
        self._name, self._windows = name, 0

    def window(self, seconds):
        self._asked.append((self._name, seconds))
        self._windows += 1
        return Window({"records": self._rate * self._windows}, {"reader": 2.0})


def beginning(side):
    @contextmanager
    def begin(folder):
        yield side

    return begin


def plan(ours, peer, needs=()):
    return Plan("stream", "dicts", (RATE,), beginning(ours), beginning(peer), needs)


@contextmanager
def never(folder):
    raise AssertionError("it began")
    yield


def test_sides_take_turns_and_the_warm_up_does_not_count():
    asked = []
    mine, theirs = in_turn(
        Counting("ours", 10.0, asked), Counting("peer", 100.0, asked), (RATE,), rounds=3, seconds=5.0,
        tell=lambda text: None,
    )
    assert asked == [
        ("ours", 2.0), ("peer", 2.0),
        ("ours", 5.0), ("peer", 5.0), ("peer", 5.0), ("ours", 5.0), ("ours", 5.0), ("peer", 5.0),
    ]
    assert [window.values["records"] for window in mine] == [20.0, 30.0, 40.0]
    assert [window.values["records"] for window in theirs] == [200.0, 300.0, 400.0]


def test_progress_is_told_with_what_was_found(tmp_path):
    told = []
    run(plan(Counting("ours", 10.0, []), Counting("peer", 100.0, [])), tmp_path, 2, 1.0, told.append)
    assert told == [
        "stream: dicts", "stream: warm-up",
        "stream: round 1 of 2, ours: records 20.0 records/s",
        "stream: round 1 of 2, the peer: records 200.0 records/s",
        "stream: round 2 of 2, the peer: records 300.0 records/s",
        "stream: round 2 of 2, ours: records 30.0 records/s",
    ]


def test_a_row_says_what_each_side_does(tmp_path):
    (row,) = run(plan(Counting("ours", 10.0, []), Counting("peer", 100.0, [])), tmp_path, 3, 1.0, lambda text: None)
    assert row.ratio == pytest.approx(0.1)
    assert row.notes[:3] == ("dicts", "ours: what ours does", "the peer: what peer does")


def test_a_row_whose_peer_is_missing_is_named_and_nothing_of_it_begins(tmp_path):
    absent = Need("no-module", "pip install no-module", module="no_module_of_this_name")
    (row,) = run(
        Plan("stream", "dicts", (RATE,), never, never, (absent,)), tmp_path, 3, 1.0, lambda text: None
    )
    assert row == NotRun("stream", "no-module is not installed", "pip install no-module")


def test_a_row_that_fails_is_named_and_the_others_go_on(tmp_path):
    @contextmanager
    def failing(folder):
        raise Failed("nats-server ended early\nand said a lot")
        yield

    (row,) = run(
        Plan("stream", "dicts", (RATE,), beginning(Counting("ours", 1.0, [])), failing, ()), tmp_path, 1, 1.0,
        lambda text: None,
    )
    assert row == NotRun("stream", "it failed: nats-server ended early", "scripts/bench --only stream")


MOUNTS = "/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vdb /dev/shm/disk xfs rw 0 0\n"


@pytest.mark.parametrize(
    ("folder", "is_memory"),
    [("tmp/x", False), ("dev/shm", True), ("dev/shm/x", True), ("dev/shm/disk/x", False), ("dev/shmem", False)],
)
def test_files_in_memory_are_told(folder, is_memory, tmp_path):
    notes = disk_notes(type(tmp_path)("/") / folder, MOUNTS)
    assert bool(notes) == is_memory
    assert all("tmpfs" in note for note in notes)


def test_names_are_each_their_own_and_can_be_asked_for():
    assert len(set(bench_peers.NAMES)) == len(bench_peers.NAMES) > len(PLANS)
    assert bench_peers.parse(["--only", "stream", "--only", "idle"]).only == ["stream", "idle"]


def test_by_default_three_rounds_of_five_seconds_count():
    chosen = bench_peers.parse([])
    assert (chosen.rounds, chosen.seconds, chosen.only, chosen.json) == (3, 5.0, None, False)


def test_a_row_that_there_is_not_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        bench_peers.parse(["--only", "nothing"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in bench_peers.NAMES)


def test_a_folder_that_there_is_not_is_refused_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        bench_peers.parse(["--folder", str(tmp_path / "nothing")])
    assert ended.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_table_and_what_is_below_it_name_every_row(tmp_path):
    found = run(plan(Counting("ours", 10.0, []), Counting("peer", 100.0, [])), tmp_path, 1, 1.0, lambda text: None)
    found.append(NotRun("idle", "nats-py is not installed", "pip install it"))
    table = bench_peers.table_of(found)
    assert list(table.columns[0].cells) == ["stream", "idle"]
    assert list(table.columns[1].cells) == ["records, records/s", "not run"]
    said = bench_peers.remarks(found)
    assert "idle was not run: nats-py is not installed. Next: pip install it" in said
    assert "stream: microseconds of processor time per record, ours: reader 2.0" in said


def test_a_row_without_a_peer_shows_its_target_in_the_table(tmp_path):
    figures = (RATE._replace(target=30.0),)
    own = Plan("drain", "a backlog", figures, beginning(Counting("ours", 10.0, [])), rounds_max=2, warm_up=False)
    told = []
    found = run(own, tmp_path, 5, 1.0, told.append)
    assert told == [
        "drain: a backlog", "drain: round 1 of 2: records 10.0 records/s", "drain: round 2 of 2: records 20.0 records/s"
    ]
    table = bench_peers.table_of(found)
    assert [list(column.cells) for column in table.columns[2:]] == [
        ["15.00"], [""], [""], ["10.00 - 20.00"], ["at least 30: missed"]
    ]
    assert found[0].notes[:2] == ("a backlog", "what ours does")


def test_a_row_without_a_peer_is_warmed_up_too_where_there_is_time(tmp_path):
    asked = []
    run(Plan("drain", "a backlog", (RATE,), beginning(Counting("ours", 1.0, asked))), tmp_path, 1, 5.0, lambda _: None)
    assert asked == [("ours", 2.0), ("ours", 5.0)]


@pytest.mark.parametrize("scale", ["0", "-1", "1.5"])
def test_a_scale_that_is_no_share_is_refused_in_words(scale, capsys):
    with pytest.raises(SystemExit) as ended:
        bench_peers.parse([f"--scale={scale}"])
    assert ended.value.code == 2
    assert "is no share" in capsys.readouterr().err


def test_every_row_is_in_the_words_of_the_help():
    assert all(each.says and each.figures for each in rows.PLANS)
