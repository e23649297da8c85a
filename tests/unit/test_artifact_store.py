"""What actions left, on the disk of the control point that executed them."""

import hashlib
import io
import os

import pytest
import structlog

from fabric.edge.artifacts.store import FREE_BYTES_MIN, NotKeptError, Store
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ARTIFACT_BYTES, ARTIFACT_KEEP_MS
from fabric.protocol.vocabulary.tlp import Label
from tests.support import T0

KB = 1024


class Clock:
    now_ms, is_sure = T0, True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def begin(tmp_path, clock):
    def store(bytes_max=100 * ARTIFACT_BYTES, free=FREE_BYTES_MIN * 2):
        return Store(
            tmp_path / "artifacts", structlog.get_logger(), bytes_max, lambda: clock.now_ms, lambda _path: free,
            lambda: clock.is_sure,
        )

    return store


def keep(store, content, requester="soar-1", name="a.bin"):
    draft = store.draft(io.BytesIO(content), len(content), requester)
    return store.keep(draft, action="ab" * 32, principal=requester, name=name, label=Label.AMBER)


def content_of(store, kept):
    descriptor = store.open_content(kept)
    try:
        return os.pread(descriptor, kept.bytes + 1, 0)
    finally:
        os.close(descriptor)


def test_it_is_kept_over_restarts_and_nobody_else_reads_it(begin, tmp_path):
    store = begin()
    kept = keep(store, b"content")
    assert kept.sha256 == hashlib.sha256(b"content").hexdigest() and kept.bytes == 7
    again = begin()
    assert again.get(kept.id) == kept and content_of(again, kept) == b"content"
    assert again.bytes == store.bytes == 7 + ARTIFACT_BYTES
    folder = tmp_path / "artifacts"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_what_ended_too_soon_leaves_nothing(begin, tmp_path):
    store = begin()
    whole, cut = keep(store, b"whole"), keep(store, b"cut")
    store.draft(io.BytesIO(b"no name yet"), 11, "soar-1")
    (store.work_folder() / "file").write_text("of a command that was killed")
    folder = tmp_path / "artifacts"
    (folder / cut.id).unlink()
    (folder / "0123456789abcdef.json").write_text("{}")
    (folder / "link").symlink_to(tmp_path)
    again = begin()
    assert again.get(whole.id) == whole and again.get(cut.id) is None
    assert {path.name for path in folder.iterdir()} == {whole.id, f"{whole.id}.json"} and tmp_path.exists()


@pytest.mark.parametrize("about", [b"", b"[]", b"{", b'{"action": 1}', b"\xff", b'{"label": 77}' + b" " * 9000])
def test_what_says_nothing_of_its_content_is_none(begin, tmp_path, about):
    kept = keep(begin(), b"content")
    (tmp_path / "artifacts" / f"{kept.id}.json").write_bytes(about)
    store = begin()
    assert store.get(kept.id) is None and not list((tmp_path / "artifacts").iterdir())


def test_its_time_is_over_after_seven_days(begin, tmp_path, clock):
    store = begin()
    first = keep(store, b"first")
    clock.now_ms += 1
    second = keep(store, b"second")
    clock.now_ms = T0 + ARTIFACT_KEEP_MS
    assert store.get(first.id) is None and store.get(second.id) == second
    assert store.bytes == 6 + ARTIFACT_BYTES and len(list((tmp_path / "artifacts").iterdir())) == 2
    clock.now_ms += 1
    store.sweep()
    assert not store.has_any and not store.bytes and begin().get(second.id) is None


def test_one_by_a_clock_that_was_far_ahead_does_not_stay_for_ever(begin, clock):
    clock.now_ms = T0 + 100 * ARTIFACT_KEEP_MS
    kept = keep(begin(), b"content")
    clock.now_ms = T0
    store = begin()
    assert store.get(kept.id)
    store.sweep()
    assert store.get(kept.id).until_ms == T0 + ARTIFACT_KEEP_MS
    clock.now_ms = T0 + ARTIFACT_KEEP_MS
    assert begin().get(kept.id) is None, "and that is on disk"


@pytest.mark.parametrize("wrong_ms", [0, T0 + 30 * 86_400_000], ids=["1970", "a month ahead"])
def test_a_clock_that_is_wrong_for_a_while_deletes_nothing_over_restarts_too(begin, clock, wrong_ms):
    store = begin()
    kept = keep(store, b"content")
    clock.now_ms, clock.is_sure = wrong_ms, False
    store.sweep()
    again = begin()
    again.sweep()
    assert store.get(kept.id) == again.get(kept.id) == kept
    clock.now_ms, clock.is_sure = T0 + 60_000, True
    again.sweep()
    assert again.get(kept.id) == kept, "its time is what it was"


@pytest.mark.parametrize("is_same_process", [True, False])
def test_what_came_before_the_time_was_known_is_kept_from_when_it_is(begin, clock, is_same_process):
    clock.now_ms, clock.is_sure = 1_000, False
    store = begin()
    kept = keep(store, b"content")
    clock.now_ms, clock.is_sure = T0, True
    store = store if is_same_process else begin()
    store.sweep()
    assert store.get(kept.id).until_ms == T0 + ARTIFACT_KEEP_MS
    newer = keep(store, b"newer")
    clock.now_ms = T0 + ARTIFACT_KEEP_MS
    store.sweep()
    assert store.get(kept.id) is None is store.get(newer.id) and not store.bytes


def test_what_the_disk_does_not_give_is_not_taken_for_nothing(begin, tmp_path, monkeypatch):
    kept, path = keep(begin(), b"content"), tmp_path / "artifacts"

    def fails(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("fabric.edge.artifacts.store.read_private", fails)
        assert begin().get(kept.id) is None
    assert len(list(path.iterdir())) == 2 and begin().get(kept.id) == kept


def test_a_disk_that_is_short_lets_none_of_the_older_go(begin, clock):
    store = begin(3 * ARTIFACT_BYTES)
    kept = [keep(store, b"%d" % n) for n in range(2)]
    store._free = lambda _path: 0
    with pytest.raises(NotKeptError, match="short of room"):
        keep(store, b"x" * 10)
    assert all(store.get(one.id) == one for one in kept)


def test_a_requester_s_own_oldest_go_for_its_new_ones_and_nobody_else_s(begin, clock):
    store = begin(10 * ARTIFACT_BYTES)
    mine = keep(store, b"mine", "soar-2")
    kept = []
    for n in range(9):
        clock.now_ms += 1
        kept.append(keep(store, b"%d" % n))
    there = [one for one in kept if store.get(one.id)]
    # Four times what is left: of nine that are free, seven, and the newest of them.
    assert there == kept[-len(there):] and 5 <= len(there) <= 8 and store.get(mine.id) == mine
    assert keep(store, b"newcomer", "soar-3")
    with pytest.raises(NotKeptError, match="more than its requester has room for"):
        keep(store, b"x" * (10 * ARTIFACT_BYTES))
    assert [one for one in kept if store.get(one.id)] == there, "what fits in no case lets nothing go"


def test_a_disk_that_is_short_keeps_nothing_and_counts_nothing(begin):
    store = begin(free=FREE_BYTES_MIN + 10)
    with pytest.raises(NotKeptError, match="short of room"):
        keep(store, b"x" * 11)
    assert keep(store, b"x" * 10) and store.bytes == 10 + ARTIFACT_BYTES


class Broken(io.BytesIO):
    def read(self, *_):
        raise OSError(5, "Input/output error")


def test_what_cannot_be_read_to_its_end_leaves_nothing(begin, tmp_path):
    store = begin()
    with pytest.raises(OSError, match="Input"):
        store.draft(Broken(), 10, "soar-1")
    assert not store.bytes and not list((tmp_path / "artifacts").iterdir())


def test_a_file_that_grows_or_shrinks_while_it_is_copied_is_what_was_copied(begin):
    store = begin()
    assert store.draft(io.BytesIO(b"grown"), 3, "a").bytes == 3
    assert store.draft(io.BytesIO(b"shrunk"), 100, "a").bytes == 6
    assert store.bytes == 3 + 6 + 2 * ARTIFACT_BYTES


@pytest.mark.parametrize("harm", ["cut", "gone", "link", "fifo"])
def test_content_that_was_changed_in_size_or_kind_is_not_given_out(begin, tmp_path, harm):
    store = begin()
    kept = keep(store, b"content")
    path = tmp_path / "artifacts" / kept.id
    path.unlink()
    if harm == "cut":
        path.write_bytes(b"con")
    elif harm == "link":
        path.symlink_to("/etc/passwd")
    elif harm == "fifo":
        os.mkfifo(path)
    with pytest.raises(FabricError) as error:
        store.open_content(kept)
    assert error.value.code is Code.ARTIFACT_CHANGED


def test_a_draft_that_is_dropped_gives_its_room_back(begin, tmp_path):
    store = begin()
    store.drop(store.draft(io.BytesIO(b"abc"), 3, "soar-1"))
    assert not store.bytes and not list((tmp_path / "artifacts").iterdir())
