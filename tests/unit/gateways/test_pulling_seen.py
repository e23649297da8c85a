"""What was taken is known again, wherever a process was killed, and as long as there is room."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.gateways.pulling import seen as module
from relays.gateways.pulling.pace import MOST_S, RETRY_AFTER_MOST_S, Pace
from relays.gateways.pulling.seen import Seen, digest_of, frames_in


def digests(*numbers):
    return [digest_of(str(number)) for number in numbers]


def known(seen, numbers):
    return [number for number in numbers if digest_of(str(number)) in seen]


def take(seen, *numbers):
    seen.begin(digests(*numbers))
    seen.took(digests(*numbers))


def test_of_the_newest_page_what_the_position_says_was_taken(tmp_path):
    seen = Seen(tmp_path / "x", 1_000, 0, 0)
    take(seen, 1, 2, 3)
    take(seen, 4, 5, 6)
    assert seen.page == 2 and (tmp_path / "x" / "seen.log").stat().st_mode & 0o777 == 0o600
    seen.begin(digests(7, 8))  # and it is killed before any of them was given
    for page, taken, expected in ((1, 2, [1, 2]), (2, 1, [1, 2, 3, 4]), (2, 3, [1, 2, 3, 4, 5, 6]), (0, 0, [])):
        raw = (tmp_path / "x" / "seen.log").read_bytes()
        assert known(Seen(tmp_path / "x", 1_000, page, taken), range(10)) == expected
        (tmp_path / "x" / "seen.log").write_bytes(raw)


def test_it_goes_on_where_the_run_before_it_ended(tmp_path):
    take(Seen(tmp_path, 1_000, 0, 0), 1, 2, 3)
    second = Seen(tmp_path, 1_000, 1, 2)
    assert known(second, range(5)) == [1, 2]
    take(second, 3, 4)
    assert second.page == 2 and known(Seen(tmp_path, 1_000, 2, 1), range(6)) == [1, 2, 3]


def test_the_oldest_are_forgotten_and_the_file_stays_small(tmp_path):
    seen = Seen(tmp_path, 100, 0, 0)
    for page in range(40):
        take(seen, *range(page * 50, page * 50 + 50))
    assert known(seen, range(2_000)) == list(range(1_900, 2_000)) and seen.forgot
    assert (tmp_path / "seen.log").stat().st_size < 2 * 100 * 16 + 2_000
    assert known(Seen(tmp_path, 100, 40, 50), range(2_000)) == list(range(1_900, 2_000))


def test_a_page_that_the_disk_did_not_take_is_nowhere(tmp_path, monkeypatch):
    seen = Seen(tmp_path, 1_000, 0, 0)
    take(seen, 1)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        seen.begin(digests(2))
    monkeypatch.undo()
    take(seen, 3)
    assert known(Seen(tmp_path, 1_000, 2, 1), range(5)) == [1, 3]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_damaged_file_ends_where_the_damage_begins(junk, at):
    whole = module.encoded(3, digests(1, 2)) + module.encoded(4, digests(3))
    assert [frame.page for frame in frames_in(whole)] == [3, 4]
    cut = whole[:at] + junk
    found = list(frames_in(cut))
    assert [frame.page for frame in found[: (at >= 48) + (at >= 80)]] == [3, 4][: (at >= 48) + (at >= 80)]
    assert sum(len(frame.digests) for frame in found) * 16 <= len(cut)


def test_what_another_user_could_have_planted_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "x").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", tmp_path / "x" / "seen.log")
    with pytest.raises(Exception, match="link"):
        Seen(tmp_path / "x", 1_000, 1, 0)
    assert (tmp_path / "elsewhere").read_text() == "x"


def test_never_sooner_than_declared_and_less_often_while_it_does_not_answer():
    pace = Pace(60.0, lambda: 1.0)
    assert pace.well() == pytest.approx(66.0)
    waits = [pace.faulty() / 1.1 for _ in range(8)]
    assert waits[:4] == pytest.approx([60.0, 120.0, 240.0, 480.0]) and waits[-1] == pytest.approx(MOST_S)
    assert pace.faulty(1e9) == pytest.approx(1.1 * RETRY_AFTER_MOST_S)
    pace.well()
    assert pace.faulty(90.0) == pytest.approx(99.0)
    daily = Pace(86_400.0, lambda: 0.0)
    assert [daily.faulty(5.0), daily.faulty(), daily.well()] == [86_400.0] * 3
