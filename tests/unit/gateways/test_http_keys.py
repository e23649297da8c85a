"""Idempotency-Keys of several tokens in one source: which are forgotten when there are too many."""

import pytest

from relays.gateways.http import keys as module
from relays.gateways.http.keys import KEPT_MS, Keys


@pytest.fixture
def few(monkeypatch):
    """Room for so many keys, of which three quarters are left when they are too many."""
    monkeypatch.setattr(module, "KEYS_MAX", 8)


class Clock:
    now_ms = 1_000_000

    def __call__(self):
        return self.now_ms


def opened(folder, clock=None):
    return Keys(folder, "posts", lambda _: None, clock or Clock())


def answer(keys, token, key, body=b"{}"):
    work = keys.begin(token, key, body)
    if work.before is None:
        work.answered(202, "application/json", f"{token} {key}")
        return None
    return work.before.answer[2]


def known(keys, token, names):
    """Which of these keys have their answer. None is kept by asking."""
    found = []
    for key in names:
        work = keys.begin(token, key, b"{}")
        if work.before is not None:
            found.append(key)
        else:
            work.abandoned()
    return found


def test_a_token_with_many_keys_forgets_its_own(tmp_path, few):
    keys = opened(tmp_path)
    try:
        assert answer(keys, "quiet", "q1") is None
        for number in range(30):
            answer(keys, "busy", f"b{number}")
        assert answer(keys, "quiet", "q1") == "quiet q1", "its answer is the one that it had"
        assert known(keys, "busy", [f"b{number}" for number in range(30)])[-1] == "b29"
    finally:
        keys.close()
    keys = opened(tmp_path)
    try:
        assert known(keys, "quiet", ["q1"]) == ["q1"], "also for the next run"
    finally:
        keys.close()


def test_the_oldest_of_a_token_go_first_and_what_is_too_old_goes_whoever_it_is(tmp_path, few):
    clock = Clock()
    keys = opened(tmp_path, clock)
    try:
        names = [f"k{number}" for number in range(9)]
        for name in names:
            answer(keys, "one", name)
        assert known(keys, "one", names) == names[3:]
        clock.now_ms += KEPT_MS + 1
        assert known(keys, "one", names) == []
    finally:
        keys.close()


def test_bytes_are_shared_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOG_BYTES_MAX", 4_096)
    keys = opened(tmp_path)
    try:
        answer(keys, "quiet", "q1")
        for number in range(100):
            answer(keys, "busy", f"b{number}")
        assert known(keys, "quiet", ["q1"]) == ["q1"]
        assert (tmp_path / "keys.log").stat().st_size <= 4_096
    finally:
        keys.close()


def test_two_tokens_may_use_the_same_key(tmp_path):
    keys = opened(tmp_path)
    try:
        assert answer(keys, "one", "same") is None and answer(keys, "two", "same") is None
        assert (answer(keys, "one", "same"), answer(keys, "two", "same")) == ("one same", "two same")
    finally:
        keys.close()
