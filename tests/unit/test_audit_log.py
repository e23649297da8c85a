"""An audit log on disk: it only grows, and goes on after whatever ended the process."""

import os
import shutil

import pytest

from fabric.audit import verifying
from fabric.audit.segments import is_log, records_from, segment_path, segments
from fabric.audit.verifying import entries_of, verify_log
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import grow
from fabric.protocol.base.errors import Code, FabricError
from tests.auditing import AUTHORITY, DMZ, files_of_at_most, fill, log_in
from tests.support import T0


def verdict(folder, **more):
    return verify_log(folder, AUTHORITY.key, DMZ.credential.fabric, "dmz", **more)


def kinds_of(folder):
    return [entry.kind for entry in entries_of(folder)]


def test_it_begins_with_whose_it_is_and_goes_on_after_a_restart(tmp_path):
    log = log_in(tmp_path)
    assert not is_log(tmp_path)
    fill(log, 3)
    log_id = log.log_id
    log.close()
    again = log_in(tmp_path, seed=1)
    assert (again.log_id, again.number) == (log_id, 4)
    fill(again, 2)
    found = verdict(tmp_path)
    assert found.is_whole and (found.first, found.last, found.log) == (1, 6, log_id)
    assert kinds_of(tmp_path) == [kinds.LOG_BEGUN, *[kinds.ACTION_HANDED] * 5]


def test_two_processes_write_one_chain(tmp_path):
    one, two = log_in(tmp_path, segment_bytes=900), log_in(tmp_path, seed=1, segment_bytes=900)
    for _ in range(6):
        fill(one, 2)
        fill(two, 1)
    found = verdict(tmp_path)
    assert found.is_whole and found.last == two.number and len(segments(tmp_path)) > 2
    assert kinds_of(tmp_path).count(kinds.ACTION_HANDED) == 18


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 30, 70, 100])
def test_what_a_killed_process_left_of_an_entry_is_cut_off_and_said(tmp_path, cut):
    log = log_in(tmp_path)
    fill(log, 3)
    before = log._size
    fill(log, 1)
    (segment,) = segments(tmp_path)
    os.truncate(segment.path, before + cut)
    torn = verdict(tmp_path)
    assert torn.is_whole and torn.torn_bytes == cut and torn.last == 4
    fill(log_in(tmp_path), 1)
    found = verdict(tmp_path)
    assert found.is_whole and (found.last, found.cut, found.torn_bytes) == (6, 1, 0)
    assert kinds_of(tmp_path)[-2:] == [kinds.LOG_CUT, kinds.ACTION_HANDED]


@pytest.mark.parametrize("cut", [0, 1, 30, 100])
def test_zeros_that_a_power_failure_left_at_its_end_are_cut_off_and_said(tmp_path, cut):
    log = log_in(tmp_path)
    fill(log, 3)
    before = segments(tmp_path)[-1].size()
    fill(log, 1)
    log.close()
    segment = segments(tmp_path)[-1]
    os.truncate(segment.path, before + cut)
    os.truncate(segment.path, before + 5_000)
    torn = verdict(tmp_path)
    assert torn.is_whole and (torn.torn_bytes, torn.last) == (5_000, 4)
    fill(log_in(tmp_path, seed=1), 1)
    found = verdict(tmp_path)
    assert found.is_whole and (found.last, found.cut, found.torn_bytes) == (6, 1, 0)


def test_zeros_before_something_that_was_written_are_damage(tmp_path):
    log = log_in(tmp_path)
    fill(log, 3)
    log.close()
    with segments(tmp_path)[-1].path.open("ab") as file:
        file.write(bytes(5_000) + b"x")
    assert not verdict(tmp_path).is_whole


@pytest.mark.parametrize("zeros", [0, 500])
@pytest.mark.parametrize("cut", [0, 3, 200])
def test_a_segment_that_never_began_is_taken_away(tmp_path, cut, zeros):
    log = log_in(tmp_path, segment_bytes=1)
    fill(log, 3)
    log.close()
    os.truncate(segments(tmp_path)[-1].path, cut)
    os.truncate(segments(tmp_path)[-1].path, cut + zeros)
    assert verdict(tmp_path).torn_bytes == cut + zeros
    fill(log_in(tmp_path, segment_bytes=1), 2)
    found = verdict(tmp_path)
    assert found.is_whole and found.cut == (cut + zeros > 0)


def test_after_any_other_damage_it_goes_on_in_a_new_segment_and_is_not_whole(tmp_path):
    log = log_in(tmp_path)
    fill(log, 3)
    with segments(tmp_path)[0].path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"xyz")
    fill(log_in(tmp_path, seed=1), 2)
    found = verdict(tmp_path)
    assert [flaw.number for flaw in found.flaws] == [4] and found.flaws[0].what == "unreadable"
    assert kinds_of(tmp_path)[-4:] == [kinds.LOG_BEGUN, kinds.LOG_CUT, *[kinds.ACTION_HANDED] * 2]
    assert found.last == 7


def test_a_file_of_which_nothing_can_be_read_is_kept_and_the_log_goes_on_behind_it(tmp_path):
    segment_path(tmp_path, 1).write_bytes(b"not a log at all, and longer than a length")
    fill(log_in(tmp_path), 2)
    assert segment_path(tmp_path, 1).read_bytes().startswith(b"not a log")
    assert verdict(tmp_path).flaws[0].number == 1


def test_the_oldest_segments_go_and_the_chain_says_so_first(tmp_path):
    log = log_in(tmp_path, segment_bytes=1_500, bytes_max=6_000)
    fill(log, 120)
    found = verdict(tmp_path, bytes_max=6_000)
    assert found.is_whole and found.first > 1 and found.dropped == found.first - 1
    assert sum(segment.path.stat().st_size for segment in segments(tmp_path)) < 8_000
    assert found.last == log.number
    # More is missing than the log let go.
    segments(tmp_path)[0].path.unlink()
    (flaw,) = verdict(tmp_path, bytes_max=6_000).flaws
    assert (flaw.what, flaw.number) == ("missing", found.first)


def test_it_says_digests_of_what_it_grew_by_also_from_the_disk(tmp_path):
    log = log_in(tmp_path, segment_bytes=2_000)
    fill(log, 40)
    hashes = {n: record.hash for n, record in records_from(tmp_path, 1)}
    assert grow(hashes[30], log.digests_from(30)) == log.hash
    assert grow(hashes[1], log_in(tmp_path).digests_from(1)) == log.hash
    assert log.digests_from(log.number) == [] and log.digests_from(log.number + 1) is None
    assert log.hash_of(7) == hashes[7] and log.hash_of(99) is None
    segments(tmp_path)[0].path.unlink()
    assert log_in(tmp_path).digests_from(1) is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    log = log_in(tmp_path)
    fill(log, 2)
    size = log._size
    with files_of_at_most(size + 40), pytest.raises(OSError, match="too large"):
        fill(log, 1)
    assert segments(tmp_path)[0].path.stat().st_size == size
    fill(log, 1)
    assert verdict(tmp_path).is_whole and log.number == 4


def test_a_log_that_is_not_there_or_not_this_user_s_is_an_error_of_its_own(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FabricError) as caught:
            verdict(folder)
        assert caught.value.code is Code.NO_AUDIT
    fill(log_in(tmp_path), 1)
    (segment,) = segments(tmp_path)
    segment.path.rename(tmp_path / "away")
    segment.path.symlink_to(tmp_path / "away")
    with pytest.raises(FabricError) as caught:
        verdict(tmp_path)
    assert caught.value.code is Code.AUDIT_UNREADABLE
    with pytest.raises((OSError, FabricError)):
        log_in(tmp_path)


def test_times_are_those_of_the_entries(tmp_path):
    fill(log_in(tmp_path), 3)
    found = verdict(tmp_path)
    assert (found.first_ms, found.last_ms) == (T0, T0 + 2)


def test_what_is_written_while_it_is_verified_is_no_fault_of_it(tmp_path, monkeypatch):
    """Segments begin, and the oldest go, at each point between its reads."""
    log = log_in(tmp_path, segment_bytes=900, bytes_max=4_000)
    fill(log, 60)
    for name in ("segments_of", "_signed"):
        real, before, after = getattr(verifying, name), [20], [20]

        def beside(*given, real=real, before=before, after=after):
            fill(log, before.pop() if before else 0)
            found = real(*given)
            fill(log, after.pop() if after else 0)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(verifying, name, beside)
            found = verdict(tmp_path, bytes_max=4_000)
        assert found.is_whole and found.first > 1 and not after


def test_a_log_whose_segments_always_go_is_not_read_for_ever(tmp_path, monkeypatch):
    fill(log_in(tmp_path), 3)
    gone = [verifying.Segment(1, tmp_path / "0000000000000009.log")]
    monkeypatch.setattr(verifying, "segments_of", lambda _: gone)
    with pytest.raises(FabricError) as raised:
        verdict(tmp_path)
    assert raised.value.code is Code.AUDIT_UNREADABLE


def test_a_file_that_somebody_made_huge_fills_no_memory_and_is_no_segment(tmp_path):
    log = log_in(tmp_path)
    fill(log, 3)
    log.close()
    (segment,) = segments(tmp_path)
    os.truncate(segment.path, 2**42)
    assert [(flaw.number, flaw.what) for flaw in verdict(tmp_path).flaws] == [(5, "unreadable")]
    fill(log_in(tmp_path, seed=1), 2)
    assert segment.path.stat().st_size == 2**42, "it is kept for whoever finds out what happened"
    found = verdict(tmp_path)
    assert [(flaw.number, flaw.what) for flaw in found.flaws] == [(5, "unreadable")] and found.last == 8


def test_nothing_is_hidden_behind_what_is_read_of_a_segment(tmp_path, monkeypatch):
    log = log_in(tmp_path)
    fill(log, 3)
    monkeypatch.setattr("fabric.audit.segments.READ_BYTES_MAX", log._size)
    monkeypatch.setattr("fabric.audit.verifying.READ_BYTES_MAX", log._size)
    assert verdict(tmp_path).is_whole
    fill(log, 1)
    assert [(flaw.number, flaw.what) for flaw in verdict(tmp_path).flaws] == [(5, "unreadable")]


@pytest.mark.parametrize("harm", ["moved", "removed", "replaced by a copy"])
def test_a_segment_that_somebody_took_away_is_not_written_to(tmp_path, harm):
    """As rotation and cleaners of old files do, which know nothing of it."""
    log = log_in(tmp_path)
    fill(log, 5)
    (segment,) = segments(tmp_path)
    content = segment.path.read_bytes()
    segment.path.rename(tmp_path / "old")
    if harm == "replaced by a copy":
        segment.path.write_bytes(content)
    fill(log, 2)
    fill(log, 1)
    found = verdict(tmp_path)
    assert found.is_whole and (tmp_path / "old").read_bytes() == content
    if harm == "replaced by a copy":
        assert (found.last, found.lost) == (9, 0)
    else:
        assert (found.last, found.lost) == (5, 6)
        assert kinds_of(tmp_path)[:2] == [kinds.LOG_BEGUN, kinds.LOG_LOST]


def test_of_several_segments_the_log_goes_on_after_those_that_are_there(tmp_path):
    log = log_in(tmp_path, segment_bytes=900)
    while len(segments(tmp_path)) < 3:
        fill(log, 1)
    number = log.number
    last = segments(tmp_path)[-1]
    last.path.unlink()
    fill(log, 1)
    found = verdict(tmp_path)
    assert found.is_whole and found.lost == number - last.first + 1


def test_one_whose_folder_is_gone_says_so_and_two_processes_meet_in_a_new_lock(tmp_path):
    one, two = log_in(tmp_path / "a"), log_in(tmp_path / "a", seed=1)
    fill(one, 2)
    (tmp_path / "a" / "lock").unlink()
    fill(two, 2), fill(one, 2), fill(two, 2)
    assert verdict(tmp_path / "a").is_whole and os.stat(one._lock) == os.stat(two._lock)
    shutil.rmtree(tmp_path / "a")
    for log in (one, two):
        with pytest.raises(FileNotFoundError):
            fill(log, 1)
        log.close()
